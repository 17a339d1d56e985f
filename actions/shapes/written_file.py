"""A file that an action has written, as its result describes it."""

from __future__ import annotations

from actions.contract.action import ActionResult


class WrittenFile(ActionResult):
    """A file, with the SHA-256 that proves it unchanged."""

    path: str
    format: str
    bytes: int
    sha256: str


class WrittenRows(WrittenFile):
    """A file of rows, with the SHA-256 that proves it unchanged; of a bundle in a folder, that of its evidence.json."""

    rows: int
