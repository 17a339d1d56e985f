"""The manifest, `evidence.json`: the files of an evidence bundle, and the job that they prove."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "evidence.json"
SIGNATURE = "evidence.json.sig"

# A plain file name without a folder, safe for every shell, terminal and file system.
FILE_NAME = r"^[a-z0-9][a-z0-9_-]{0,60}(\.[a-z0-9]{1,20}){0,3}$"


class Part(BaseModel):
    # Fields of later versions are ignored. The hash covers the bytes, not the parsed fields.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True, defer_build=True)


class BundledFile(Part):
    """One file: its name, size and SHA-256 (hex)."""

    path: str = Field(pattern=FILE_NAME)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Pack(Part):
    """The pack that made the bundle."""

    name: str = Field(max_length=200)
    version: str = Field(max_length=100)


class Manifest(Part):
    """The content of evidence.json.

    made_at: RFC 3339. made_by: the requester from CFES_REQUESTED_BY; null if not set.
    status: the only exported status; null for all. snapshot: the job had not ended.
    pseudonyms: check value of the key that replaced names; null if names were not replaced.
    signer: SHA-256 of the public key for the signature of evidence.json; null if it is not signed.
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

    def file(self, path: str) -> BundledFile | None:
        """Return the file with this name; None if the manifest does not list it."""
        return next((file for file in self.files if file.path == path), None)
