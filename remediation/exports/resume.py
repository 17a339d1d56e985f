"""The object that continues an export in a later call."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from connectors.objects.api_object import Uuid
from connectors.paging.pages import LONGEST_CURSOR
from core.json_model import StrictModel


class Resume(StrictModel):
    """Where the listing was, and what the partial file holds."""

    version: Literal[1] = 1
    job_id: Annotated[Uuid, Field(description="The job's UUID.")]
    status: str | None = Field(description="The only status asked for; null: every row.")
    page: int = Field(ge=1, le=10_000_000, description="The next page to read.")
    cursor: str | None = Field(
        None, max_length=LONGEST_CURSOR, pattern=r"^[!-~]+$", description="Or the cursor that leads to it."
    )
    rows: int = Field(ge=0, description="Rows in the partial file.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the partial file.")
    duplicates_dropped: int = Field(0, ge=0, description="Rows that the listing had repeated before.")
    passes: int = Field(ge=0, description="Passes over the listing that have ended.")
    job_was: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{16}$",
        description="A digest of the job's status and counters before these rows were read; null: read them again.",
    )
    calls: int = Field(0, ge=0, description="Of a bundle: the size in bytes of its record of calls.")
    pseudonyms: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{20}$",
        description="A check value of the key that replaced the rows' names; null: no name was replaced.",
    )
