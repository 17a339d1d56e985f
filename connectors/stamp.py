"""The stamp in a job's comment: how the pack recognises its own jobs on an API without idempotency keys.

A stamp looks like `[cfes:1:KEY:REQUEST]`: digests of the caller's idempotency key (with the account) and of the
request as the caller wrote it. `comment` is the only field of a job that a caller can set freely.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

_IN_COMMENT = re.compile(r"\[cfes:1:([0-9a-f]{24}):([0-9a-f]{16})\]")


@dataclass(frozen=True)
class Stamp:
    """Two stamps with one `key` mean one intent; with different `request`s the key was used twice for two things."""

    key: str
    request: str

    def __str__(self) -> str:
        return f"[cfes:1:{self.key}:{self.request}]"

    @classmethod
    def of(cls, account_id: str, idempotency_key: str, request: dict[str, Any]) -> Stamp:
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
        return cls(_digest(f"{account_id}\0{idempotency_key}")[:24], _digest(canonical)[:16])

    @classmethod
    def read(cls, comment: str | None) -> Stamp | None:
        """The stamp that a comment begins with: nowhere else is one believed."""
        found = _IN_COMMENT.match(comment or "")
        return cls(*found.groups()) if found else None

    def on(self, comment: str | None) -> str:
        """The comment behind this stamp. In front, where a service that keeps only so many characters keeps it."""
        return f"{self} {(comment or '').strip()}".strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
