"""Ed25519 keys (RFC 8032) from PEM text. The library cryptography (extra `approval`) is loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# An Ed25519 key has 119 bytes as PEM. Parsing a huge key of another kind could take long.
LARGEST_KEY_BYTES = 4096


def private_key_in(pem: bytes) -> Ed25519PrivateKey | None:
    """Return the unencrypted private key in a PEM text, or None. Raises: ModuleNotFoundError."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(pem, password=None) if len(pem) <= LARGEST_KEY_BYTES else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def public_key_in(pem: bytes) -> Ed25519PublicKey | None:
    """Return the public key in a PEM text, or None. Raises: ModuleNotFoundError."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(pem) if len(pem) <= LARGEST_KEY_BYTES else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def raw_bytes(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of the key. They are equal for every PEM spelling of the key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
