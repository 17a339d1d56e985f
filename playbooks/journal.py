"""The journal of a run on disk: what the run would need to go on after a kill at any moment.

`<directory>/journal.json` (mode 0600, its directory 0700) is replaced as a whole after every command, so that a reader
finds the old document or the new one. `<directory>/journal.lock` keeps a second process out; the lock goes with the
process that holds it.

    {"journal": 1, "playbook": {…}, "state": {…}, "in_flight": {"step_id", "since"} | null, "sha256": of all the others}
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from playbooks.errors import DirectoryUnusable, JournalRefused, JournalUnwritable, RunInProgress
from playbooks.plain_json import Json, digest, shown

FILE_NAME = "journal.json"
LOCK_NAME = "journal.lock"

# What may pass by itself or by making room. Any other reason is one of the directory itself.
PASSING = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOLCK,
    errno.ESTALE,
    errno.EBUSY,
)


@dataclass(frozen=True)
class Entry:
    """What the journal says: the playbook's document, the run's state, and the action that was begun and not ended."""

    playbook: dict[str, Json]
    state: dict[str, Json]
    in_flight: dict[str, Json] | None = None


class Journal:
    """One run's journal, held by this process alone while it is open. A context manager.

    `create=True` makes the directory and refuses one that holds a journal; `create=False` asks for a journal.
    Raises JournalRefused, RunInProgress, DirectoryUnusable and JournalUnwritable.
    """

    def __init__(self, directory: Path, *, create: bool) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self.action_ran = False
        try:
            if not create and not self.path.is_file():
                raise JournalRefused(f"there is no run to resume in {shown(str(directory))}")
            if create:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(directory / LOCK_NAME, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        except ValueError:
            raise DirectoryUnusable(f"the directory {shown(str(directory))} is no path") from None
        try:
            self._acquire()
            if create:
                self._refuse_earlier()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._lock)

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInProgress(f"another process works on the run in {shown(str(self.directory))}") from None
        except OSError as error:
            raise self._unwritable(error) from None

    def _refuse_earlier(self) -> None:
        if self.path.exists():
            where = shown(str(self.directory))
            raise JournalRefused(f"there is a run in {where} already: resume it, or choose another directory")

    def read(self) -> Entry:
        """The last entry. Raises JournalRefused if it is damaged, was edited, or is of another version."""
        try:
            document: Any = json.loads(self.path.read_bytes())
        except OSError as error:
            raise JournalRefused(f"the journal {shown(str(self.path))} can't be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise JournalRefused(f"the journal {shown(str(self.path))} is damaged: it is no JSON document") from None
        if not isinstance(document, dict) or document.get("journal") != 1:
            raise JournalRefused(f"the journal {shown(str(self.path))} is of another version of this program")
        sealed = document.pop("sha256", None)
        try:
            intact = sealed == _seal(document)
        except (ValueError, RecursionError):
            intact = False
        in_flight = document.get("in_flight")
        if not intact or not isinstance(document.get("state"), dict) or not isinstance(document.get("playbook"), dict):
            raise JournalRefused(f"the journal {shown(str(self.path))} is damaged, or was edited: its digest is wrong")
        return Entry(document["playbook"], document["state"], in_flight if isinstance(in_flight, dict) else None)

    def write(self, entry: Entry) -> None:
        """Replace the entry. When this returns it is on disk. Raises JournalUnwritable; the old entry then stands."""
        document = {
            "journal": 1,
            "playbook": entry.playbook,
            "state": entry.state,
            "in_flight": entry.in_flight,
        }
        sealed = json.dumps({**document, "sha256": _seal(document)}).encode("ascii") + b"\n"
        beside = self.path.with_suffix(".json.new")
        try:
            beside.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            self._sync_directory()
        except OSError as error:
            raise self._unwritable(error) from None

    def _sync_directory(self) -> None:
        # Without it the rename may not outlive a power cut.
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unwritable(self, error: OSError) -> DirectoryUnusable | JournalUnwritable:
        if not self.action_ran and error.errno not in PASSING:
            return DirectoryUnusable(
                f"the directory {shown(str(self.directory))} can't be used: {error.strerror or error}"
            )
        return JournalUnwritable(
            f"the journal {shown(str(self.path))} can't be written: {error.strerror or error}",
            path=str(self.path),
            action_ran=self.action_ran,
        )


def _seal(document: Mapping[str, Json]) -> str:
    return digest(dict(document))
