"""How long the end of an export takes: writing its format, and putting it into a store. Tried on its first rows.

An export that has a time limit must stop reading before the limit, and must not begin an end that does not fit.
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
from remediation.exports.destinations.place import LocalPlace
from remediation.exports.files.locked_temporary import spool_directory
from remediation.exports.row_file import RowFile

Finish = Callable[[RowFile], object]

# Fewer rows are written in no time.
SAMPLE_ROWS = 1000

# An end that is this short is not put off: a function keeps as much in reserve for its result.
SHORT_SECONDS = 0.5

# Of an upload, what does not depend on its size.
ANSWER_SECONDS = 0.25

# Later rows may take longer than the first ones. Below the other bound an end can't be done at all.
MARGIN = 1.3
AT_LEAST = 0.7


class EndInterrupted(DeadlineExceeded):
    """The time was up before the file was written. Its rows are kept."""


class FinishTime:
    """Whether the time that one call has is enough for the end of its export.

    time_left: seconds of the call; gives None where it has no limit, and then nothing is measured or refused.
    what: how to speak of the file.
    """

    def __init__(self, clock: Clock, time_left: Callable[[], float | None], what: str) -> None:
        self._clock = clock
        self._time_left = time_left
        self._what = what
        self._whole = time_left()
        self._fixed_seconds = 0.0
        self._seconds_per_byte = 0.0
        self._upload_seconds_per_byte = 0.0
        self._bring_seconds_per_byte = 0.0
        self._is_measured = False
        self._pages_read = 0
        self._began = self._fetch_seconds = 0.0
        self._page_began = self._now()
        self._longest_page_seconds = 0.0

    def begin(self) -> None:
        """Note that the rows of an earlier call are about to be brought here."""
        self._began = self._now()

    def fetched(self) -> None:
        """Note that they are on this machine."""
        self._fetch_seconds = self._now() - self._began

    def began_with(self, rows: RowFile) -> None:
        """Take in that they are read. To a store they go as fast as they come from it."""
        if rows.size_bytes:
            self._bring_seconds_per_byte = (self._now() - self._began) / rows.size_bytes
            if rows.place.spooled:
                self._take_upload(self._fetch_seconds, rows.size_bytes)

    def _take_upload(self, seconds: float, size: int) -> None:
        # An answer's own time does not grow with what is sent.
        self._upload_seconds_per_byte = max(seconds - ANSWER_SECONDS, 0.1 * seconds) / size

    def _now(self) -> float:
        return self._clock.monotonic()

    def measure(self, rows: RowFile, expected: int | None, finish: Finish | None) -> None:
        """Measure once, when there are enough rows. finish: writes a row file; None where that takes no time.

        Raises: TimeLimitTooShort where so many rows as are expected can't be written in one call.
        """
        if self._whole is None or self._is_measured or rows.rows < SAMPLE_ROWS:
            return
        self._is_measured = True
        if rows.place.spooled and not self._upload_seconds_per_byte:
            with rows.place.trial(rows.size_bytes) as upload:
                # The first time connects too.
                self._take_upload(min(self._seconds_of(upload) for _ in range(2)), rows.size_bytes)
        if finish is not None:
            # Where no trial can be made (no room for temporary files, say) the end is tried itself.
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
            # The first try loads what the format needs, and does not count.
            for number, texts in enumerate((lines[:1], lines[:1], lines)):
                place = LocalPlace(folder / f"{number}{Path(rows.place.name).suffix}")
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
        """Take in that a page was read."""
        self._pages_read += 1
        seconds, self._page_began = self._now() - self._page_began, self._now()
        self._longest_page_seconds = max(self._longest_page_seconds, seconds)

    def is_up(self, rows: RowFile) -> bool:
        """Whether to stop reading: after another page the time would not do to keep the rows for the next call."""
        left = self._time_left()
        if left is None:
            return False
        if not self._upload_seconds_per_byte:
            return left <= 0
        page_bytes = rows.size_bytes * LARGEST_PAGE // max(rows.rows, 1)
        return left <= self._longest_page_seconds + self.seconds_to_keep(rows.size_bytes + page_bytes)

    def fits(self, rows: RowFile) -> bool:
        """Whether to begin the end now: a call that has read no page has its whole time for it, and tries.

        Raises: TimeLimitTooShort where it would not fit even so.
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
        # Once the file is written it has to be put into the store, which takes as long as keeping its rows there.
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
        """What a whole call has for the end: the rows of those before it have to be brought first, more each time."""
        return max((self._whole or 0) - self._bring_seconds_per_byte * size, SHORT_SECONDS)

    def _seconds(self, size: int) -> float:
        return self._fixed_seconds + (self._seconds_per_byte + self._upload_seconds_per_byte) * size

    def _least_seconds(self, size: int) -> float:
        # A large upload goes in parts, several at once: how much faster is not known.
        return AT_LEAST * (self._seconds(size) - self._upload_seconds_per_byte * size / 2)

    def seconds_to_keep(self, size: int) -> float:
        """How long it takes to put so many bytes of rows where the next call finds them."""
        return MARGIN * self._upload_seconds_per_byte * size

    def _too_short(self, rows: int, size: int) -> TimeLimitTooShort:
        return TimeLimitTooShort(
            f"{self._what} of {counted(rows, 'row')} takes about {self._seconds(size):.1f} s to write, and one call "
            f"has {self._most_seconds(size):.1f} s for it"
        )
