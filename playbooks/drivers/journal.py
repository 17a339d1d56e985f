"""The journal of a run on disk, from which the run can be resumed after a kill at any moment.

`<directory>/journal.json` (mode 0600, its directory 0700) is replaced as a whole after every command, so that a reader
finds the old document or the new one. `<directory>/journal.lock` keeps a second process out; the lock ends with its
process.

    {"journal": 2, "playbook": {…}, "state": {…}, "in_flight": {"step_id", "since"} | null, "key": "ID", "seal": "…"}

The seal is an HMAC over all other fields, under a key that is stored elsewhere (see `playbooks.drivers.journal_key`).
Whenever a run begins or is resumed, the directory and its files must belong to this user alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.file_ownership import Weakness, fixes
from core.json_values import Json, shown
from playbooks.drivers.journal_key import JournalKey
from playbooks.drivers.run_directory import make_run_directory, open_run_directory, weaknesses_of_run
from playbooks.drivers.store.failures import BEGIN_AGAIN, TEMPORARY
from playbooks.language.errors import DirectoryUnusable, JournalRefused, JournalUnwritable, RunInProgress

VERSION = 2
FILE_NAME = "journal.json"
LOCK_NAME = "journal.lock"
NEW_NAME = "journal.json.new"
NAMES = (FILE_NAME, LOCK_NAME, NEW_NAME)

# The first ones are enough for an error.
MOST_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """The content of a journal: the playbook, the run's state, and the action that has begun but not ended."""

    playbook: dict[str, Json]
    state: dict[str, Json]
    in_flight: dict[str, Json] | None = None


