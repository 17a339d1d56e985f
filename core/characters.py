"""Unicode characters in names that people compare: which show nothing, which can be mistaken, how one is named."""

from __future__ import annotations

import unicodedata

# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties) beyond category Cf: letters and marks that show nothing.
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

# Control characters have no name in Unicode; these are their aliases there.
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

# The scripts that names write together with Latin letters (UTS 39, "highly restrictive"). Letters and digits of every
# other script can be mistaken for Latin ones somewhere: U+0966 is a zero that looks like an o.
_BESIDE_LATIN = ("CJK ", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")


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
    """Return whether a character shows nothing: format and control characters and others that fonts leave out."""
    point = ord(character)
    if point < 0x80:
        return not 0x20 <= point < 0x7F
    return unicodedata.category(character) in ("Cf", "Cc", "Cs") or any(
        first <= point <= last for first, last in _IGNORABLE
    )


def is_combining(character: str) -> bool:
    """Return whether a character is a mark of no script of its own, like U+0301 COMBINING ACUTE ACCENT."""
    return unicodedata.name(character, "").startswith("COMBINING ")


def is_doubtful(character: str) -> bool:
    """Return whether a character is not plainly a letter, a mark or a digit.

    Doubtful are invisible characters, white space, punctuation, symbols, compatibility forms (full-width letters,
    ligatures) and whatever has no place in a name.
    """
    plain = unicodedata.category(character) in ("Ll", "Lu", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd")
    compatible = unicodedata.normalize("NFKC", character) == unicodedata.normalize("NFC", character)
    # Letters by category, quotes and colons by their shape.
    modifier = unicodedata.name(character, "").startswith("MODIFIER LETTER")
    return not plain or not compatible or modifier or is_invisible(character)


def mixed_script(text: str) -> str | None:
    """Return the first letter, digit or mark of another script in a text that has Latin letters too, or None."""
    if text.isascii() or not any(_is_latin(character) for character in text):
        return None
    return next((character for character in text if _is_foreign(character)), None)


def _is_latin(character: str) -> bool:
    return unicodedata.name(character, "").startswith("LATIN")


def _is_foreign(character: str) -> bool:
    """Return whether a letter, digit or mark is of a script that is not written together with Latin letters."""
    if character.isascii() or unicodedata.category(character)[0] not in "LNM":
        return False
    return not _is_latin(character) and not unicodedata.name(character, "").startswith(_BESIDE_LATIN)
