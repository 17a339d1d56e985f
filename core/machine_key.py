"""The secret key of this machine, in the state directory. Only this machine can check a seal made with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ConnectionSettingsError
from core.state_directory import check_private_file

_BYTES = 32
_TEXT = re.compile(rb"[0-9a-f]{64}\n")


def machine_key(directory: Path, name: str) -> bytes:
    """Return the 32 bytes of the key file `name` in the state directory. Create the file (mode 0600) if it is missing.

    If several processes create it at once, all return the same key.
    Raises: ConnectionSettingsError if the file can't be created or used.
    """
    path = directory / name
    try:
        found = _read_key(path)
        if found is not None:
            return found
        with _lock(path.with_name(f"{name}.lock")):
            return _read_key(path) or _create_key(path)
    except OSError as error:
        raise ConnectionSettingsError(
            f"the key file {str(path)[:500]} can't be used: {error.strerror or error}",
            help="Nothing was changed. Set CFES_STATE_DIR to a writable directory.",
        ) from None


def _read_key(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        check_private_file(path, os.fstat(descriptor))
        data = file.read(2 * _BYTES + 2)
    if not _TEXT.fullmatch(data):
        raise ConnectionSettingsError(
            f"the key file {str(path)[:500]} is damaged",
            help="Nothing was changed. Restore the file from a backup. Or delete it: everything sealed with it becomes "
            "invalid.",
        )
    return bytes.fromhex(data.decode("ascii"))


def _create_key(path: Path) -> bytes:
    key = secrets.token_bytes(_BYTES)
    beside = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
        file.write(key.hex().encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    # A reader finds either no key or the whole key.
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
