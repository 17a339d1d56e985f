"""Makes untrusted text from mailboxes safe to display: on a terminal, on paper and in a spreadsheet.

The sender of a message chooses its subject, names and addresses. These functions replace characters that control a
display or a spreadsheet with visible text. The NDJSON file keeps the exact text.
"""

from __future__ import annotations

import re
import unicodedata

from core.quantity import counted

# C0, DEL and C1 control terminals and fake new lines. The others reorder a line, are invisible or can't be encoded. The
# zero-width (non-)joiner is allowed: Persian, Indic scripts and emoji need it.
STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f"
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)

# No script puts more marks on one character. More would be drawn over the lines above and below.
MOST_MARKS = 6
_JOINERS = "\u200c\u200d"
# For `re` a mark is not a word character. A match may contain marks; _limit checks the category of each character.
_MAY_BE_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MOST_MARKS + 1},}}")

FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"  # the last four: full-width = + - @
# A spreadsheet may strip leading blanks and misread quotes before it looks for a formula.
_FORMULA = re.compile(rf"[\s\"]*[{re.escape(FORMULA_STARTS)}]|[\x00\t\r\n]")
# In locales with a semicolon as list separator, a comma-separated file is also split at semicolons.
_FORMULA_AFTER_SEMICOLON = re.compile(rf"(;[\s\"]*)(?=[{re.escape(FORMULA_STARTS)}])")

# Two searches for one first character each are faster than one search for two.
_FORMULA_BEHIND_COMMA, _FORMULA_BEHIND_SEMICOLON = (
    re.compile(rf"{mark}[\s\"]*[{re.escape(FORMULA_STARTS)}]") for mark in ",;"
)


# Programs that show text make a link or a mention of these. A dot in a word includes the dots of other scripts that a
# browser accepts in a host name. The dot of a decimal number is left.
_AT = re.compile("[@\uff20]")
_DECIMAL_OR_DOT_IN_WORD = re.compile(r"(?<![\w.])[0-9]+\.[0-9]+(?![\w.])|(?<=[^\s.])[.\u3002\uff0e\uff61](?=[^\s.])")
_AFTER_SCHEME = re.compile(r":(?=//)")

# ASCII that starts markup, a mention, an entity or an emoji name in some chat or ticket system. Its full-width form
# looks alike and has no effect.
_ACTIVE = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "<>[]{}|\\`*~^#!&$"})
# An underscore inside a name has no effect.
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_COLON_BEFORE_WORD = re.compile(r":(?=\S)")


def visible(text: str) -> str:
    """Return the text for display: steering characters as code points, and a limited number of marks."""
    return limit_marks(show_code_points(text))


def show_code_points(text: str) -> str:
    """Return the text with each steering character as its code point, e.g. `[U+202E]` for a right-to-left override."""
    # Every steering character is unprintable, and isprintable is ten times faster than a search.
    if text.isprintable():
        return text
    return STEERING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def limit_marks(text: str) -> str:
    """Return the text with at most MOST_MARKS marks on a character; the rest become `[193 more marks]`."""
    return text if text.isascii() else _MAY_BE_MARKS.sub(_limit, text)


def _limit(found: re.Match[str]) -> str:
    shown: list[str] = []
    marks = 0
    for character in found[0]:
        # Marks around a joiner are still drawn on one character.
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


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters, then an ellipsis and the number of characters left out. For display only."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def defanged(text: str) -> str:
    """Return the text without links and mentions, as analysts write it: `[.]` in a word, `[@]` and `[:]//`."""
    text = _AT.sub("[@]", text)
    text = _DECIMAL_OR_DOT_IN_WORD.sub(lambda found: found[0] if found[0][0].isdigit() else "[.]", text)
    return _AFTER_SCHEME.sub("[:]", text)


def without_markup(text: str) -> str:
    """Return the text without links, mentions, emoji names and markup of any chat or ticket system.

    Characters with an effect become their full-width forms, which look alike.
    """
    text = _UNDERSCORE.sub("\uff3f", text.translate(_ACTIVE))
    return defanged(_COLON_BEFORE_WORD.sub("\uff1a", text))


def formula_safe(text: str) -> str:
    """Return the text as a spreadsheet cell that is never evaluated as a formula.

    Source: OWASP ASVS 1.2.10. A single quote is inserted before a first character of = + - @, tab, CR, LF or NUL, also
    in full width and after leading blanks and double quotes, and before = + - @ after a semicolon. Other steering
    characters become code points.
    """
    if text[:1].isalnum() and ";" not in text and text.isprintable():
        return text
    quote = "'" if _FORMULA.match(text) else ""
    if ";" in text:
        text = _FORMULA_AFTER_SEMICOLON.sub(r"\1'", text)
    return quote + show_code_points(text)


def are_safe(cells: str) -> bool:
    """Return True only if `formula_safe` changes none of these comma-separated cells; False does not prove a change."""
    # isprintable refuses no-break spaces, which are common.
    if not cells.replace("\xa0", " ").isprintable() and STEERING.search(cells):
        return False
    return not (_FORMULA_BEHIND_COMMA.search(f",{cells}") or (";" in cells and _FORMULA_BEHIND_SEMICOLON.search(cells)))
