"""The trusted certificate authorities: SSL_CERT_FILE, else SSL_CERT_DIR, else those of certifi."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import certifi

from core.errors import ConnectionSettingsError

# The file names that `openssl rehash` creates. OpenSSL ignores all others.
_HASH_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS context for the API and for a proxy. It accepts only certificates of trusted authorities.

    Raises: ConnectionSettingsError that names the invalid variable.
    """
    file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if file:
        return _load("SSL_CERT_FILE", cafile=file)
    if directory:
        _check_directory(directory)
        return _load("SSL_CERT_DIR", capath=directory)
    return _load("certifi's list of authorities", cafile=certifi.where())


def _load(variable: str, *, cafile: str | None = None, capath: str | None = None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile, capath=capath)
    except ssl.SSLError:
        raise ConnectionSettingsError(f"{variable}: the file has no readable certificate (PEM)") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise ConnectionSettingsError(f"{variable}: can't be read: {reason}") from None


def _check_directory(directory: str) -> None:
    """Refuse a directory (or a list separated by colons) in which OpenSSL would silently find no certificate."""
    try:
        folders = map(Path, directory.split(os.pathsep))
        if any(_HASH_NAME.fullmatch(entry.name) for folder in folders for entry in folder.iterdir()):
            return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise ConnectionSettingsError(f"SSL_CERT_DIR: can't be read: {reason}") from None
    raise ConnectionSettingsError(
        "SSL_CERT_DIR: the directory has no certificate with a hash as its file name",
        help="Nothing was sent. Run `openssl rehash` on the directory, or set SSL_CERT_FILE to a file with all "
        "certificates.",
    )
