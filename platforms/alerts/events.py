"""Post-delivery events that Logpush pushed, as files that reconcile-job reads.

A folder for each day of arrival (UTC). A file holds the events of one batch. MERGED_AT such files are merged into one,
MERGED_AT merged files again, and after the day all of its files. The parts of a merged file are removed an hour later,
so that a reader of them is not disturbed. An event that is read twice makes no difference to reconcile-job. Days older
than DAYS_KEPT are removed.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from core.clock import Clock
from core.errors import ConnectionSettingsError
from core.private_files import NotPrivate, make_private_directory
from platforms.alerts.inbox import Batch
from platforms.alerts.record_lines import records_of
from platforms.alerts.rules import Refusal
from remediation.exports.files.atomic_file import atomic_file
from remediation.reconciliation.post_delivery_events import read_event

# In place of a file: the events that were pushed to this service.
PUSHED_EVENTS = "logpush://email_security_post_delivery_events"

DAYS_KEPT = 45
MERGED_AT = 50

_GRACE = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAME = re.compile(r"(\d{20})-(\d{20})-(\d+)\.ndjson\.gz", re.ASCII)
_COPIED_AT_ONCE = 1024 * 1024


@dataclass
class Kept:
    """What became of a batch of events. read: its records. refused: records that are no events, with their lines."""

    read: int = 0
    refused: list[tuple[int, Refusal]] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """first, last: when its first and last batch came, in microseconds since 1970. batches: their number."""

    path: Path
    first: int
    last: int
    batches: int

    @property
    def parts_path(self) -> Path:
        """The list of the files that were merged into this one, directly or in several steps."""
        return self.path.with_name(f"{self.path.name}.parts")

    def parts(self) -> frozenset[str]:
        if self.batches > 1:
            # Without the list, events are read twice, which makes no difference.
            with contextlib.suppress(FileNotFoundError):
                return frozenset(self.parts_path.read_text(encoding="ascii").split())
        return frozenset()


class EventFiles:
    """The files of events in a directory that only this user can open. Can be used by several threads.

    Raises: ConnectionSettingsError if the directory can't be used.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        try:
            make_private_directory(directory)
        except NotPrivate as error:
            raise ConnectionSettingsError(f"the folder of events can't be used: {error}") from None

    def store(self, batch: Batch) -> Kept:
        """Store the events of a batch. A batch that is stored again replaces its file.

        Records that reconcile-job could not read are left out and returned: one of them would make it refuse the file.
        Raises: OutputError, OSError, EOFError, zlib.error.
        """
        kept = Kept()
        with self._lock:
            day = self._directory / f"{batch.stored_at:%Y-%m-%d}"
            day.mkdir(mode=0o700, exist_ok=True)
            path = day / _name(batch.sequence, batch.sequence, 1)
            # Level 1: the events of 100,000 messages take a second.
            with atomic_file(path) as target, gzip.GzipFile("", "wb", 1, target, mtime=0) as text:
                for number, line in records_of(batch.lines()):
                    kept.read += 1
                    reason = _problem(line)
                    if reason is None:
                        text.write(line + b"\n")
                    else:
                        kept.refused.append((number, Refusal(None, None, reason)))
            self._tidy()
        return kept

    def files(self, since: datetime | None = None) -> list[Path]:
        """Return the files with every event that came at `since` or later, the oldest first; all for None.

        Fewer than 200, and reconcile-job takes 1,000: today has at most MERGED_AT files of one batch and MERGED_AT
        merged ones, and each earlier day has one.
        """
        bound = 0 if since is None else (since - _EPOCH) // _MICROSECOND
        with self._lock:
            return [one.path for day in self._days() for one in _current(_files(day)) if one.last >= bound]

    def _days(self) -> list[Path]:
        return sorted(path for path in self._directory.iterdir() if _DAY.fullmatch(path.name))

    def _tidy(self) -> None:
        now = self._clock.now()
        today, oldest = f"{now:%Y-%m-%d}", f"{now - timedelta(days=DAYS_KEPT):%Y-%m-%d}"
        for day in self._days():
            if day.name < oldest:
                shutil.rmtree(day, ignore_errors=True)
                continue
            files = _files(day)
            current = _current(files)
            singles = [one for one in current if one.batches == 1]
            if day.name < today or len(current) - len(singles) >= MERGED_AT:
                _merge(current)
            elif len(singles) >= MERGED_AT:
                _merge(singles)
            _remove_parts(files, now)


def _problem(line: bytes) -> str | None:
    """Return why reconcile-job could not read a line, or None."""
    try:
        if not line.isascii():
            line.decode()
        read_event(line)
    except UnicodeDecodeError:
        return "the record is not UTF-8 text"
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"the record is not an event of email_security_post_delivery_events: {str(error)[:300]}"
    return None


def _name(first: int, last: int, batches: int) -> str:
    return f"{first:020d}-{last:020d}-{batches}.ndjson.gz"


def _files(day: Path) -> list[_File]:
    found = ((path, _NAME.fullmatch(path.name)) for path in day.iterdir())
    files = [_File(path, int(match[1]), int(match[2]), int(match[3])) for path, match in found if match is not None]
    return sorted(files, key=lambda one: (one.first, one.last))


def _current(files: Sequence[_File]) -> list[_File]:
    """Return the files that are not part of a merged one."""
    parts = frozenset[str]().union(*(one.parts() for one in files))
    return [one for one in files if one.path.name not in parts]


def _merge(parts: Sequence[_File]) -> None:
    """Write the parts into one file. Gzip files in a row are a gzip file."""
    if len(parts) < 2:
        return
    first, last = min(one.first for one in parts), max(one.last for one in parts)
    name = _name(first, last, sum(one.batches for one in parts))
    merged = _File(parts[0].path.with_name(name), first, last, 2)
    names = frozenset(one.path.name for one in parts).union(*(one.parts() for one in parts))
    # First the list: a merged file without it could not be told from its parts.
    with atomic_file(merged.parts_path) as listed:
        listed.write("\n".join(sorted(names)).encode())
    with atomic_file(merged.path) as target:
        for one in parts:
            with one.path.open("rb") as source:
                while piece := source.read(_COPIED_AT_ONCE):
                    target.write(piece)


def _remove_parts(files: Sequence[_File], now: datetime) -> None:
    """Remove the parts of each file that was merged longer than the grace ago."""
    old = [one for one in files if now.timestamp() - one.path.stat().st_mtime > _GRACE.total_seconds()]
    names = frozenset[str]().union(*(one.parts() for one in old))
    for part in files:
        if part.path.name in names:
            part.path.unlink()
            part.parts_path.unlink(missing_ok=True)
