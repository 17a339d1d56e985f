"""The key that seals a run's journal. It never lies in the run's directory.

A journal names the actions that a resumed run carries out. Its seal, HMAC-SHA256 under this key, shows that this
program wrote it: a person who can write to the run's directory can't make another one.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from core.json_values import Json, canonical

# What is sealed is a journal and nothing else that the same key may be used for.
_JOURNAL = b"cfes journal\0"
_NAME = b"cfes journal key\0"


@dataclass(frozen=True)
class JournalKey:
    """A secret of 16 bytes or more. source: where it comes from, in words, for errors."""

    secret: bytes = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise ValueError("a journal's key has at least 16 bytes")

    @property
    def id(self) -> str:
        """The key's name: it tells two keys apart, and tells nothing of the secret."""
        return self._digest(_NAME)[:16]

    def seal(self, document: dict[str, Json]) -> str:
        """Return the seal of a document, as 64 hexadecimal digits. Raises: ValueError for what is not plain JSON."""
        return self._digest(_JOURNAL + canonical(document))

    def fits(self, seal: object, document: dict[str, Json]) -> bool:
        """Return whether this key made this seal for this document."""
        return isinstance(seal, str) and hmac.compare_digest(
            seal.encode("utf-8", "replace"), self.seal(document).encode()
        )

    def _digest(self, message: bytes) -> str:
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()
