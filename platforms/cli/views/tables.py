"""Tables for a terminal: every cell is made safe; columns that do not fit are left to `--output json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from core.text import visible
from platforms.cli.views.layout import GAP, NARROW, Whole, broken, fitted, in_columns, paragraph, stacked, width_of
from platforms.cli.views.palette import QUIET, STRONG

# More rows would scroll off the screen.
LONGEST_LIST = 50

# Each record is a long line.
MOST_RECORDS = 10

IN_JSON = " Use --output json to see all."


@dataclass(frozen=True)
class Column:
    """A column. width: the least width of a long value. rank: columns of the highest rank are left out first.

    whole: never cut, so that it can be copied. fold: broken into lines, only for the last column.
    """

    title: str
    width: int
    rank: int = 0
    right: bool = False
    fold: bool = False
    whole: bool = False


def grid(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[object]], hint: str = IN_JSON) -> None:
    """Print rows under headings. Columns that do not fit are left out, highest rank first.

    A column with the same value in every row is shown once, below the table. On a narrow terminal, or if a whole value
    does not fit, each cell is below its column's title. hint: how to see the columns that are left out.
    """
    cells = [[visible("" if value is None else str(value)) for value in row] for row in rows]
    constant = _constant(columns, cells)
    places = [place for place in range(len(columns)) if place not in constant]
    width = width_of(console)
    longest = [max(cell_len(column.title), *(cell_len(row[place]) for row in cells))
               for place, column in enumerate(columns)]  # fmt: skip
    kept = _kept(columns, places, longest, width)
    if width < NARROW or not kept:
        for number, row in enumerate(cells):
            if number:
                console.print()
            for place in places:
                if row[place]:
                    stacked(console, columns[place].title, row[place])
        if constant:
            console.print()
    else:
        _print_columns(console, [columns[place] for place in kept], [[row[place] for place in kept] for row in cells],
                       [longest[place] for place in kept], width)  # fmt: skip
    for place in constant:
        paragraph(console, f"{columns[place].title}: {cells[0][place] or 'none'} in all rows", QUIET, indent=GAP)
    if kept and len(kept) < len(places) and width >= NARROW:
        left_out = ", ".join(columns[place].title for place in places if place not in kept)
        paragraph(console, f"Hidden columns: {left_out}.{hint}", QUIET)


def _constant(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns with the same value in each of several rows. At least one column is left.

    Columns of numbers and IDs always stay in the table.
    """
    if len(cells) < 2:
        return []
    found = [
        place
        for place, column in enumerate(columns)
        if not column.whole and not column.right and len({row[place] for row in cells}) == 1
    ]
    return found if len(found) < len(columns) else found[1:]


def _kept(columns: Sequence[Column], places: Sequence[int], longest: Sequence[int], width: int) -> list[int]:
    """Return the columns that fit; none if not even the whole values fit."""
    needs = {place: _needed(columns[place], longest[place]) for place in places}
    kept = list(places)
    while sum(needs[place] + GAP for place in kept) - GAP > width:
        spare = [place for place in kept if not columns[place].whole]
        if not spare or len(kept) == 1:
            return []
        kept.remove(max(spare, key=lambda place: (columns[place].rank, place)))
    return kept


def _needed(column: Column, longest: int) -> int:
    return longest if column.whole else min(longest, max(column.width, cell_len(column.title)))


def _print_columns(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], longest: Sequence[int], width: int
) -> None:
    widths = [_needed(column, wide) for column, wide in zip(columns, longest, strict=True)]
    left = width - sum(widths) - GAP * (len(widths) - 1)
    for place, wide in enumerate(longest):
        more = max(0, min(wide - widths[place], left))
        widths[place] += more
        left -= more
    right = [column.right for column in columns]
    console.print(Text(in_columns([column.title for column in columns], widths, right), STRONG), soft_wrap=True)
    for row in rows:
        lines = broken(row[-1], widths[-1]) if columns[-1].fold else [fitted(row[-1], widths[-1])]
        first = [fitted(cell, wide) for cell, wide in zip(row[:-1], widths[:-1], strict=True)]
        for number, line in enumerate(lines):
            cells = [*(first if number == 0 else [""] * len(first)), line]
            console.print(Text(in_columns(cells, widths, right)), soft_wrap=True)


def named_values(document: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value of a document as text, with its dotted name. Nulls and empty values are left out."""
    for key, value in document.items():
        name = f"{within}{key}"
        if isinstance(value, Mapping):
            if _is_file(value):
                yield name, file_line(value)
            else:
                yield from named_values(value, f"{name}.")
        elif isinstance(value, list):
            yield from _listed(name, value)
        elif value is not None:
            yield name, text_of(value)


def file_line(file: Mapping[str, Any]) -> Whole:
    """Return the path and the size of a written file."""
    size = file.get("bytes")
    return Whole(near(str(file["path"])) + (f" ({size_of(size)})" if isinstance(size, int) else ""))


def near(path: str) -> str:
    """Return a path, relative to the working directory if it is below it."""
    try:
        here = f"{Path.cwd()}/"
    except OSError:
        # The working directory was removed.
        return path
    return path.removeprefix(here) if path != here else path


def size_of(count: int) -> str:
    """Format a number of bytes."""
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def text_of(value: object) -> str:
    """Format a scalar."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _listed(name: str, values: Sequence[Any]) -> Iterator[tuple[str, str]]:
    most = MOST_RECORDS if values and isinstance(values[0], Mapping) and not _is_file(values[0]) else LONGEST_LIST
    for value in values[:most]:
        if isinstance(value, Mapping):
            yield name, file_line(value) if _is_file(value) else ", ".join(f"{k}: {v}" for k, v in named_values(value))
        else:
            yield name, text_of(value)
        name = ""  # only the first line has the name
    if len(values) > most:
        yield "", f"and {len(values) - most:,} more.{IN_JSON}"


def _is_file(value: Mapping[str, Any]) -> bool:
    return set(value) >= {"path", "sha256"}
