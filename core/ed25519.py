"""Ed25519 keys (RFC 8032) from PEM text. The library cryptography (extra `approval`) is loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# An Ed25519 key has 119 bytes as PEM. Parsing a huge key of another kind could take long.
LARGEST_KEY_BYTES = 4096


def private_key_in(pem: bytes) -> Ed25519PrivateKey | None:
    """Return the unencrypted private key in a PEM text, or None. Raises: ModuleNotFoundError."""
    key: Ed25519PrivateKey | None = _key_in(pem, private=True)
    return key


def public_key_in(pem: bytes) -> Ed25519PublicKey | None:
    """Return the public key in a PEM text, or None. Raises: ModuleNotFoundError."""
    key: Ed25519PublicKey | None = _key_in(pem, private=False)
    return key


def _key_in(pem: bytes, *, private: bool) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 -- see the docstring of the module
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    if len(pem) > LARGEST_KEY_BYTES:
        return None
    try:
        if private:
            key: object = serialization.load_pem_private_key(pem, password=None)
        else:
            key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey) else None
