"""The authorities whose certificates are accepted: SSL_CERT_FILE, else SSL_CERT_DIR, else those of certifi."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from core.errors import ConnectionSettingsError

# As `openssl rehash` names the files of a directory: OpenSSL finds no other.
_HASH_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def trusted(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that accepts only certificates of known authorities, for the service and for a proxy.

    Raises: ConnectionSettingsError naming the variable that can't be used.
    """
    file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if file:
        return _made("SSL_CERT_FILE", cafile=file)
    if directory:
        _check_directory(directory)
        return _made("SSL_CERT_DIR", capath=directory)
    import certifi  # noqa: PLC0415 -- httpx brings it

    return _made("certifi's list of authorities", cafile=certifi.where())


def _made(variable: str, *, cafile: str | None = None, capath: str | None = None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile, capath=capath)
    except ssl.SSLError:
        raise ConnectionSettingsError(f"{variable}: the file holds no certificate that can be read (PEM)") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise ConnectionSettingsError(f"{variable}: can't be read: {reason}") from None


def _check_directory(directory: str) -> None:
    """Refuse what OpenSSL takes without a word, and then accepts no certificate. Several are separated by colons."""
    try:
        folders = map(Path, directory.split(os.pathsep))
        if any(_HASH_NAME.fullmatch(entry.name) for folder in folders for entry in folder.iterdir()):
            return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise ConnectionSettingsError(f"SSL_CERT_DIR: can't be read: {reason}") from None
    raise ConnectionSettingsError(
        "SSL_CERT_DIR: holds no certificate under the name of its hash",
        help="Nothing was sent. Run `openssl rehash` on the directory, or set SSL_CERT_FILE to one file of them all.",
    )
