"""The private state directory: the key of journals, used approvals, and the count of API calls.

CFES_STATE_DIR is its path. The default is `cfes` in XDG_STATE_HOME, or in ~/.local/state. A directory that another
user could read, change or replace is refused.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from core.errors import ConnectionSettingsError
from core.file_ownership import fixes, this_user, weaknesses_on_the_way

VARIABLE = "CFES_STATE_DIR"

MODE = 0o700

_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def private_directory(setting: str | None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the state directory as an absolute path. Create it (mode 0700) if it is missing.

    setting: the value of CFES_STATE_DIR (`Connection.state_directory`); None for the default, which depends on
    XDG_STATE_HOME and HOME in `environment` (default: os.environ).
    Raises: ConnectionSettingsError if it can't be created, is a link, or other users have access.
    """
    path = _choose_path(setting, os.environ if environment is None else environment)
    try:
        missing = [above for above in (path, *path.parents) if not above.exists()]
        if missing:
            # Never create anything in a directory of another user.
            _refuse_replaceable(missing[-1])
        for directory in reversed(missing):
            directory.mkdir(mode=MODE, exist_ok=True)
        _check(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise _unusable(path, f"can't be created or opened: {reason}") from None
    return path


def check_private_file(path: Path, status: os.stat_result) -> None:
    """Check that an open file of the state directory is a regular, private file without a second hard link.

    status: the result of `os.fstat` for the open file, so that nobody can swap the file after the check.
    Raises: ConnectionSettingsError.
    """
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(path, "is not a regular file")
    if status.st_nlink != 1:
        raise _unusable(path, f"has {status.st_nlink} hard links")
    _check_owner_and_mode(path, status, "600")


def _choose_path(setting: str | None, environment: Mapping[str, str]) -> Path:
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


def _check(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _unusable(path, "is a symbolic link: set the path of the directory itself")
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(path, "is not a directory")
    _check_owner_and_mode(path, status, "700")
    _refuse_replaceable(path)


def _refuse_replaceable(path: Path) -> None:
    weaknesses = list(weaknesses_on_the_way(path, own_group=True))
    if weaknesses:
        raise _unusable(path, f"can be replaced by another user: {weaknesses[0]}", fixes(weaknesses))


def _check_owner_and_mode(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid not in this_user():
        raise _unusable(path, f"belongs to another user (user ID {status.st_uid})")
    if status.st_mode & _PRIVATE:
        found = f"{stat.S_IMODE(status.st_mode):04o}"
        raise _unusable(path, f"is accessible to other users (mode {found})", f"chmod {mode} {shlex.quote(str(path))}")


_HELP = f"Nothing was changed. Set {VARIABLE} to an absolute path that only this user can read and write."


def _unusable(path: Path, problem: str, fix: str | None = None) -> ConnectionSettingsError:
    command = "" if fix is None else f" Or run: {fix}"
    return ConnectionSettingsError(
        f"the state directory can't be used: {str(path)[:500]} {problem}", help=_HELP + command
    )
