"""Checks whether other users of this machine can change a file: its owner, its mode, and the directories above it.

Standard library only. Each weakness names its path and the command that fixes it.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# The kernel's own limit.
MOST_LINKS = 40

_GROUP_AND_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Weakness:
    """A way for another user to change a file. fix: the command that prevents it."""

    path: Path
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{str(self.path)[:500]} {self.message}"


def this_user() -> frozenset[int]:
    """Return the user ID of this process, as a set."""
    return frozenset({os.geteuid()})


def root_and_this_user() -> frozenset[int]:
    """Return the user IDs that may own a trusted file: root and this user."""
    return frozenset({0, os.geteuid()})


def weaknesses_of(path: Path, status: os.stat_result, owners: Collection[int]) -> Iterator[Weakness]:
    """Yield each reason why another user may write to the file or directory itself."""
    if status.st_uid not in owners:
        yield _of_another_user(path, status)
    if status.st_mode & _GROUP_AND_OTHERS:
        yield _writable(path, status)


def weaknesses_on_the_way(path: Path, *, own_group: bool = False) -> Iterator[Weakness]:
    """Yield each reason why another user may replace the file at `path`, by renaming it or a directory or link above.

    A directory is safe if root or this user owns it, and if no other user may write to it, it has the sticky bit, or
    it is mounted read-only. own_group: also accept write access for a group whose only member is this user.
    Raises: OSError if the path can't be followed.
    """
    owners = root_and_this_user()
    for visited in dict.fromkeys(_way(path)):
        status = visited.lstat()
        if status.st_uid not in owners:
            yield _of_another_user(visited, status)
        elif stat.S_ISDIR(status.st_mode) and _others_may_rename(visited, status, own_group=own_group):
            yield _writable(visited, status)


def fixes(weaknesses: Sequence[Weakness]) -> str:
    """Return the commands that fix the weaknesses, on one line."""
    return " && ".join(dict.fromkeys(weakness.fix for weakness in weaknesses))


def _way(path: Path) -> Iterator[Path]:
    """Yield every directory and link through which the kernel reaches `path`, without the file itself."""
    absolute = path if path.is_absolute() else Path.cwd() / path
    at, rest, links = Path(absolute.anchor), list(absolute.parts[1:]), 0
    yield at
    while rest:
        name = rest.pop(0)
        if name == "..":
            at = at.parent
            continue
        here = at / name
        if here.is_symlink():
            yield here
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = here.readlink()
            at = Path(target.anchor) if target.is_absolute() else at
            rest = [part for part in target.parts if part != target.anchor] + rest
            continue
        at = here
        if rest:
            yield at


def _others_may_rename(path: Path, status: os.stat_result, *, own_group: bool) -> bool:
    bits = status.st_mode & _GROUP_AND_OTHERS
    if own_group and bits == stat.S_IWGRP and is_own_group(status.st_gid):
        return False
    return bool(bits) and not status.st_mode & stat.S_ISVTX and not is_read_only_mount(path)


def is_read_only_mount(path: Path) -> bool:
    """Return whether the mount is read-only. Kubernetes mounts config maps read-only in a directory of mode 0777."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def is_own_group(group_id: int) -> bool:
    """Return whether the group is the user's private group. Systems with such groups make files group-writable."""
    try:
        group, user = grp.getgrgid(group_id), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _of_another_user(path: Path, status: os.stat_result) -> Weakness:
    link = "-h " if stat.S_ISLNK(status.st_mode) else ""
    fix = f"chown {link}{os.geteuid()} {shlex.quote(str(path))}"
    return Weakness(path, f"belongs to another user (user ID {status.st_uid})", fix)


def _writable(path: Path, status: os.stat_result) -> Weakness:
    writers = [name for name, bit in (("its group", stat.S_IWGRP), ("everyone", stat.S_IWOTH)) if status.st_mode & bit]
    message = f"is writable by {' and '.join(writers)} (mode {stat.S_IMODE(status.st_mode):04o})"
    return Weakness(path, message, f"chmod go-w {shlex.quote(str(path))}")
