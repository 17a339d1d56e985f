"""Keys derived from CFES_PLAN_KEY, one per purpose: a MAC for one purpose is not valid for another."""

from __future__ import annotations

import hashlib
import hmac

from pydantic import SecretStr


def derive_key(secret: SecretStr, label: str) -> bytes:
    """Return 32 bytes that only the holder of `secret` can compute. Each purpose has its own label."""
    return hmac.digest(
        secret.get_secret_value().encode("utf-8", "surrogateescape"), f"cfes\0{label}".encode(), hashlib.sha256
    )
