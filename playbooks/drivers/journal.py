"""Read the journal.json of a run that an earlier version began: runs are in the run store since then.

    {"journal": 2, "playbook": {…}, "state": {…}, "in_flight": {"step_id", "since"} | null, "key": "ID", "seal": "…"}

The seal is an HMAC over all other fields, under a key that is stored elsewhere (see `playbooks.drivers.seal_key`).
The directory and its files must belong to this user alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.json_values import Json, shown
from playbooks.drivers.run_directory import open_private_directory, open_run_directory
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.failures import BEGIN_AGAIN
from playbooks.language.errors import DirectoryUnusable, RunInProgress, RunNotFound, RunRecordRefused

VERSION = 2
FILE_NAME = "journal.json"
LOCK_NAME = "journal.lock"
NAMES = (FILE_NAME, LOCK_NAME, "journal.json.new")


@dataclass(frozen=True)
class Entry:
    """The content of a journal: the playbook, the run's state, and the action that has begun but not ended."""

    playbook: dict[str, Json]
    state: dict[str, Json]
    in_flight: dict[str, Json] | None = None


@contextmanager
def read_journal(directory: Path, key: SealKey) -> Iterator[Entry]:
    """Read the journal in a directory, and keep processes of an earlier version out of the run meanwhile.

    Raises: RunNotFound if it is missing; RunRecordRefused if it is damaged, was edited, or has another key's seal or
    version; RunInProgress; DirectoryUnusable.
    """
    if not os.path.lexists(directory / FILE_NAME):
        raise RunNotFound(
            f"there is no run with its files in {shown(str(directory), 500)}",
            help="Nothing was run. `cfes playbook runs` lists the runs with their directories.",
        )
    path = open_private_directory(directory, create=False, single=NAMES)
    with ExitStack() as stack:
        at = open_run_directory(path)
        stack.callback(os.close, at)
        try:
            lock = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=at)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInProgress(f"another process uses the run in {shown(str(path))}") from None
        except OSError as error:
            raise DirectoryUnusable(f"the directory {shown(str(path))} can't be used: {error.strerror}") from None
        yield _entry(path / FILE_NAME, _document(path / FILE_NAME, at), key)


def _entry(path: Path, document: dict[str, Json], key: SealKey) -> Entry:
    version = document.get("journal")
    if version != VERSION or isinstance(version, bool):
        raise _of_another_version(path, version)
    seal = document.pop("seal", None)
    intact = key.verify(seal, document)
    if not intact and isinstance(document.get("key"), str) and document["key"] != key.id:
        raise RunRecordRefused(
            f"the journal {shown(str(path))} was sealed with another key than the one of this process ({key.source})",
            help="Nothing was run. Resume the run as the same user on the same machine, with the same CFES_PLAN_KEY or "
            f"CFES_STATE_DIR. {BEGIN_AGAIN}",
        )
    in_flight = document.get("in_flight")
    if not intact or not isinstance(document.get("state"), dict) or not isinstance(document.get("playbook"), dict):
        raise RunRecordRefused(
            f"the journal {shown(str(path))} is damaged or was edited: its seal is invalid",
            help=f"Nothing was run. Find out who changed the file, then begin a new run. {BEGIN_AGAIN}",
        )
    return Entry(document["playbook"], document["state"], in_flight if isinstance(in_flight, dict) else None)


def _document(path: Path, at: int) -> dict[str, Json]:
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(FILE_NAME, flags, dir_fd=at), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RunRecordRefused(f"the journal {shown(str(path))} is not a regular file")
            document: Any = json.loads(file.read())
    except OSError as error:
        raise RunRecordRefused(f"the journal {shown(str(path))} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunRecordRefused(f"the journal {shown(str(path))} is damaged: it is not a JSON document") from None
    return document if isinstance(document, dict) else {}


def _of_another_version(path: Path, version: Json) -> RunRecordRefused:
    if version == 1 and not isinstance(version, bool):
        return RunRecordRefused(
            f"the journal {shown(str(path))} was written by an older version of this program, without a seal, "
            "so the run can't be resumed",
            help=f"Nothing was run. Begin a new run. {BEGIN_AGAIN}",
        )
    return RunRecordRefused(f"the journal {shown(str(path))} was written by another version of this program")
