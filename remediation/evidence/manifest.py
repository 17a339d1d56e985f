"""`evidence.json`: what a bundle of evidence holds, file by file, and what it is evidence of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "evidence.json"
SIGNATURE = "evidence.json.sig"

# One folder deep, and none that a shell, a terminal or a file system takes for something else.
FILE_NAME = r"^[a-z0-9][a-z0-9_-]{0,60}(\.[a-z0-9]{1,20}){0,3}$"


class Part(BaseModel):
    # A field that a later version adds is passed over: the hash is over the bytes, not over what was understood.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True)


class BundledFile(Part):
    """One file: its name, its size, and the SHA-256 (hex) of what is in it."""

    path: str = Field(pattern=FILE_NAME)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Pack(Part):
    """What made the bundle."""

    name: str = Field(max_length=200)
    version: str = Field(max_length=100)


class Manifest(Part):
    """made_at: RFC 3339. made_by: who asked for it, as CFES_REQUESTED_BY said; null where nobody did.

    status: the only status that rows were exported of; null for all. snapshot: the job had not ended.
    pseudonyms: which key names were replaced with; null where they were not.
    signer: SHA-256 of the public key whose private one signed evidence.json; null where it is not signed.
    """

    format: Literal["cfes-evidence/1"] = "cfes-evidence/1"
    made_at: str = Field(max_length=40)
    made_by: str | None = Field(max_length=200)
    pack: Pack
    account_id: str = Field(max_length=32)
    job_id: str = Field(max_length=36)
    status: str | None = Field(max_length=100)
    rows: int = Field(ge=0)
    complete: bool
    snapshot: bool
    pseudonyms: str | None = Field(None, pattern=r"^[0-9a-f]{20}$")
    signer: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    files: list[BundledFile] = Field(max_length=1000)
