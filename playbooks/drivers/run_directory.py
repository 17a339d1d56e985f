"""Open a run's directory, and find files that another user of this machine could have added or changed."""

from __future__ import annotations

import os
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from core.file_ownership import Weakness, fixes, this_user, weaknesses_of
from core.json_values import shown
from playbooks.drivers.store.failures import BEGIN_AGAIN, TEMPORARY
from playbooks.language.errors import DirectoryUnusable, RunDirectoryUnavailable, RunMoved, RunRecordRefused

# For missing parent directories. The run's own directory is private.
MODE_ABOVE = 0o755
MODE = 0o700


# The first ones are enough for an error.
MOST_SHOWN = 5


def open_private_directory(directory: Path, *, create: bool, single: Collection[str] = ()) -> Path:
    """Return the absolute path of a run's directory, which only this user can change. single: see weaknesses_of_run.

    create: make the directory if it is missing. Raises: DirectoryUnusable, RunRecordRefused for the directory of an
    existing run, RunMoved if it is missing, RunDirectoryUnavailable for a full disk.
    """
    path = absolute_directory(directory)
    try:
        if path.is_symlink():
            help_ = f"Name the directory itself: {path.resolve()}"
            raise _untrusted(f"{shown(str(path), 500)} is a symbolic link", help_, create=create)
        if create:
            make_run_directory(path)
        descriptor = open_run_directory(path)
        try:
            found = list(weaknesses_of_run(path, descriptor, single=single))[:MOST_SHOWN]
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        if not create:
            raise RunMoved(f"the run's directory {shown(str(path), 500)} is missing") from None
        raise DirectoryUnusable(f"the directory {shown(str(path))} can't be used: it was removed") from None
    except OSError as error:
        kind = RunDirectoryUnavailable if error.errno in TEMPORARY else DirectoryUnusable
        raise kind(f"the directory {shown(str(path))} can't be used: {error.strerror or error}") from None
    except ValueError:
        raise DirectoryUnusable(f"the directory {shown(str(path))} is not a path") from None
    if found:
        reasons = "; ".join(f"{shown(str(weakness.path), 500)} {weakness.message}" for weakness in found)
        other = "Or choose a directory that does not exist yet." if create else BEGIN_AGAIN
        help_ = f"Find out who changed it, then run: {fixes(found)}. {other}"
        raise _untrusted(reasons, help_, create=create)
    return path


def absolute_directory(directory: Path) -> Path:
    """Return the absolute path of a run's directory, which may be missing. Raises: DirectoryUnusable."""
    try:
        path = directory.absolute()
    except OSError as error:
        raise DirectoryUnusable(
            f"the directory {shown(str(directory))} can't be used: the working directory was removed ({error.strerror})"
        ) from None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # No result could contain it.
        raise DirectoryUnusable(
            f"the run's directory {shown(str(path), 500)} has a name that is not UTF-8",
            help="Nothing was run. Choose a directory whose whole path is UTF-8, the working directory included.",
        ) from None
    return path


def _untrusted(reasons: str, help_: str, *, create: bool) -> DirectoryUnusable | RunRecordRefused:
    kind = DirectoryUnusable if create else RunRecordRefused
    return kind(f"the run's directory can't be trusted: {reasons}", help=f"Nothing was run. {help_}")


def make_run_directory(path: Path) -> None:
    """Create the directory and its missing parents. Raises: OSError, ValueError."""
    for missing in reversed(path.parents):
        if not missing.exists():
            missing.mkdir(mode=MODE_ABOVE, exist_ok=True)
    path.mkdir(mode=MODE, exist_ok=True)


def make_files_directory(directory: str) -> None:
    """Create the directory of an action's files, unless it is a URL. Raises: DirectoryUnusable."""
    if not directory or "://" in directory:
        return
    try:
        make_run_directory(Path(directory))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise DirectoryUnusable(f"the run's directory can't be created on this machine: {reason}") from None


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
