"""Bring Message-IDs, addresses and PostfixIDs to one form, because two systems write them differently."""

from __future__ import annotations

import unicodedata


def bare(name: str | None) -> str:
    """Return a Message-ID or address in NFC and lower case, without brackets and white space; empty for None."""
    if name is None:
        return ""
    found = "".join(name.split()).removeprefix("<").removesuffix(">").lower()
    return found if found.isascii() else unicodedata.normalize("NFC", found)


def one_word(name: str | None) -> str | None:
    """Return a PostfixID without white space; its case counts. None where there is none."""
    return "".join((name or "").split()) or None
