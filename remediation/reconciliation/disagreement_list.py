"""The list of disagreements about a job, in memory or in a file. A list that is too large is an error, never cut."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Literal

from remediation.exports.files.atomic_file import AtomicFile, FileRecord
from remediation.exports.formats.csv_table import cell, csv_line, header_line
from remediation.reconciliation.disagreements import IN_FLIGHT, WITHOUT_EVENT
from remediation.reconciliation.result import Disagreement


class DisagreementList:
    """The disagreements. by_kind counts all of them, also those that are not kept."""

    def __init__(
        self, *, file: AtomicFile | None = None, row_format: Literal["ndjson", "csv"] = "ndjson", limit_bytes: int = 0
    ) -> None:
        """file: receives the list; without one it is kept in memory, up to limit_bytes of JSON."""
        self.kept: list[Disagreement] = []
        self.by_kind: Counter[str] = Counter()
        self.too_large = False
        # The record of the finished file.
        self.record: FileRecord | None = None
        self._file = file
        self._format = row_format
        self._left = limit_bytes
        if file is not None and row_format == "csv":
            file.write(header_line(field.name for field in dataclasses.fields(Disagreement)))

    @property
    def number(self) -> int:
        return self.by_kind.total()

    @property
    def without_event(self) -> int:
        """Return how many disagreements only lack an event."""
        return sum(self.by_kind[kind] for kind in WITHOUT_EVENT)

    @property
    def in_flight(self) -> int:
        """Return how many CANCELLED messages were moved or released nevertheless."""
        return self.by_kind[IN_FLIGHT]

    @property
    def contradictions(self) -> int:
        return self.number - self.without_event - self.in_flight

    def add(self, one: Disagreement) -> None:
        """Add a disagreement. Raises: OSError if the file can't grow."""
        self.by_kind[one.kind] += 1
        if self._file is not None and self._format == "csv":
            self._file.write(csv_line(map(cell, vars(one).values())).encode())
        elif self._file is not None:
            # ASCII: no terminal escapes and no line breaks.
            self._file.write(json.dumps(vars(one), separators=(",", ":")).encode() + b"\n")
        elif not self.too_large:
            self._left -= len(json.dumps(vars(one))) + 2
            self.too_large = self._left < 0
            if self.too_large:
                self.kept.clear()
            else:
                self.kept.append(one)
