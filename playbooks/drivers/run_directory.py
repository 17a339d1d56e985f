"""Open a run's directory, and find files that another user of this machine could have added or changed."""

from __future__ import annotations

import os
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from core.file_ownership import Weakness, this_user, weaknesses_of

# For missing parent directories. The run's own directory is private.
MODE_ABOVE = 0o755
MODE = 0o700


def make_run_directory(path: Path) -> None:
    """Create the directory and its missing parents. Raises: OSError, ValueError."""
    for missing in reversed(path.parents):
        if not missing.exists():
            missing.mkdir(mode=MODE_ABOVE, exist_ok=True)
    path.mkdir(mode=MODE, exist_ok=True)


def open_run_directory(path: Path) -> int:
    """Return a descriptor of the directory. Files opened through it are in this directory, even after a rename.

    Raises: OSError if it is missing, a link, or not a directory.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def weaknesses_of_run(path: Path, descriptor: int, *, single: Collection[str]) -> Iterator[Weakness]:
    """Yield each weakness of the directory and of everything below it.

    All of it must belong to this user, and neither group nor others may write to it. Files must be regular, without a
    hard link outside the directory. Two names inside the directory are allowed, because an export that was killed while
    it renamed its file leaves two; files named in `single` must have one. Raises: OSError.
    """
    yield from weaknesses_of(path, os.fstat(descriptor), this_user())
    files: list[tuple[Path, os.stat_result]] = []
    yield from _below(path, descriptor, files)
    names = Counter(_inode(status) for _, status in files)
    for here, status in files:
        expected = 1 if here.parent == path and here.name in single else names[_inode(status)]
        if status.st_nlink != expected:
            yield Weakness(here, f"has {status.st_nlink} hard links", _removal(here))


def _below(path: Path, descriptor: int, files: list[tuple[Path, os.stat_result]]) -> Iterator[Weakness]:
    """Yield the weaknesses of the entries of a directory, and collect its regular files."""
    for name in sorted(os.listdir(descriptor)):
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue  # the process that uses the run has replaced it
        here = path / name
        if stat.S_ISLNK(status.st_mode):
            yield Weakness(here, "is a symbolic link", _removal(here))
            continue
        yield from weaknesses_of(here, status, this_user())
        if stat.S_ISREG(status.st_mode):
            files.append((here, status))
        elif stat.S_ISDIR(status.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                yield from _below(here, inner, files)
            finally:
                os.close(inner)
        else:
            yield Weakness(here, "is not a regular file", _removal(here))


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _removal(path: Path) -> str:
    return f"rm {shlex.quote(str(path))}"
