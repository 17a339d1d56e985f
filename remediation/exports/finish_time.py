"""The time for the end of an export: writing its format and uploading it to a store, measured with its first rows.

An export with a time limit must stop reading before the limit, and must not begin an end that does not fit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from connectors.paging.pages import LARGEST_PAGE
from core.clock import Clock
from core.errors import DeadlineExceeded, PackError, TimeLimitTooShort
from core.quantity import counted
from remediation.exports.destinations.place import Place
from remediation.exports.files.locked_temporary import spool_directory
from remediation.exports.row_file import RowFile

Finish = Callable[[RowFile], object]

# The time for fewer rows is negligible.
SAMPLE_ROWS = 1000

# An end this short always starts. A function reserves as much time for its result.
SHORT_SECONDS = 0.5

# The part of an upload's time that does not depend on its size.
ANSWER_SECONDS = 0.25

# Later rows may take longer than the first ones. Below AT_LEAST of the estimate an end is impossible.
MARGIN = 1.3
AT_LEAST = 0.7


class EndInterrupted(DeadlineExceeded):
    """Time was up before the file was written. Its rows are kept."""


class FinishTime:
    """Whether the time that one call has is enough for the end of its export.

    time_left: returns the seconds left of the call; None for no limit, and then nothing is measured or refused.
    what: the name of the file in errors.
    """

    def __init__(self, clock: Clock, time_left: Callable[[], float | None], what: str) -> None:
        self._now = clock.monotonic
        self._time_left = time_left
        self._what = what
        self._whole = time_left()
        self._fixed_seconds = 0.0
        self._seconds_per_byte = 0.0
        self._upload_seconds_per_byte = 0.0
        self._load_seconds_per_byte = 0.0
        self._is_measured = False
        self._pages_read = 0
        self._fetched = 0.0
        self._page_began = self._now()
        self._longest_page_seconds = 0.0

    def fetched(self) -> None:
        """Record that the rows of an earlier call are on this machine."""
        self._fetched = self._now()

    def loaded(self, rows: RowFile, began: float) -> None:
        """Record that these rows are loaded. began: the time before they were fetched.

        The upload to a store is assumed to be as fast as the download.
        """
        if rows.size_bytes:
            self._load_seconds_per_byte = (self._now() - began) / rows.size_bytes
            if rows.place.spooled:
                self._record_upload(self._fetched - began, rows.size_bytes)

    def _record_upload(self, seconds: float, size: int) -> None:
        self._upload_seconds_per_byte = max(seconds - ANSWER_SECONDS, 0.1 * seconds) / size

    def measure(self, rows: RowFile, expected: int | None, finish: Finish | None) -> None:
        """Measure once, as soon as there are enough rows. finish: writes a row file; None if that takes no time.

        Raises: TimeLimitTooShort if one call can't write the expected number of rows.
        """
        if self._whole is None or self._is_measured or rows.rows < SAMPLE_ROWS:
            return
        self._is_measured = True
        if rows.place.spooled and not self._upload_seconds_per_byte:
            with rows.place.trial(rows.size_bytes) as upload:
                # The first upload also connects.
                self._record_upload(min(self._seconds_of(upload) for _ in range(2)), rows.size_bytes)
        if finish is not None:
            # If no trial is possible (for example, no room for temporary files), the end starts without one.
            with suppress(PackError):
                self._try(finish, rows)
        self._page_began = self._now()
        size = rows.size_bytes * max(expected or 0, rows.rows) // rows.rows
        if self._least_seconds(size) > self._most_seconds(size):
            raise self._too_short(max(expected or 0, rows.rows), size)

    def _try(self, finish: Finish, rows: RowFile) -> None:
        lines = [line[:-1] for line in itertools.islice(rows.kept_lines(), SAMPLE_ROWS)]
        sizes, seconds = list[int](), list[float]()
        with spool_directory() as folder:
            # The first try loads the code of the format, and does not count.
            for number, texts in enumerate((lines[:1], lines[:1], lines)):
                place = Place(folder / f"{number}{Path(rows.place.name).suffix}")
                with RowFile.create(place) as trial:
                    trial.append(texts)
                    sizes.append(trial.size_bytes)
                    seconds.append(self._seconds_of(functools.partial(finish, trial)))
        self._fixed_seconds = seconds[1]
        self._seconds_per_byte = max(seconds[2] - seconds[1], 0) / max(sizes[2] - sizes[1], 1)

    def _seconds_of(self, work: Callable[[], object]) -> float:
        began = self._now()
        work()
        return self._now() - began

    def page_read(self) -> None:
        """Record that a page was read."""
        self._pages_read += 1
        seconds, self._page_began = self._now() - self._page_began, self._now()
        self._longest_page_seconds = max(self._longest_page_seconds, seconds)

    def is_up(self, rows: RowFile) -> bool:
        """Return whether to stop reading, because after another page there is no time to keep the rows."""
        left = self._time_left()
        if left is None:
            return False
        if not self._upload_seconds_per_byte:
            return left <= 0
        page_bytes = rows.size_bytes * LARGEST_PAGE // max(rows.rows, 1)
        return left <= self._longest_page_seconds + self.seconds_to_keep(rows.size_bytes + page_bytes)

    def fits(self, rows: RowFile) -> bool:
        """Return whether to begin the end in this call. A call that has read no page has all its time for it.

        Raises: TimeLimitTooShort if it does not fit even then.
        """
        left = self._time_left()
        if left is None:
            return True
        allowed = max(left, SHORT_SECONDS)
        if self._pages_read:
            return MARGIN * self._seconds(rows.size_bytes) <= allowed
        if self._least_seconds(rows.size_bytes) > allowed:
            raise self._too_short(rows.rows, rows.size_bytes)
        return True

    @contextmanager
    def watching(self, rows: RowFile) -> Iterator[None]:
        """Interrupt the end while the rows can still be kept. Raises: EndInterrupted, TimeLimitTooShort."""
        left = self._time_left()
        if left is None or (self._pages_read and not self._is_measured):
            yield
            return
        # The upload of the file afterwards takes as long as keeping its rows in the store.
        allowed = max(left, SHORT_SECONDS) - self._upload_seconds_per_byte * rows.size_bytes
        ends = self._now() + allowed

        def check() -> None:
            if self._now() <= ends:
                return
            if not self._pages_read:
                raise TimeLimitTooShort(
                    f"{self._what} of {counted(rows.rows, 'row')} was not written in the {max(allowed, 0):.1f} s that "
                    "one call has for it"
                )
            raise EndInterrupted(f"the time was up before {self._what} was written")

        rows.before_block = check
        try:
            yield
        finally:
            rows.before_block = None

    def _most_seconds(self, size: int) -> float:
        """Return the time of a complete call for the end: without the time to load the rows of earlier calls."""
        return max((self._whole or 0) - self._load_seconds_per_byte * size, SHORT_SECONDS)

    def _seconds(self, size: int) -> float:
        return self._fixed_seconds + (self._seconds_per_byte + self._upload_seconds_per_byte) * size

    def _least_seconds(self, size: int) -> float:
        # Several parts of a large upload go at once. The gain is not known.
        return AT_LEAST * (self._seconds(size) - self._upload_seconds_per_byte * size / 2)

    def seconds_to_keep(self, size: int) -> float:
        """Return how long it takes to keep this many bytes of rows for the next call."""
        return MARGIN * self._upload_seconds_per_byte * size

    def _too_short(self, rows: int, size: int) -> TimeLimitTooShort:
        return TimeLimitTooShort(
            f"{self._what} of {counted(rows, 'row')} takes about {self._seconds(size):.1f} s to write, and one call "
            f"has {self._most_seconds(size):.1f} s for it"
        )
