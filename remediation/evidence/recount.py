"""Recount of a bundle's rows: whether they match the job's counters.

A manifest only claims that the rows are complete. Before a job and its rows are deleted, the rows are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import lru_cache
from typing import get_args

import msgspec

from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.row_ids import RowIds
from core.instants import instant_or_none
from core.quantity import counted
from remediation.jobs.row_count import RowCount

# No row is longer. An endless line must not fill the memory.
LONGEST_LINE_BYTES = 1 << 26

_KNOWN = frozenset(get_args(MessageStatus))

# Cloudflare may record whole seconds for one time and fractions for another.
_ROUNDING = timedelta(seconds=1)


class _ActionParams(msgspec.Struct, gc=False):
    destination: str | None = None


class _Row(msgspec.Struct, gc=False):
    message_id: str
    status: str
    action_type: str | None = None
    action_params: _ActionParams | None = None
    created_at: str | None = None


_decoder = msgspec.json.Decoder(_Row)


class Recount:
    """The rows of a bundle, by status. Takes 7 bytes of memory for each row."""

    def __init__(self, job: BulkJob) -> None:
        self._job = job
        self._created = _instant(job.created_at)
        self._ids = RowIds()
        self._by_status: Counter[str] = Counter()
        self._rows = 0

    def read(self, blocks: Iterable[bytes]) -> str | None:
        """Count the rows of an NDJSON file. Return the problem of the first bad row, or None."""
        for number, line in enumerate(_lines(blocks), start=1):
            if len(line) > LONGEST_LINE_BYTES:
                return f"line {number} of rows.ndjson is longer than a row can be"
            if not line.strip():
                continue
            try:
                row = _decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError):
                return f"line {number} of rows.ndjson is not a row of a job"
            if problem := self._problem(row):
                return f"line {number} of rows.ndjson {problem}"
        return None

    def disagreement(self) -> str | None:
        """Return how the rows and the job's counters differ, or None."""
        expected = self._job.total_messages_discovered
        if self._rows != expected:
            return f"rows.ndjson has {counted(self._rows, 'row')}, but the job counts {expected:,}"
        for status, (rows, count) in RowCount(None, self._rows, self._by_status).differences(self._job).items():
            return f"rows.ndjson has {counted(rows, 'row')} with status {status}, but the job counts {count:,}"
        return None

    def lacks(self, row_ids: Iterable[str]) -> bool:
        """Return whether any of these rows is missing from the file."""
        return any(self._ids.new(row_ids))

    def _problem(self, row: _Row) -> str | None:
        if row.status not in _KNOWN:
            return "has an unknown status"
        if not self._ids.new([row.message_id])[0]:
            return "repeats a row"
        self._rows += 1
        self._by_status[row.status] += 1
        job, folder = self._job, None if row.action_params is None else row.action_params.destination
        job_folder = None if job.action_params is None else job.action_params.destination
        other_action = None not in (row.action_type, job.action_type) and row.action_type != job.action_type
        other_folder = None not in (folder, job_folder) and folder != job_folder
        created = _instant(row.created_at)
        before = created is not None and self._created is not None and created < self._created - _ROUNDING
        return "is a row of another job" if other_action or other_folder or before else None


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of these blocks. A line that is too long is cut and ends the iteration."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE_BYTES:
            yield rest
            return
    yield rest


# Many rows share a creation time, so most times are in the cache.
_instant = lru_cache(maxsize=1024)(instant_or_none)
