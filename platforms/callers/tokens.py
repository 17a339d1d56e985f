"""The form of a caller's token: `cfes_`, a public ID, `_`, and 256 random bits in URL-safe base64.

The store keeps the SHA-256 of the secret. A slow hash would add nothing: nobody can guess 256 bits.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

PREFIX = "cfes_"
ID_LENGTH = 10
SECRET_BYTES = 32
LENGTH = 59

# A program that searches texts for secrets can use this pattern.
PATTERN = re.compile(r"cfes_([a-z2-7]{10})_([A-Za-z0-9_-]{43})", flags=re.ASCII)

_PART_OF_A_SECRET = re.compile(r"(cfes_[a-z2-7]{10}_)[A-Za-z0-9_-]+", flags=re.ASCII)


@dataclass(frozen=True)
class Token:
    """A token in its parts. Its repr does not show the secret."""

    token_id: str
    digest: bytes

    @classmethod
    def of(cls, text: object) -> Token | None:
        """Return the token in a text, or None if the text does not have the form of a token."""
        # The length first: a text may have a million characters.
        if not isinstance(text, str) or len(text) != LENGTH:
            return None
        match = PATTERN.fullmatch(text)
        return None if match is None else cls(match[1], hashlib.sha256(match[2].encode("ascii")).digest())


def new_token(random: Callable[[int], bytes]) -> str:
    """Return a new token. random: returns so many random bytes, like `secrets.token_bytes`."""
    token_id = base64.b32encode(random(7)).decode("ascii")[:ID_LENGTH].lower()
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).decode("ascii").rstrip("=")
    return f"{PREFIX}{token_id}_{secret}"


def hide_secrets(text: str) -> str:
    """Return the text without the secrets of tokens in it, also of tokens that were cut. Their IDs are kept."""
    return _PART_OF_A_SECRET.sub(r"\1[hidden]", text) if PREFIX in text else text
