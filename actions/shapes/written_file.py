"""A file that an action has written, as its result describes it."""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import ActionResult


class WrittenFile(ActionResult):
    """A file, with the SHA-256 that proves it unchanged."""

    path: str = Field(description="Its path, or the URL of an object.")
    format: str = Field(description="Its format, like ndjson or html.")
    bytes: int = Field(description="Its size in bytes.")
    sha256: str = Field(description="Its SHA-256, as 64 hexadecimal digits.")


class WrittenRows(WrittenFile):
    """A file of rows. The SHA-256 of a bundle in a folder is the one of its evidence.json."""

    rows: int = Field(description="The number of rows in it.")
