"""Whether a bundle of evidence is still what was written: every file against evidence.json, without a network.

Everything in a bundle may have been put there by somebody else: names are never used as paths but for those in one
folder, nothing is unpacked, and no more of a file is read than evidence.json promises.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Never, Protocol

from pydantic import ValidationError

from connectors.errors import ParameterError, Problem
from evidence.destination import reason
from evidence.manifest import MANIFEST, SIGNATURE, BundledFile, Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# A thousand files take 200 KB.
LARGEST_MANIFEST_BYTES = 1 << 20
LARGEST_SIGNATURE_BYTES = 64
MOST_ENTRIES = 10_000

_BLOCK = 1 << 20

State = Literal["unchanged", "missing", "changed", "extra"]
Signed = Literal["no", "unchecked", "good", "bad"]


@dataclass(frozen=True)
class Finding:
    """One file of the bundle. detail: what exactly is wrong with it, or nothing."""

    path: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """What was found. sha256: of evidence.json. signed: whether it bears a signature, and whether that was checked."""

    manifest: Manifest
    sha256: str
    findings: Sequence[Finding]
    signed: Signed

    @property
    def problems(self) -> list[Finding]:
        """Every file that is missing, changed or extra."""
        return [finding for finding in self.findings if finding.state != "unchanged"]

    @property
    def intact(self) -> bool:
        """Whether every file is what was written; and the signature good, where it was checked."""
        return not self.problems and self.signed != "bad"


class Contents(Protocol):
    """A folder or a zip file, as names and what is behind them."""

    def names(self) -> list[str]:
        """Every entry, sorted; a name that is there twice, twice."""

    def open(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """What is behind a name. Raises: OSError, ValueError, zipfile.BadZipFile where it is no file to be read."""


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        with os.scandir(self._path) as entries:
            found = [entry.name for entry, _ in zip(entries, range(MOST_ENTRIES), strict=False)]
        return sorted(found)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        # No link is followed, and no pipe waited for.
        descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is no regular file")
            yield file


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        return sorted(self._archive.namelist()[:MOST_ENTRIES])

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        about = self._archive.getinfo(name)
        if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in a way that no bundle is")
        with self._archive.open(about) as file:
            yield file


def verify(bundle: str | os.PathLike[str], public_key: bytes | Ed25519PublicKey | None = None) -> Verification:
    """Check every file of the bundle, a folder or a zip file.

    public_key: the Ed25519 key, or its PEM text, whose signature evidence.json must bear.

    Raises:
        ParameterError: there is no bundle of evidence (pointer `/evidence`), or the key is none.
    """
    path = Path(bundle)
    if isinstance(public_key, bytes):
        from evidence.signature import public_key_of  # noqa: PLC0415 -- cryptography, for who asks for it

        public_key = public_key_of(public_key)
    with _contents(path) as contents:
        try:
            with contents.open(MANIFEST) as file:
                text = file.read(LARGEST_MANIFEST_BYTES + 1)
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            where = "/".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
            _refuse(path, f"its {MANIFEST} does not fit at {where or 'its beginning'}")
        except _UNREADABLE as error:
            _refuse(path, f"its {MANIFEST} can't be read: {_why(error)}")
        signed, wrong = _signature(contents, manifest, text, public_key)
        findings = [_checked(contents, file) for file in manifest.files]
        return Verification(
            manifest, hashlib.sha256(text).hexdigest(), [*findings, *wrong, *_extra(contents, manifest)], signed
        )


# What zipfile raises for an archive that is damaged, encrypted, or compressed in a way that it does not know.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def verified_file(bundle: str | os.PathLike[str], file: BundledFile) -> bytes:
    """What a file of the bundle holds, which is checked once more. Raises: ParameterError (pointer `/evidence`)."""
    path = Path(bundle)
    with _contents(path) as contents:
        try:
            with contents.open(file.path) as stream:
                data = stream.read(file.bytes)
        except _UNREADABLE as error:
            _refuse(path, f"{file.path} in it can't be read: {_why(error)}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        _refuse(path, f"{file.path} in it has been changed")
    return data


@contextlib.contextmanager
def _contents(path: Path) -> Iterator[Contents]:
    try:
        if path.is_dir():
            yield _Folder(path)
            return
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        _refuse(path, _why(error))
    with archive:
        yield _Zip(archive)


def _checked(contents: Contents, file: BundledFile) -> Finding:
    if contents.names().count(file.path) > 1:
        return Finding(file.path, "changed", "it is there twice")
    if file.path not in contents.names():
        return Finding(file.path, "missing")
    digest, size = hashlib.sha256(), 0
    try:
        with contents.open(file.path) as stream:
            # Of what has grown, one block more is enough to know.
            while size <= file.bytes and (block := stream.read(_BLOCK)):
                digest.update(block)
                size += len(block)
    except _UNREADABLE as error:
        return Finding(file.path, "changed", f"it can't be read: {_why(error)}")
    if size != file.bytes:
        there = f"more than {file.bytes:,}" if size > file.bytes else f"{size:,}"
        return Finding(file.path, "changed", f"{there} bytes instead of {file.bytes:,}")
    if digest.hexdigest() != file.sha256:
        return Finding(file.path, "changed", "other bytes, the same number of them")
    return Finding(file.path, "unchanged")


def _extra(contents: Contents, manifest: Manifest) -> list[Finding]:
    known = {file.path for file in manifest.files} | {MANIFEST} | ({SIGNATURE} if manifest.signer else set())
    names = contents.names()
    twice = [Finding(name, "extra", "it is there twice") for name in (MANIFEST, SIGNATURE) if names.count(name) > 1]
    return [Finding(name, "extra") for name in names if name not in known] + twice


def _signature(
    contents: Contents, manifest: Manifest, text: bytes, key: Ed25519PublicKey | None
) -> tuple[Signed, list[Finding]]:
    if manifest.signer is None:
        # Whoever changes evidence.json can also say that it was never signed.
        return ("no" if key is None else "bad"), []
    try:
        with contents.open(SIGNATURE) as file:
            signature = file.read(LARGEST_SIGNATURE_BYTES + 1)
    except _UNREADABLE:
        return "bad", [Finding(SIGNATURE, "missing")]
    if key is None:
        return "unchecked", []
    from evidence.signature import is_signed_with  # noqa: PLC0415

    if is_signed_with(key, signature, text):
        return "good", []
    return "bad", [Finding(SIGNATURE, "changed", "it is not the signature of this key over this evidence.json")]


def _refuse(path: Path, why: str) -> Never:
    problem: Problem = {"pointer": "/evidence", "message": f"{str(path)!r} is no bundle of evidence: {why}"}
    raise ParameterError(
        problem["message"],
        problems=[problem],
        help="Nothing was changed. Give the folder or zip file that export-job-messages made with evidence: bundle.",
    ) from None


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    if isinstance(error, OSError):
        return reason(error)
    return "it is not there" if isinstance(error, KeyError) else str(error)[:200]
