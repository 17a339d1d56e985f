"""Text out of a mailbox, made harmless for the eye, the terminal and the spreadsheet.

Whoever writes a message chooses its subject, names and addresses. Here such text loses its power to steer what shows
it, and whatever was taken out stays visible. The exact text is in the NDJSON file, which is never altered.
"""

from __future__ import annotations

import re
import unicodedata

from core.quantity import counted

# C0, DEL and C1 drive terminals and forge lines; the others reorder a line, hide in it or can't be encoded. The
# zero-width (non-)joiner stays out: Persian, Indic scripts and emoji are written with it.
STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f"
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)

# More marks on one character than any script writes; they would be drawn over the lines above and below.
MOST_MARKS = 6
_JOINERS = "\u200c\u200d"
# No mark is a part of a word to `re`: what may be one, and then is asked for its category.
_MAY_BE_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MOST_MARKS + 1},}}")

FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"  # the last four: full-width = + - @
# A spreadsheet may drop blanks and a quoting it misread before it looks for a formula: neither protects.
_FORMULA = re.compile(rf"[\s\"]*[{re.escape(FORMULA_STARTS)}]|[\x00\t\r\n]")
# Where the list separator is a semicolon, a comma-separated file is split there too, and a new cell begins.
_FORMULA_AFTER_SEMICOLON = re.compile(rf"(;[\s\"]*)(?=[{re.escape(FORMULA_STARTS)}])")

# A search for one first character is three times as fast as a search for either of two.
_FORMULA_BEHIND_COMMA, _FORMULA_BEHIND_SEMICOLON = (
    re.compile(rf"{mark}[\s\"]*[{re.escape(FORMULA_STARTS)}]") for mark in ",;"
)


def visible(text: str) -> str:
    """The text as `code_points` and `few_marks` give it: for people, on a screen and on paper."""
    return few_marks(code_points(text))


def code_points(text: str) -> str:
    """The text with each steering character shown as its code point, e.g. `[U+202E]` for a right-to-left override."""
    # Every steering character is unprintable, and asking for that is ten times faster than searching.
    if text.isprintable():
        return text
    return STEERING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def few_marks(text: str) -> str:
    """The text in which of the marks on one character those beyond MOST_MARKS are counted: `[193 more marks]`."""
    return text if text.isascii() else _MAY_BE_MARKS.sub(_counted, text)


def _counted(found: re.Match[str]) -> str:
    shown: list[str] = []
    marks = 0
    for character in found[0]:
        # A joiner between two marks does not keep them from being drawn on one character.
        if unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
        elif character not in _JOINERS:
            _count_marks(shown, marks)
            marks = 0
        if marks <= MOST_MARKS:
            shown.append(character)
    _count_marks(shown, marks)
    return "".join(shown)


def _count_marks(shown: list[str], marks: int) -> None:
    if marks > MOST_MARKS:
        shown.append(f"[{counted(marks - MOST_MARKS, 'more mark')}]")


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of the text; what is left out is counted behind an ellipsis. For display only."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def formula_safe(text: str) -> str:
    """The text as a spreadsheet cell that is never calculated.

    Source: OWASP ASVS 1.2.10. A single quote goes before a first character of = + - @, tab, CR, LF or NUL (full-width
    variants too, leading blanks and double quotes looked through), and before = + - @ behind a semicolon. Other
    steering characters are shown as `code_points` does.
    """
    if text[:1].isalnum() and ";" not in text and text.isprintable():
        return text
    quote = "'" if _FORMULA.match(text) else ""
    if ";" in text:
        text = _FORMULA_AFTER_SEMICOLON.sub(r"\1'", text)
    return quote + code_points(text)


def are_safe(cells: str) -> bool:
    """Whether `formula_safe` changes none of these cells, joined by commas. Where it is False, none may be changed."""
    # No-break spaces are common, and not printable.
    if not cells.replace("\xa0", " ").isprintable() and STEERING.search(cells):
        return False
    return not (_FORMULA_BEHIND_COMMA.search(f",{cells}") or (";" in cells and _FORMULA_BEHIND_SEMICOLON.search(cells)))
