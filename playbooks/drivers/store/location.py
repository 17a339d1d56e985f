"""The place of the run store: its path, and the checks of its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import ConnectionSettingsError
from core.json_values import shown
from core.private_files import NotPrivate, check_private, make_private_directory
from core.settings import read_setting
from core.state_directory import VARIABLE as STATE_DIRECTORY
from core.state_directory import state_directory_path
from playbooks.language.errors import RunStoreUnusable

VARIABLE = "CFES_STATE"
FILE_NAME = "runs.db"

FileSystemOf = Callable[[Path], str | None]


def default_path(environment: Mapping[str, str]) -> Path:
    """Return the path of the run store: CFES_STATE, else runs.db in the state directory.

    Raises: ConnectionSettingsError for an empty or relative CFES_STATE, and as state_directory_path.
    """
    setting = read_setting(environment, VARIABLE, guard=True)
    if setting is None:
        directory = read_setting(environment, STATE_DIRECTORY, guard=True)
        return state_directory_path(directory, environment) / FILE_NAME
    if not Path(setting).is_absolute():
        # A relative path would be another store, without the runs, in each working directory.
        raise ConnectionSettingsError(
            f"{VARIABLE} must be an absolute path",
            help=f"Nothing was run. Set {VARIABLE} to the absolute path of a file, or unset it.",
        )
    return Path(os.path.normpath(setting))


def prepare_folders(path: Path, network_file_system_of: FileSystemOf) -> Path:
    """Create the store's folder and its folder of locks (mode 0700), or check them. Return the folder of locks.

    Raises: RunStoreUnusable if other users have access, for links, and on a network file system.
    """
    if not path.name:
        raise RunStoreUnusable(f"the run store {shown(str(path))} is not the path of a file")
    locks = path.with_name(f"{path.name}.locks")
    try:
        make_private_directory(path.parent)
        kind = network_file_system_of(path.parent)
        if kind is not None:
            raise RunStoreUnusable(
                f"the run store {shown(str(path), 500)} is on a network file system ({kind}), where locks are not "
                "reliable",
                help=f"Nothing was run. Set {VARIABLE} to a file on a local disk.",
            )
        make_private_directory(locks)
    except NotPrivate as error:
        raise _unusable(path, error) from None
    return locks


def check_files(path: Path) -> bool:
    """Check the database and the files beside it. Return whether the database exists.

    The files are not opened: closing one would remove the locks that SQLite has on it in other threads.
    Raises: RunStoreUnusable if one is not regular, has a second hard link, or is accessible to other users; OSError.
    """
    try:
        for file in beside(path):
            _check_file(file)
        return _check_file(path)
    except NotPrivate as error:
        raise _unusable(path, error) from None


def beside(path: Path) -> list[Path]:
    """Return the paths of the files that SQLite keeps beside a database."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_file(path: Path) -> bool:
    try:
        check_private(path, path.lstat())
    except FileNotFoundError:
        return False
    return True


def _unusable(path: Path, error: NotPrivate) -> RunStoreUnusable:
    fix = "" if error.fix is None else f" Or run: {error.fix}"
    return RunStoreUnusable(
        f"the run store {shown(str(path), 500)} can't be used: {error}",
        help=f"Nothing was run. Set {VARIABLE} to a file in a directory of its own, which only you can open.{fix}",
    )
