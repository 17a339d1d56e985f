"""CSV for a spreadsheet: the plain table, in which a spreadsheet leaves every text as it is.

A byte order mark, and an apostrophe before each text that is a formula, begins with an apostrophe, or could be read as
a number, date, time, amount, boolean or error. docs/reference/exports.md explains the apostrophe and how a program
removes it.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

from core.quantity import counted
from core.text import FORMULA_STARTS, formula_safe
from remediation.exports.formats.csv_table import COLUMNS, cell, header_line, values_of_line

MARK = "'"
# `formula_safe` inserts an apostrophe if there is none. With a second one, a program can always remove exactly one.
_MARKED_AFTER_SEMICOLON = re.compile(rf"(;[\s\"]*)(?='+[{re.escape(FORMULA_STARTS)}])")

# Excel's own limits. It counts UTF-16 code units.
MOST_CHARACTERS = 32_767
MOST_ROWS = 1_048_576
# A warning names this many long cells and counts the others.
MOST_NAMED = 10

# A double has 15 certain digits.
_EXACT = 10**15

# Of all scripts, because spreadsheets read those too.
_DIGIT = re.compile(r"\d")
_IN_NO_NUMBER = re.compile(r"[@_<>\[\]{}!?=|]")
# A date has at most two words of four letters: a weekday and a month. A longer run of letters counts more than once.
_LONG_WORD = re.compile(r"(?:[^\W\d_]|-){4,20}")
_MOST_LONG_WORDS = 2
# A date with an offset from UTC has three, a UUID has four.
_MOST_HYPHENS = 3
# TRUE and FALSE as spreadsheets in the languages of Europe write them.
_BOOLEANS = frozenset(
    re.findall(
        r"\w+",
        "true false wahr falsch vrai faux verdadero falso vero verdadeiro waar onwaar sand falsk sant falskt sann "
        "usann tosi epätosi prawda fałsz pravda nepravda igaz hamis adevărat fals istina laž tõene väär patiess "
        "aplams doğru yanlış yanliş истина ложь істина хибність αληθησ ψευδησ αληθής ψευδής",  # noqa: RUF001
    )
)
_LONGEST_BOOLEAN = max(map(len, _BOOLEANS))


def write_excel_csv(
    lines: Iterable[bytes], write: Callable[[bytes], object], *, most_rows: int = MOST_ROWS
) -> list[str]:
    """Write the header and a line for each line of NDJSON. Return warnings about cells and rows beyond Excel's limits.

    Raises: ValueError for a line that is not a JSON object.
    """
    write(codecs.BOM_UTF8 + header_line([column.name for column in COLUMNS]))
    table = _Table(write)
    csv.writer(table, lineterminator="\r\n").writerows(map(table.cells, lines))
    return table.warnings(most_rows)


def excel_cell(value: Any) -> str:
    """Return a value as the text of a cell. Booleans and whole numbers of up to 15 digits stay unchanged."""
    if isinstance(value, bool) or (isinstance(value, int) and 0 <= value < _EXACT):
        return cell(value)
    text = value if isinstance(value, str) else cell(value, safe=str)
    if ";" in text:
        text = _MARKED_AFTER_SEMICOLON.sub(rf"\1{MARK}", text)
    safe = formula_safe(text)
    if text[:1] == MARK or (safe[:1] != MARK and _may_be_converted(safe)):
        return MARK + safe
    return safe


def _may_be_converted(text: str) -> bool:
    """Return whether a spreadsheet in any language may read the text as another type; true in case of doubt."""
    word = text.strip()
    if word[:1] == "#":
        return True
    if not _DIGIT.search(text):
        return len(word) <= _LONGEST_BOOLEAN and word.casefold() in _BOOLEANS
    if _IN_NO_NUMBER.search(text) or text.count("-") > _MOST_HYPHENS:
        return False
    long_words = itertools.islice(_LONG_WORD.finditer(text), _MOST_LONG_WORDS + 1)
    return len(list(long_words)) <= _MOST_LONG_WORDS


class _Table:
    """The text file that `csv.writer` needs. Records what Excel can't hold."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        # The header is the first.
        self._row = 1
        self._long_cells = 0
        self._named: list[str] = []

    def write(self, text: str) -> None:
        self._write(text.encode())

    def cells(self, line: bytes) -> list[str]:
        self._row += 1
        found = ["" if value is None else excel_cell(value) for value in values_of_line(line)]
        # A character is one unit or two.
        if max(map(len, found)) > MOST_CHARACTERS // 2:
            self._note_long(found)
        return found

    def _note_long(self, found: list[str]) -> None:
        for column, text in zip(COLUMNS, found, strict=True):
            length = len(text.encode("utf-16-le")) // 2
            if length <= MOST_CHARACTERS:
                continue
            self._long_cells += 1
            if len(self._named) < MOST_NAMED:
                self._named.append(f"{column.name} in row {self._row:,} ({length:,})")

    def warnings(self, most_rows: int) -> list[str]:
        found = []
        if self._long_cells:
            more = self._long_cells - len(self._named)
            found.append(
                f"{counted(self._long_cells, 'cell is', 'cells are')} longer than the {MOST_CHARACTERS:,} characters "
                f"that Excel holds: {', '.join(self._named)}{f' and {more:,} more' if more else ''}. The file is "
                "complete; Excel cuts such a cell when it opens the file."
            )
        if self._row > most_rows:
            found.append(
                f"the file has {counted(self._row, 'row')} with its header, and Excel opens {most_rows:,} of them. The "
                "file is complete: read it with another program, or export one status at a time."
            )
        return found
