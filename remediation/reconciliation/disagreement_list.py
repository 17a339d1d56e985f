"""The list of disagreements about a job, in memory or in a file. A list that is too large is an error, never cut."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Any, Literal

from core.text import formula_safe
from remediation.exports.files.whole_file import WholeFile
from remediation.exports.formats.csv_table import header_line
from remediation.reconciliation.disagreements import IN_FLIGHT, NO_CONTRADICTION, NOT_WITNESSED, Kind, RawDisagreement
from remediation.reconciliation.result import Disagreement, time_of

COLUMNS = tuple(Disagreement.model_fields)


class DisagreementList:
    """Disagreements as JSON objects. by_kind counts all of them, also those that are not kept."""

    def __init__(
        self, *, file: WholeFile | None = None, row_format: Literal["ndjson", "csv"] = "ndjson", limit_bytes: int = 0
    ) -> None:
        """file: receives the list; without one it is kept in memory, up to limit_bytes of JSON."""
        self.kept: list[dict[str, Any]] = []
        self.by_kind: Counter[Kind] = Counter()
        self.too_large = False
        self._file = file
        self._format = row_format
        self._left = limit_bytes
        if file is not None and row_format == "csv":
            file.write(header_line(COLUMNS))

    @property
    def number(self) -> int:
        return self.by_kind.total()

    @property
    def not_witnessed(self) -> int:
        """Return how many disagreements only lack a record in one source."""
        return sum(self.by_kind[kind] for kind in NOT_WITNESSED)

    @property
    def in_flight(self) -> int:
        """Return how many CANCELLED messages were moved or released nevertheless."""
        return self.by_kind[IN_FLIGHT]

    def add(self, one: RawDisagreement) -> None:
        """Add a disagreement. Raises: OSError if the file can't grow."""
        self.by_kind[one["kind"]] += 1
        if self.too_large:
            return
        shown = {"contradiction": one["kind"] not in NO_CONTRADICTION, **one, "event_at": time_of(one["event_at"])}
        shown = {name: shown[name] for name in COLUMNS}
        if self._file is not None:
            self._file.write(_line(shown) if self._format == "ndjson" else _csv_line(map(_cell, shown.values())))
            return
        self._left -= len(json.dumps(shown)) + 2
        self.too_large = self._left < 0
        if self.too_large:
            self.kept.clear()
        else:
            self.kept.append(shown)


def _line(shown: dict[str, Any]) -> bytes:
    # ASCII: no terminal escapes and no line breaks.
    return json.dumps(shown, separators=(",", ":")).encode() + b"\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else formula_safe(str(value))


def _csv_line(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
