"""The private directory of a file on its way to a store, and rows kept on this machine while the store is away.

Kept rows are a directory of their own in TMPDIR, named by their SHA-256: whoever has the `resume` of the run that kept
them can find them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from remediation.exports.files.locked_temporary import PRIVATE_DIRECTORY, spool_directory
from remediation.exports.files.path_checks import PRIVATE

KEPT_DAYS = 7

_KEPT = "cfes-kept-"


class Spool:
    """`path` is a private directory, which lasts as long as the block of `spool`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: Path | None = None

    @property
    def is_kept(self) -> bool:
        """Whether these rows are kept on this machine."""
        return self._kept is not None

    def keep(self, sha256: str, names: Sequence[str]) -> Path | None:
        """Move those of the files that exist to where `fetch` finds them, and return that directory.

        None where that fails: the files are then where they were, or lost with the spool.
        """
        kept = self._at(sha256)
        try:
            kept.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            if not _is_ours(kept):
                return None
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    (self.path / name).replace(kept / name)
        except OSError:
            return None
        self._kept = kept
        return kept

    def fetch(self, sha256: str) -> bool:
        """Copy what an earlier run has kept into the spool. False where there is nothing of these rows."""
        kept = self._at(sha256)
        try:
            if not _is_ours(kept):
                return False
            for file in kept.iterdir():
                copy = shutil.copyfile(file, self.path / file.name)
                copy.chmod(PRIVATE)
        except OSError:
            return False
        self._kept = kept
        return True

    def forget(self) -> None:
        """Remove what was kept here: it is in the store now."""
        if self._kept is not None:
            shutil.rmtree(self._kept, ignore_errors=True)
            self._kept = None

    def _at(self, sha256: str) -> Path:
        return self.path.with_name(_KEPT + sha256[:32])


@contextlib.contextmanager
def spool() -> Iterator[Spool]:
    """Give a spool, which is removed at the end. So is what killed processes left, and what is kept for too long.

    Raises: OutputError.
    """
    _clear_kept(Path(tempfile.gettempdir()))
    with spool_directory() as path:
        yield Spool(path)


def _clear_kept(above: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 86_400
    with contextlib.suppress(OSError):
        for path in above.glob(f"{_KEPT}*"):
            named = re.fullmatch(r"[0-9a-f]{32}", path.name.removeprefix(_KEPT))
            if named and _is_ours(path) and path.lstat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(about.st_mode) and stat.S_IMODE(about.st_mode) == PRIVATE_DIRECTORY
    return private and about.st_uid == os.geteuid()