class Journal:
    """One run's journal, which only this process uses while it is open. A context manager.

    `create=True` creates the directory and refuses one that has a journal; `create=False` needs a journal.
    Raises: JournalRefused, RunInProgress, DirectoryUnusable and JournalUnwritable.
    """

    def __init__(self, directory: Path, key: JournalKey, *, create: bool) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self.action_ran = False
        self._key = key
        self._directory = self._open(create=create)
        self._lock: int | None = None
        try:
            self._refuse_weak(create=create)
            self._acquire(create=create)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for descriptor in (self._lock, self._directory):
            if descriptor is not None:
                os.close(descriptor)

    def _open(self, *, create: bool) -> int:
        try:
            if self.directory.is_symlink():
                raise self._refused(
                    f"{shown(str(self.directory), 500)} is a symbolic link",
                    f"Name the directory itself: {self.directory.resolve()}",
                    create=create,
                )
            if create:
                make_run_directory(self.directory)
            return open_run_directory(self.directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise (self._unwritable(error) if create else self._nothing_to_resume()) from None
        except OSError as error:
            raise self._unwritable(error) from None
        except ValueError:
            raise DirectoryUnusable(f"the directory {shown(str(self.directory))} is not a path") from None

    def _refuse_weak(self, *, create: bool) -> None:
        try:
            found = list(weaknesses_of_run(self.directory, self._directory, single=NAMES))[:MOST_SHOWN]
        except OSError as error:
            raise self._unwritable(error) from None
        if found:
            reasons = "; ".join(f"{shown(str(weakness.path), 500)} {weakness.message}" for weakness in found)
            raise self._refused(reasons, _help(found, create=create), create=create)

    def _refused(self, reasons: str, help_: str, *, create: bool) -> DirectoryUnusable | JournalRefused:
        kind = DirectoryUnusable if create else JournalRefused
        return kind(f"the run's directory can't be trusted: {reasons}", help=f"Nothing was run. {help_}")

    def _nothing_to_resume(self) -> JournalRefused:
        return JournalRefused(
            f"there is no run to resume in {shown(str(self.directory))}",
            help="Nothing was run. Give the directory of an earlier run, which has a journal.json.",
        )

    def _journal_status(self) -> os.stat_result | None:
        try:
            return os.stat(FILE_NAME, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unwritable(error) from None

    def _acquire(self, *, create: bool) -> None:
        if not create and self._journal_status() is None:
            raise self._nothing_to_resume()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(LOCK_NAME, flags, 0o600, dir_fd=self._directory)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInProgress(f"another process uses the run in {shown(str(self.directory))}") from None
        except OSError as error:
            raise self._unwritable(error) from None
        if create and self._journal_status() is not None:
            raise JournalRefused(
                f"{shown(str(self.directory))} already has a run",
                help="Nothing was run. Resume that run (`cfes playbook run --resume DIR`) or choose another directory.",
            )

    def read(self) -> Entry:
        """Return the last entry.

        Raises: JournalRefused if it is damaged, was edited, has another key's seal, or is of another version.
        """
        document = self._document()
        version = document.get("journal")
        if version != VERSION or isinstance(version, bool):
            raise self._of_another_version(version)
        seal = document.pop("seal", None)
        try:
            intact = self._key.verify(seal, document)
        except (ValueError, RecursionError):
            intact = False
        if not intact and isinstance(document.get("key"), str) and document["key"] != self._key.id:
            raise JournalRefused(
                f"the journal {shown(str(self.path))} was sealed with another key than the one of this process "
                f"({self._key.source})",
                help="Nothing was run. Resume the run as the same user on the same machine, with the same "
                f"CFES_PLAN_KEY or CFES_STATE_DIR. {BEGIN_AGAIN}",
            )
        in_flight = document.get("in_flight")
        if not intact or not isinstance(document.get("state"), dict) or not isinstance(document.get("playbook"), dict):
            raise JournalRefused(
                f"the journal {shown(str(self.path))} is damaged or was edited: its seal is invalid",
                help=f"Nothing was run. Find out who changed the file, then begin a new run. {BEGIN_AGAIN}",
            )
        return Entry(document["playbook"], document["state"], in_flight if isinstance(in_flight, dict) else None)

    def _document(self) -> dict[str, Json]:
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(FILE_NAME, flags, dir_fd=self._directory), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise JournalRefused(f"the journal {shown(str(self.path))} is not a regular file")
                document: Any = json.loads(file.read())
        except OSError as error:
            raise JournalRefused(f"the journal {shown(str(self.path))} can't be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise JournalRefused(f"the journal {shown(str(self.path))} is damaged: it is not a JSON document") from None
        return document if isinstance(document, dict) else {}

    def _of_another_version(self, version: Json) -> JournalRefused:
        if version == 1 and not isinstance(version, bool):
            return JournalRefused(
                f"the journal {shown(str(self.path))} was written by an older version of this program, without a seal, "
                "so the run can't be resumed",
                help=f"Nothing was run. Begin a new run. {BEGIN_AGAIN}",
            )
        return JournalRefused(f"the journal {shown(str(self.path))} was written by another version of this program")

    def write(self, entry: Entry) -> None:
        """Replace the entry on disk and sync it. Raises: JournalUnwritable; the old entry is then kept."""
        document = {
            "journal": VERSION,
            "playbook": entry.playbook,
            "state": entry.state,
            "in_flight": entry.in_flight,
            "key": self._key.id,
        }
        sealed = json.dumps({**document, "seal": self._key.seal(document)}).encode("ascii") + b"\n"
        at = self._directory
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(NEW_NAME, dir_fd=at)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(NEW_NAME, flags, 0o600, dir_fd=at), "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            os.replace(NEW_NAME, FILE_NAME, src_dir_fd=at, dst_dir_fd=at)
            # Without this sync a power cut may undo the rename.
            os.fsync(at)
        except OSError as error:
            # On a full disk the new file would take the room of the next attempt.
            with contextlib.suppress(OSError):
                os.unlink(NEW_NAME, dir_fd=at)
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> DirectoryUnusable | JournalUnwritable:
        if not self.action_ran and error.errno not in TEMPORARY:
            return DirectoryUnusable(
                f"the directory {shown(str(self.directory))} can't be used: {error.strerror or error}"
            )
        return JournalUnwritable(
            f"the journal {shown(str(self.path))} can't be written: {error.strerror or error}",
            path=str(self.path),
        )


def _help(found: Sequence[Weakness], *, create: bool) -> str:
    other = "Or choose a directory that does not exist yet." if create else BEGIN_AGAIN
    return f"Find out who changed it, then run: {fixes(found)}. {other}"
