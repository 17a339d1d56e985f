"""The form of a pseudonym, for code that must tell one from a real address."""

from __future__ import annotations

import re

# 80 bits of the HMAC, in hex. Among ten million values, the chance that two share these is one in twenty billion. All
# 256 bits would make every file larger without hiding more: an owner of the key can check guesses either way.
BYTES = 10

# No name under .invalid resolves (RFC 6761), so mail to a pseudonym is never delivered.
DOMAIN_SUFFIX = ".invalid"
MESSAGE_ID_SUFFIX = "@message-id.invalid"

_HEX = rf"[0-9a-f]{{{2 * BYTES}}}"
_OF_AN_ADDRESS = re.compile(rf"p-{_HEX}@d-{_HEX}\.invalid")
_OF_A_MESSAGE_ID = re.compile(rf"<?m-{_HEX}@message-id\.invalid>?")


def is_pseudonym(text: str) -> bool:
    """Return whether a text has the form of an address's or a Message-ID's pseudonym. Anyone can write such a text."""
    return _OF_AN_ADDRESS.fullmatch(text) is not None or _OF_A_MESSAGE_ID.fullmatch(text) is not None
