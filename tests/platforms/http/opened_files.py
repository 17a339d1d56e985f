"""Record which files this process opens, creates, renames or removes, with an audit hook."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EVENTS = frozenset(
    (
        *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
        *("os.listdir", "os.scandir", "os.utime", "os.chown", "os.mkfifo", "shutil.move", "shutil.rmtree"),
    )
)

_recorders: list[list[str]] = []
_hooked = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _recorders or event not in _EVENTS:
        return
    for argument in arguments[:2]:
        if isinstance(argument, str | bytes | os.PathLike):
            for recorder in _recorders:
                recorder.append(os.fsdecode(argument))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Yield a list that receives the path of each file that any thread of this process touches."""
    global _hooked  # noqa: PLW0603 -- an audit hook can't be removed, so there is one
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    recorder: list[str] = []
    _recorders.append(recorder)
    try:
        yield recorder
    finally:
        _recorders.remove(recorder)


def outside(paths: list[str], *allowed: Path) -> set[str]:
    """Return the paths that are not below an allowed folder, where they really are.

    The argument of `open` may be a mode or a name relative to an open folder: names of one part are left out.
    """
    real = tuple(f"{folder.resolve()}{os.sep}" for folder in allowed)
    found = set()
    for path in paths:
        if os.sep not in path:
            continue
        if not f"{os.path.realpath(path)}{os.sep}".startswith(real):
            found.add(path)
    return found
