"""Tables of data for a terminal: every cell made safe, as many columns as fit, the rest left to `--output json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from platforms.cli.screen import safe

# More of them would only be scrolled past.
LONGEST_LIST = 50

IN_JSON = " (--output json has all)"

# Blanks between two columns.
GAP = 2


@dataclass(frozen=True)
class Column:
    """width: as many characters as long values need at least. rank: the greater, the sooner it is left out."""

    title: str
    width: int
    rank: int = 0
    right: bool = False
    fold: bool = False


def grid(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[object]], hint: str = IN_JSON) -> None:
    """Print rows under headings. Columns that do not fit are left out, those of the greatest rank first.

    hint: where such columns can be seen.
    """
    cells = [[safe("" if value is None else value) for value in row] for row in rows]
    longest = [
        max([cell_len(column.title), *(row[place].cell_len for row in cells)]) for place, column in enumerate(columns)
    ]
    needs = [
        min(wide, max(column.width, cell_len(column.title))) for column, wide in zip(columns, longest, strict=True)
    ]
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(needs[place] + GAP for place in kept) > console.width:
        kept.remove(max(kept, key=lambda place: (columns[place].rank, place)))
    left = console.width - sum(needs[place] + GAP for place in kept)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for place in kept:
        column = columns[place]
        more = max(0, min(longest[place] - needs[place], left))
        left -= more
        # Fixed, or rich would take the room for one long value from other columns, down to nothing.
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold" if column.fold else "ellipsis",
            no_wrap=not column.fold,
            width=max(1, min(needs[place] + more, console.width - GAP)),
        )
    for row in cells:
        table.add_row(*(row[place] for place in kept))
    console.print(table)
    if len(kept) < len(columns):
        left_out = ", ".join(column.title for place, column in enumerate(columns) if place not in kept)
        console.print(safe(f"no room for: {left_out}{hint}", "dim"))


def facts(console: Console, rows: Sequence[tuple[str, object]]) -> None:
    """Print names and values, a line each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(safe(name, "cyan"), safe(value))
    console.print(table)


def named_values(document: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a document under its dotted name, as text; nulls and empty things are left out."""
    for key, value in document.items():
        name = f"{within}{key}"
        if isinstance(value, Mapping):
            if set(value) >= {"path", "sha256"}:
                yield name, file_line(value)
            else:
                yield from named_values(value, f"{name}.")
        elif isinstance(value, list):
            yield from _listed(name, value)
        elif value is not None:
            yield name, text_of(value)


def file_line(file: Mapping[str, Any]) -> str:
    """A written file: where it is, and how large."""
    size = file.get("bytes")
    return near(str(file["path"])) + (f" ({size_of(size)})" if isinstance(size, int) else "")


def near(path: str) -> str:
    """A path as short as it can be typed from here."""
    try:
        here = f"{Path.cwd()}/"
    except OSError:
        # The working directory was removed.
        return path
    return path.removeprefix(here) if path != here else path


def size_of(count: int) -> str:
    """Bytes for people."""
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def text_of(value: object) -> str:
    """A scalar for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _listed(name: str, values: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for value in values[:LONGEST_LIST]:
        if isinstance(value, Mapping):
            files = set(value) >= {"path", "sha256"}
            yield name, file_line(value) if files else ", ".join(f"{k}: {v}" for k, v in named_values(value))
        else:
            yield name, text_of(value)
        name = ""  # it stands before the first only
    if len(values) > LONGEST_LIST:
        yield "", f"and {len(values) - LONGEST_LIST:,} more"
