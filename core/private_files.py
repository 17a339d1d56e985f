"""Files and directories that only this user can read, change or replace."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from core.file_ownership import fixes, this_user, weaknesses_on_the_way

DIRECTORY_MODE = 0o700

_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


class NotPrivate(Exception):
    """A file or directory can't be used. fix: the command that makes it private, if one does."""

    def __init__(self, path: Path, problem: str, fix: str | None = None) -> None:
        super().__init__(f"{str(path)[:500]} {problem}")
        self.path = path
        self.problem = problem
        self.fix = fix


def make_private_directory(path: Path) -> None:
    """Create a directory and its missing parents (mode 0700), or check an existing one.

    path: absolute. Raises: NotPrivate if it can't be created, is a link, or other users can open or replace it.
    """
    try:
        missing = [above for above in (path, *path.parents) if not above.exists()]
        if missing:
            # Never create anything in a directory of another user.
            _refuse_replaceable(path, missing[-1])
        for directory in reversed(missing):
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        _check_directory(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise NotPrivate(path, f"can't be created or opened: {reason}") from None


def check_private(path: Path, status: os.stat_result) -> None:
    """Check that a file is a regular, private file without a second hard link.

    status: the file's status; that of an open file (`os.fstat`) where somebody could swap the file after the check.
    Raises: NotPrivate.
    """
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivate(path, "is not a regular file")
    if status.st_nlink != 1:
        raise NotPrivate(path, f"has {status.st_nlink} hard links")
    _check_owner_and_mode(path, status, "600")


def _check_directory(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise NotPrivate(path, "is a symbolic link: set the path of the directory itself")
    if not stat.S_ISDIR(status.st_mode):
        raise NotPrivate(path, "is not a directory")
    _check_owner_and_mode(path, status, "700")
    _refuse_replaceable(path, path)


def _refuse_replaceable(path: Path, at: Path) -> None:
    weaknesses = list(weaknesses_on_the_way(at, own_group=True))
    if weaknesses:
        raise NotPrivate(path, f"can be replaced by another user: {weaknesses[0]}", fixes(weaknesses))


def _check_owner_and_mode(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid not in this_user():
        raise NotPrivate(path, f"belongs to another user (user ID {status.st_uid})")
    if status.st_mode & _PRIVATE:
        found = f"{stat.S_IMODE(status.st_mode):04o}"
        fix = f"chmod {mode} {shlex.quote(str(path))}"
        raise NotPrivate(path, f"is accessible to other users (mode {found})", fix)
