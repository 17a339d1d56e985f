"""The names of a mail, as far as two systems write them in two ways."""

from __future__ import annotations

import unicodedata


def bare(name: str | None) -> str:
    """A Message-ID or an address without brackets, case and white space, accents written in one way; empty for none."""
    if name is None:
        return ""
    found = "".join(name.split()).removeprefix("<").removesuffix(">").lower()
    return found if found.isascii() else unicodedata.normalize("NFC", found)


def one_word(name: str | None) -> str | None:
    """A PostfixID, in which case counts; None where there is none."""
    return "".join((name or "").split()) or None
