"""The spool: a private directory for a file on its way to a store, and rows kept here while the store is unavailable.

Kept rows are in their own directory in TMPDIR, named by their SHA-256. The `resume` of the run that kept them leads to
it.
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
    """A private directory at `path`, which exists as long as the block of `open_spool`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: Path | None = None

    @property
    def is_kept(self) -> bool:
        """Return whether these rows are kept on this machine."""
        return self._kept is not None

    def keep(self, sha256: str, names: Sequence[str]) -> Path | None:
        """Move the existing files to the directory where `fetch` finds them, and return it.

        None if that fails: the files are then in the spool, and lost with it.
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
        """Copy the files that an earlier run kept into the spool. False if there are none for these rows."""
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
        """Remove the kept files, because the store has them now."""
        if self._kept is not None:
            shutil.rmtree(self._kept, ignore_errors=True)
            self._kept = None

    def _at(self, sha256: str) -> Path:
        return self.path.with_name(_KEPT + sha256[:32])


@contextlib.contextmanager
def open_spool() -> Iterator[Spool]:
    """Create a spool and remove it at the end. Remove leftovers of killed processes and outdated kept rows too.

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
