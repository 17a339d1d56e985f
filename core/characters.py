"""Unicode characters in names: which are invisible, which can be confused, and how a message names them."""

from __future__ import annotations

import unicodedata
from typing import Any

# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties) beyond category Cf: invisible letters and marks.
_IGNORABLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)

_KINDS = {
    "Cc": "control character",
    "Cs": "surrogate",
    "Co": "private use character",
    "Cn": "unassigned character",
}

# Control characters have no name in Unicode, only these aliases.
_CONTROLS = {
    0x00: "NULL",
    0x08: "BACKSPACE",
    0x09: "CHARACTER TABULATION",
    0x0A: "LINE FEED",
    0x0B: "LINE TABULATION",
    0x0C: "FORM FEED",
    0x0D: "CARRIAGE RETURN",
    0x1B: "ESCAPE",
    0x7F: "DELETE",
    0x85: "NEXT LINE",
}

# The scripts that names combine with Latin letters (UTS 39, "highly restrictive"). Every other script has letters or
# digits that look like Latin ones: U+0966 is a zero that looks like an o.
_BESIDE_LATIN = ("CJK ", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")


def idna() -> Any:
    """Return the module idna, whose errors are UnicodeErrors. Its tables slow the start of a process."""
    import idna as module  # noqa: PLC0415 -- only for the first international name

    return module


def describe(character: str) -> str:
    """Return a character's code point and Unicode name: `U+200E LEFT-TO-RIGHT MARK`. Always printable ASCII."""
    name = (
        unicodedata.name(character, "")
        or _CONTROLS.get(ord(character), "")
        or _KINDS.get(unicodedata.category(character), "unnamed character")
    )
    also = " (byte order mark)" if character == "\ufeff" else ""
    return f"U+{ord(character):04X} {name}{also}"


def is_invisible(character: str) -> bool:
    """Return whether a character is invisible: a format or control character, or another that fonts do not draw."""
    point = ord(character)
    if point < 0x80:
        return not 0x20 <= point < 0x7F
    return unicodedata.category(character) in ("Cf", "Cc", "Cs") or any(
        first <= point <= last for first, last in _IGNORABLE
    )


def is_combining(character: str) -> bool:
    """Return whether a character is a mark that belongs to no script, like U+0301 COMBINING ACUTE ACCENT."""
    return unicodedata.name(character, "").startswith("COMBINING ")


def is_doubtful(character: str) -> bool:
    """Return whether a character is not clearly a letter, a mark or a digit.

    Doubtful are invisible characters, white space, punctuation, symbols and compatibility forms (full-width letters,
    ligatures).
    """
    plain = unicodedata.category(character) in ("Ll", "Lu", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd")
    compatible = unicodedata.normalize("NFKC", character) == unicodedata.normalize("NFC", character)
    # Modifier letters are letters by category, but look like quotes and colons.
    modifier = unicodedata.name(character, "").startswith("MODIFIER LETTER")
    return not plain or not compatible or modifier or is_invisible(character)


def mixed_script(text: str) -> str | None:
    """Return the first letter, digit or mark of another script in a text with Latin letters, or None."""
    if text.isascii() or not any(_is_latin(character) for character in text):
        return None
    return next((character for character in text if _is_foreign(character)), None)


def _is_latin(character: str) -> bool:
    return unicodedata.name(character, "").startswith("LATIN")


def _is_foreign(character: str) -> bool:
    """Return whether a letter, digit or mark belongs to a script that names do not combine with Latin letters."""
    if character.isascii() or unicodedata.category(character)[0] not in "LNM":
        return False
    return not _is_latin(character) and not unicodedata.name(character, "").startswith(_BESIDE_LATIN)
