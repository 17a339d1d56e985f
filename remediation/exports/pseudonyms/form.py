"""What a pseudonym looks like, for those who have to tell one from an address of real life."""

from __future__ import annotations

import re

# 80 bits of the HMAC, in hex. Of ten million different values any two share these with a chance of one in twenty
# billion. All 256 bits would make every file larger and hide nothing more: who has the key checks guesses either way.
BYTES = 10

# No name under .invalid ever resolves (RFC 6761): what is sent to a pseudonym goes nowhere.
DOMAIN_SUFFIX = ".invalid"
MESSAGE_ID_SUFFIX = "@message-id.invalid"

_HEX = rf"[0-9a-f]{{{2 * BYTES}}}"
_OF_AN_ADDRESS = re.compile(rf"p-{_HEX}@d-{_HEX}\.invalid")
_OF_A_MESSAGE_ID = re.compile(rf"<?m-{_HEX}@message-id\.invalid>?")


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of an address's or a Message-ID's pseudonym. Anybody can write one: no proof."""
    return _OF_AN_ADDRESS.fullmatch(text) is not None or _OF_A_MESSAGE_ID.fullmatch(text) is not None
