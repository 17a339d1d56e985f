"""A fake clock: time passes only through its own methods."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """The pack's Clock. `slept` lists every pause; `moved` is called with the seconds of each."""

    def __init__(
        self, start: str = "2026-11-20T16:02:35+00:00", moved: Callable[[float], object] | None = None
    ) -> None:
        self._start = datetime.fromisoformat(start).astimezone(UTC)
        self._seconds = 0.0
        self.moved = moved
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        if self.moved is not None:
            self.moved(seconds)

    def set_forward(self, **by: float) -> None:
        """Set the wall clock forward, as an administrator does: the monotonic clock does not notice."""
        self._start += timedelta(**by)
