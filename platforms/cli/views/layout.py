"""Break lines for a terminal at blanks only, so that an ID, a hash, a path or a command can be copied whole.

A word that is wider than the line is left to the terminal, which wraps it without a line break.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from core.text import visible
from platforms.cli.views.palette import QUIET

# Below this width a name is above its value, and a column's title above its cell.
NARROW = 60

# A terminal of 0 or 1 columns has wrong settings.
NARROWEST = 20

# A pipe or a file has no width.
UNBOUNDED = 100_000

# A longer name does not widen the column of names.
LONGEST_NAME = 28

GAP = 2

# Parts that are not broken: a command after a colon, a quoted text, and a word.
_WHOLE = re.compile(
    r"(?P<gap>\s*)(?P<word>(?<=: )cfes .*$"
    r"|`[^`]*`\S*"
    r"|(?<![^\s([])'[^']*'(?=[\s,.;:)\]]|$)\S*"
    r'|(?<![^\s([])"[^"]*"(?=[\s,.;:)\]]|$)\S*'
    r"|\S+)"
)

_PATH = re.compile(r"(?:~|\.{0,2})/\S[^\n]*\Z")


class Whole(str):
    """A text that is never broken, such as a path with blanks in it."""

    __slots__ = ()


def console(*, stderr: bool) -> Console:
    """Return the console of standard output or standard error."""
    # Rich would read COLUMNS=0 as a width of 0.
    environment = dict(os.environ)
    if not re.fullmatch("0*[1-9][0-9]*", environment.get("COLUMNS", "")):
        environment.pop("COLUMNS", None)
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, _environ=environment)


def safe(value: object, style: str = "") -> Text:
    """Make any text safe for a terminal: no escapes, no markup, no characters that hide or reorder others."""
    return Text(visible(str(value)), style=style)


def marked(console: Console, mark: tuple[str, str], line: str, style: str) -> None:
    """Print a line behind a mark with its own style. Further lines are indented."""
    before, style_of_mark = mark
    for number, part in enumerate(broken(line, width_of(console) - len(before))):
        shown = safe(" " * len(before)) if number else safe(before, style_of_mark)
        console.print(shown + safe(part, style), soft_wrap=True)


def width_of(console: Console) -> int:
    """Return the width of a line. A pipe has no limit unless COLUMNS is set."""
    if not console.is_terminal and not console._environ.get("COLUMNS"):
        return UNBOUNDED
    return max(console.width, NARROWEST)


def broken(text: str, width: int) -> list[str]:
    """Break a text into lines at blanks. Words are moved to another line, never cut."""
    if isinstance(text, Whole) or _PATH.match(text):
        return [visible(text)]
    lines: list[str] = []
    for given in text.split("\n"):
        line, used = "", 0
        for found in _WHOLE.finditer(visible(given)):
            gap, word = found["gap"], found["word"]
            needed = cell_len(gap) + cell_len(word)
            if line.strip() and used + needed > width:
                lines.append(line)
                line, used = word, cell_len(word)
            else:
                line, used = f"{line}{gap}{word}", used + needed
        lines.append(line)
    return lines


def paragraph(console: Console, text: object, style: str = "", indent: int = 0) -> None:
    """Print a text, with lines broken at blanks. Lines after the first are indented."""
    width = width_of(console)
    for number, line in enumerate(broken(_text(text), width - indent)):
        whole(console, f"{' ' * indent if number else ''}{line}", style)


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def whole(console: Console, text: object, style: str = "") -> None:
    """Print one line without breaking it, however long, so that it can be copied."""
    console.print(Text(visible(str(text)).rstrip(), style=style), soft_wrap=True)


def facts(console: Console, rows: Sequence[tuple[str, object]]) -> None:
    """Print names and values: side by side, or on a narrow terminal one above the other."""
    width = width_of(console)
    if width < NARROW:
        for name, value in rows:
            stacked(console, name, value)
        return
    column = max((n for name, _ in rows if (n := cell_len(visible(name))) <= LONGEST_NAME), default=0)
    for name, value in rows:
        room = width - column - GAP
        lines = broken(_text(value), room)
        shown = visible(name)
        if any(cell_len(line) > room for line in lines):
            # Beside its name the terminal would wrap it.
            stacked(console, name, value)
            continue
        if cell_len(shown) > column and (len(lines) > 1 or cell_len(shown) + GAP + cell_len(lines[0]) > width):
            whole(console, shown, QUIET)
            shown = ""
        for number, line in enumerate(lines):
            label = shown if number == 0 else ""
            gap = " " * (max(column, cell_len(label)) + GAP - cell_len(label))
            text = Text.assemble((label, QUIET), f"{gap}{line}")
            text.rstrip()
            console.print(text, soft_wrap=True)


def stacked(console: Console, name: str, value: object) -> None:
    """Print a name, and its value below it."""
    if name:
        whole(console, name, QUIET)
    for line in broken(_text(value), width_of(console) - GAP):
        whole(console, f"{' ' * GAP}{line}")


def fitted(text: str, width: int) -> str:
    """Cut a text to at most so many cells. An ellipsis replaces the rest."""
    if cell_len(text) <= width:
        return text
    kept, room = [], width - 1
    for character in text:
        room -= cell_len(character)
        if room < 0:
            break
        kept.append(character)
    return f"{''.join(kept)}\N{HORIZONTAL ELLIPSIS}"


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Pad a text to so many cells."""
    gap = " " * max(0, width - cell_len(text))
    return f"{gap}{text}" if right else f"{text}{gap}"


def in_columns(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    """Return one line of a table, without trailing blanks."""
    parts: Iterator[str] = (padded(*one[:2], right=one[2]) for one in zip(cells, widths, right, strict=True))
    return (" " * GAP).join(parts).rstrip()
