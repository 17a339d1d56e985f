"""Text out of a mailbox or over the wire, made safe for a chat message and a ticket."""

from __future__ import annotations

import re

from core.text import shorten, visible

SHOWN_IN_CHAT = 80

# ASCII that starts markup, a mention, an entity or an emoji name in some chat or ticket system, each as its full-width
# twin: it looks alike and does nothing.
_ACTIVE = str.maketrans({character: chr(ord(character) + 0xFEE0) for character in "<>[]{}|\\`*~^#!&$"})
_AT = re.compile("[@\uff20]")
# A dot inside a word makes a link of it, also one of the dots that a browser takes for it; so does a colon before one.
_DOT_IN_WORD = re.compile("(?<=[^\\s.])[.\u3002\uff0e\uff61](?=[^\\s.])")
# One inside a name is left alone.
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_COLON_BEFORE_WORD = re.compile(r":(?=\S)")


def chat(text: str, limit: int = SHOWN_IN_CHAT) -> str:
    """Return the text as a code span that is no link, mention, emoji or markup, also where a code span means nothing.

    The dots and the at sign of an address are written `[.]` and `[@]`, as analysts write them.
    """
    text = shorten(text.strip() or "(empty)", limit).translate(_ACTIVE)
    text = _UNDERSCORE.sub("\uff3f", text)
    text = _COLON_BEFORE_WORD.sub("\uff1a", _DOT_IN_WORD.sub("[.]", _AT.sub("[@]", text)))
    return f"`{visible(text)}`"
