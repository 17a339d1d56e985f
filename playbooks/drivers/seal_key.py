"""The key that seals the records of runs: their states and signals. It is never stored beside them.

A state names the actions that a resumed run carries out. Its seal, HMAC-SHA256 under this key, proves that this program
wrote it: a person who can write to the run store or to the run's directory can't forge a seal.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from core.json_values import Json, canonical

# Separates seals from other uses of the same key. The texts are those of journal.json, which runs had first: another
# text would make every existing seal invalid.
_SEAL = b"cfes journal\0"
_NAME = b"cfes journal key\0"


@dataclass(frozen=True)
class SealKey:
    """A secret of at least 16 bytes. source: a description of its origin, for errors."""

    secret: bytes = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise ValueError("a seal key must have at least 16 bytes")

    @property
    def id(self) -> str:
        """The key's ID, which reveals nothing about the secret."""
        return self._digest(_NAME)[:16]

    def seal(self, document: dict[str, Json]) -> str:
        """Return the seal of a document, as 64 hexadecimal digits. Raises: ValueError for what is not plain JSON."""
        return self._digest(_SEAL + canonical(document))

    def verify(self, seal: object, document: dict[str, Json]) -> bool:
        """Return whether the seal of a document was made with this key. It is invalid for what is not plain JSON."""
        try:
            valid = self.seal(document)
        except (TypeError, ValueError, RecursionError):
            return False
        return isinstance(seal, str) and hmac.compare_digest(seal.encode("utf-8", "replace"), valid.encode())

    def _digest(self, message: bytes) -> str:
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()
