"""Signatures of evidence.json: Ed25519 (RFC 8032), 64 bytes, compatible with `openssl pkeyutl -verify -rawin`.

They need the extra `approval`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from core.ed25519 import private_key_in, public_key_in
from core.errors import ConnectionSettingsError, ParameterError
from core.installation import command_to_add

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Signer:
    """Signs with the private key in a PEM text. The key never appears in output.

    Raises: ConnectionSettingsError if the text is not a key, or the extra `approval` is not installed.
    """

    def __init__(self, pem: str) -> None:
        try:
            key = private_key_in(pem.encode())
        except ModuleNotFoundError as missing:
            raise ConnectionSettingsError(
                f"CFES_EVIDENCE_KEY: signing needs {missing.name}, which is not installed", help=_how_to_install()
            ) from None
        if key is None:
            raise ConnectionSettingsError(
                "CFES_EVIDENCE_KEY: not an unencrypted Ed25519 private key in PEM",
                help="Nothing was sent. Make one with: openssl genpkey -algorithm ed25519 -out FILE",
            )
        self._key = key
        self.public_key = key.public_key()
        self.fingerprint = fingerprint(self.public_key)

    def __call__(self, text: bytes) -> bytes:
        """Return the signature of `text`, 64 bytes."""
        return self._key.sign(text)


def public_key_of(pem: bytes) -> Ed25519PublicKey:
    """Return the key in a PEM file. Raises: ParameterError."""
    try:
        key = public_key_in(pem)
    except ModuleNotFoundError as missing:
        raise ParameterError(
            f"checking a signature needs {missing.name}, which is not installed", help=_how_to_install()
        ) from None
    if key is None:
        raise ParameterError(
            "not an Ed25519 public key in PEM",
            help="Nothing was checked. Derive it from the private key: openssl pkey -in PRIVATE -pubout -out FILE",
        )
    return key


def is_signed_with(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    """Return whether this key made the signature of `text`."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 (hex) of the public key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _how_to_install() -> str:
    return f"Nothing was changed. Add the extra `approval`: {command_to_add('approval')}"
