"""The private state directory: the key that seals runs, used approvals, callers, the count of API calls, the run store.

CFES_STATE_DIR is its path. The default is `cfes` in XDG_STATE_HOME, or in ~/.local/state. A directory that another
user could read, change or replace is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from core.errors import ConnectionSettingsError
from core.private_files import NotPrivate, check_private, make_private_directory

VARIABLE = "CFES_STATE_DIR"


def private_directory(setting: str | None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the state directory as an absolute path. Create it (mode 0700) if it is missing.

    Takes the parameters of `state_directory_path`.
    Raises: ConnectionSettingsError if it can't be created, is a link, or other users have access.
    """
    path = state_directory_path(setting, environment)
    try:
        make_private_directory(path)
    except NotPrivate as error:
        raise _unusable(error) from None
    return path


def state_directory_path(setting: str | None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the absolute path of the state directory, which may be missing.

    setting: the value of CFES_STATE_DIR (`Connection.state_directory`); None for the default, which depends on
    XDG_STATE_HOME and HOME in `environment` (default: os.environ).
    Raises: ConnectionSettingsError for a relative path, and without a home directory.
    """
    environment = os.environ if environment is None else environment
    if setting is not None:
        if not Path(setting).is_absolute():
            # A relative path would be a different directory, without the records, in each working directory.
            raise ConnectionSettingsError(f"{VARIABLE} must be an absolute path", help=_HELP)
        return Path(os.path.normpath(setting))
    named = environment.get("XDG_STATE_HOME") or ""
    if Path(named).is_absolute():
        return Path(os.path.normpath(named)) / "cfes"
    home = environment.get("HOME") or ""
    if not Path(home).is_absolute():
        raise ConnectionSettingsError(f"no home directory for the state directory: set {VARIABLE}", help=_HELP)
    return Path(os.path.normpath(home)) / ".local" / "state" / "cfes"


def check_private_file(path: Path, status: os.stat_result) -> None:
    """Check that an open file of the state directory is a regular, private file without a second hard link.

    status: the result of `os.fstat` for the open file, so that nobody can swap the file after the check.
    Raises: ConnectionSettingsError.
    """
    try:
        check_private(path, status)
    except NotPrivate as error:
        raise _unusable(error) from None


_HELP = f"Nothing was changed. Set {VARIABLE} to an absolute path that only this user can read and write."


def _unusable(error: NotPrivate) -> ConnectionSettingsError:
    command = "" if error.fix is None else f" Or run: {error.fix}"
    return ConnectionSettingsError(f"the state directory can't be used: {error}", help=_HELP + command)
