"""The sealed state of a run between two calls, and the files of a state that is too large for an answer.

The state names the actions to run, and it comes back from outside. So it is sealed (see
`playbooks.drivers.seal_key`), and an edited state is refused:

    {"tick": 1, "content": text, "key": "ID", "seal": "…"}
    {"tick": 1, "moved": {"place", "sha256", "bytes"}, "key": "ID", "seal": "…"}

The content is the JSON text of `{"playbook": an ID or the document, "run": the engine's state}`. It is text because
what carries the state may write numbers in another form, and the seal would no longer match. The second form is of a
state that is too large for an answer: a file in the run's directory has the text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.json_values import Json, canonical, shown
from playbooks.drivers.seal_key import SealKey
from playbooks.engine.state import RunState, open_state
from playbooks.language.errors import StateRefused
from playbooks.language.format import Playbook

VERSION = 1

# More than any state.
LARGEST_MOVED_BYTES = 100 << 20

_AS_RETURNED = (
    "Nothing was run. Pass the state as the call before returned it. Or begin a new run: it reuses the existing job."
)


class RunFiles(Protocol):
    """The files in a run's directory, which is a path or the URL of a folder in an object store."""

    def put(self, directory: str, name: str, data: bytes) -> str:
        """Write a file and return its place, a path or a URL. The same content may be written again.

        Raises: PackError.
        """

    def get(self, place: str, size: int) -> bytes | None:
        """Return the first `size` bytes of a file, or None if it does not exist. Raises: PackError."""


@dataclass(frozen=True)
class Run:
    """A run between two calls. source: the ID of a shipped playbook, or the document of another one."""

    source: Json
    playbook: Playbook
    state: RunState


def seal_run(run: Run, key: SealKey) -> dict[str, Json]:
    """Return the sealed state of a run."""
    return _sealed({"content": _content(run).decode()}, key)


def seal_moved(run: Run, key: SealKey, files: RunFiles) -> dict[str, Json]:
    """Return a short sealed state of a run, whose content moves to a file. Raises: PackError of `files`."""
    return _sealed({"moved": moved_to_file(_content(run), run.state.directory, "state", files)}, key)


def open_run(document: Mapping[str, Json], *, key: SealKey, files: RunFiles, find: Callable[[Json], Playbook]) -> Run:
    """Return the run of a sealed state. find: returns the playbook of an ID or a document.

    Raises: StateRefused if the state was edited, has another key's seal or is of another version of the playbook or
    of this program; PackError of `files` and of `find`.
    """
    sealed = dict(document)
    seal = sealed.pop("seal", None)
    intact = key.verify(seal, sealed)
    if not intact and isinstance(sealed.get("key"), str) and sealed["key"] != key.id:
        raise StateRefused(
            f"the state was sealed with another key than the one of this process ({key.source})",
            help="Nothing was run. Set the same CFES_PLAN_KEY wherever calls of one run are made. Or begin a new run: "
            "it reuses the existing job.",
        )
    if not intact:
        raise StateRefused("the state was edited: its seal is invalid", help=_AS_RETURNED)
    if sealed.get("tick") != VERSION:
        raise StateRefused("the state was written by another version of this program")
    content = json.loads(_read_moved(sealed["moved"], files) if "moved" in sealed else sealed["content"])
    playbook = find(content["playbook"])
    return Run(content["playbook"], playbook, open_state(playbook, content["run"]))


def moved_to_file(data: bytes, directory: str, name: str, files: RunFiles) -> dict[str, Json]:
    """Write JSON text to a file of the run. Returns its place, SHA-256 and size. Raises: PackError of `files`."""
    sha256 = hashlib.sha256(data).hexdigest()
    # Named by its content, so that a repeated call writes the same file.
    place = files.put(directory, f"{name}-{sha256}.json", data)
    return {"place": place, "sha256": sha256, "bytes": len(data)}


def _content(run: Run) -> bytes:
    return canonical({"playbook": run.source, "run": run.state.document()})


def _sealed(content: dict[str, Json], key: SealKey) -> dict[str, Json]:
    document = {"tick": VERSION, **content, "key": key.id}
    return {**document, "seal": key.seal(document)}


def _read_moved(moved: dict[str, Any], files: RunFiles) -> bytes:
    data = files.get(moved["place"], min(moved["bytes"], LARGEST_MOVED_BYTES) + 1)
    if data is None:
        raise StateRefused(
            f"the file of the state does not exist: {shown(moved['place'], 500)}",
            help="Nothing was run. Begin a new run, in a directory that every call can read: it reuses the existing "
            "job. On AWS Lambda, such a directory is a folder in an object store.",
        )
    if hashlib.sha256(data).hexdigest() != moved["sha256"]:
        raise StateRefused(
            f"the file of the state was edited: {shown(moved['place'], 500)}",
            help="Nothing was run. Find out who changed the file, then begin a new run: it reuses the existing job.",
        )
    return data
