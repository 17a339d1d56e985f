"""The object that continues an export in a later call."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from connectors.objects.api_object import Uuid
from connectors.paging.pages import LONGEST_CURSOR
from core.json_model import StrictModel


class Resume(StrictModel):
    """The position in the listing, and the rows in the partial file."""

    version: Literal[1] = 1
    job_id: Annotated[Uuid, Field(description="The job's UUID.")]
    status: str | None = Field(description="The only exported status; null: every row.")
    page: int = Field(ge=1, le=10_000_000, description="The next page to read.")
    cursor: str | None = Field(
        None,
        max_length=LONGEST_CURSOR,
        pattern=r"^[!-~]+$",
        description="The cursor that leads to the next page, if any.",
    )
    rows: int = Field(ge=0, description="Rows in the partial file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the partial file.")
    duplicates_dropped: int = Field(0, ge=0, description="Rows that the listing has repeated so far.")
    passes: int = Field(ge=0, description="Completed passes over the listing.")
    job_was: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{16}$",
        description="A digest of the job's status and counters before these rows were read; null: read them again.",
    )
    calls: int = Field(0, ge=0, description="For a bundle: the size of its record of calls in bytes.")
    pseudonyms: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{20}$",
        description="A check value of the pseudonyms' key; null: no name was replaced.",
    )
