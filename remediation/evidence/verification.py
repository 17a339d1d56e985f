"""Verification of an evidence bundle: every file is compared with evidence.json, without a network.

Nothing in a bundle is trusted. Names are used only inside the one folder and never as other paths. Nothing is unpacked,
and no more of a file is read than the size in evidence.json.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Never

from pydantic import ValidationError

from core.errors import ParameterError, Problem
from core.quantity import counted
from remediation.evidence.manifest import MANIFEST, SIGNATURE, BundledFile, Manifest
from remediation.evidence.signature import fingerprint, is_signed_with, public_key_of
from remediation.evidence.zip_layout import Content, content, strays
from remediation.exports.files.path_checks import reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# A thousand files take 200 KB.
LARGEST_MANIFEST_BYTES = 1 << 20
LARGEST_SIGNATURE_BYTES = 64
MOST_ENTRIES = 10_000

# Every export puts these files into a bundle. A manifest without them proves nothing about a job.
REQUIRED = ("rows.ndjson", "export.json", "job.json")

# The path of a finding about the zip file itself. No file of a bundle can have this name.
BETWEEN = "(between the files)"

_BLOCK = 1 << 20

State = Literal["unchanged", "missing", "changed", "extra"]

# valid: made with the given key. other_key: evidence.json names another key. broken: it does not match this
# evidence.json. removed: evidence.json names a signer, but the signature is missing. absent: the bundle is not signed.
# unchecked: there is a signature, but no key was given.
Signature = Literal["valid", "other_key", "broken", "removed", "absent", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """One file of the bundle and its state. detail: the exact problem; empty if there is none."""

    path: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """The result, in two verdicts: on the files, and on the signature of evidence.json.

    sha256: of evidence.json. key: fingerprint of the given public key, or None.
    """

    manifest: Manifest
    sha256: str
    findings: Sequence[Finding]
    signature: Signature
    key: str | None = None

    @property
    def problems(self) -> list[Finding]:
        """Return every file that is missing, changed or extra. The signature does not count as a file."""
        return [finding for finding in self.findings if finding.state != "unchanged"]

    @property
    def intact(self) -> bool:
        """Return whether every file matches evidence.json, and there are no other files."""
        return not self.problems

    @property
    def authentic(self) -> bool:
        """Return whether the given key made the signature; without a key, whether it has no visible problem."""
        return self.signature == "valid" or (self.key is None and self.signature in ("absent", "unchecked"))

    @property
    def verified(self) -> bool:
        """Return whether both verdicts are good."""
        return self.intact and self.authentic


class _Folder:
    def __init__(self, descriptor: int) -> None:
        # By descriptor: a folder that replaces this one under its name is never read.
        self._descriptor = descriptor

    def names(self) -> Counter[str]:
        with os.scandir(self._descriptor) as entries:
            return _counted(entry.name for entry in entries)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            # No link is followed.
            descriptor = os.open(name, os.O_NOFOLLOW | _AT_ONCE, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ValueError("it is a symbolic link") from None
            raise
        with _regular(descriptor) as file:
            status = os.fstat(descriptor)
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
                raise ValueError("it is setuid, setgid or sticky")
            if status.st_nlink > 1:
                raise ValueError("it is a hard link: a write to its other name changes it")
            yield file

    def strays(self) -> Iterator[str]:
        return iter(())


class _Zip:
    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile) -> None:
        self._file = file
        self._archive = archive

    def names(self) -> Counter[str]:
        return _counted(about.filename for about in self._archive.infolist())

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Content]:
        yield content(self._file, self._archive.getinfo(name))

    def strays(self) -> Iterator[str]:
        return strays(self._file, self._archive)


_Contents = _Folder | _Zip

# Do not wait for the writer of a pipe.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def _regular(descriptor: int) -> IO[bytes]:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is not a regular file")
    return os.fdopen(descriptor, "rb")


def _counted(names: Iterator[str]) -> Counter[str]:
    # An error, not a cut: unread entries must not pass as unchanged.
    found = Counter(itertools.islice(names, MOST_ENTRIES + 1))
    if found.total() > MOST_ENTRIES:
        raise ValueError(f"it holds more than {MOST_ENTRIES:,} files, which no bundle does")
    return found


def verify(bundle: str | os.PathLike[str], public_key: bytes | Ed25519PublicKey | None = None) -> Verification:
    """Check every file of the bundle, a folder or a zip file.

    public_key: the Ed25519 key, or its PEM text, that must have signed evidence.json.

    Raises:
        ParameterError: the path is not an evidence bundle (pointer `/evidence`), or the key is not valid.
    """
    path = Path(bundle)
    if isinstance(public_key, bytes):
        public_key = public_key_of(public_key)
    with _contents(path) as contents:
        try:
            names = contents.names()
        except _UNREADABLE as error:
            _refuse(path, _why(error))
        try:
            with contents.open(MANIFEST) as file:
                text = file.read(LARGEST_MANIFEST_BYTES + 1)
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            where = "/".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
            _refuse(path, f"its {MANIFEST} is not valid at {where or 'its beginning'}")
        except _UNREADABLE as error:
            _refuse(path, f"its {MANIFEST} can't be read: {_why(error)}")
        if absent := set(REQUIRED).difference(file.path for file in manifest.files):
            _refuse(path, f"its {MANIFEST} does not list {', '.join(sorted(absent))}")
        findings = [
            *(_checked(contents, names[file.path], file) for file in manifest.files),
            *_extra(names, manifest),
            *(Finding(BETWEEN, "extra", stray) for stray in contents.strays()),
        ]
        signature = _signature(contents, manifest, text, public_key)
        key = None if public_key is None else fingerprint(public_key)
        return Verification(manifest, hashlib.sha256(text).hexdigest(), findings, signature, key)


# Errors of zipfile for an archive that is damaged, encrypted, or compressed with an unknown method.
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
    """Return the content of a file after checking it again. Raises: ParameterError (pointer `/evidence`)."""
    return b"".join(verified_blocks(bundle, file))


def verified_blocks(bundle: str | os.PathLike[str], file: BundledFile) -> Iterator[bytes]:
    """Yield the content of a file of the bundle block by block, and check it again at the end.

    Raises: ParameterError (pointer `/evidence`), possibly after the last block.
    """
    path, digest, left = Path(bundle), hashlib.sha256(), file.bytes
    with _contents(path) as contents:
        try:
            with contents.open(file.path) as stream:
                while left and (block := stream.read(min(left, _BLOCK))):
                    left -= len(block)
                    digest.update(block)
                    yield block
        except _UNREADABLE as error:
            _refuse(path, f"its {file.path} can't be read: {_why(error)}")
    if left or digest.hexdigest() != file.sha256:
        _refuse(path, f"its {file.path} was changed")


@contextlib.contextmanager
def _contents(path: Path) -> Iterator[_Contents]:
    with contextlib.ExitStack() as opened:
        contents: _Contents
        try:
            descriptor = os.open(path, _AT_ONCE)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                opened.callback(os.close, descriptor)
                contents = _Folder(descriptor)
            else:
                file = opened.enter_context(_regular(descriptor))
                contents = _Zip(file, opened.enter_context(zipfile.ZipFile(file)))
        except _UNREADABLE as error:
            _refuse(path, _why(error))
        yield contents


def _checked(contents: _Contents, times: int, file: BundledFile) -> Finding:
    if times > 1:
        return Finding(file.path, "changed", "it exists twice")
    if not times:
        return Finding(file.path, "missing")
    digest, size = hashlib.sha256(), 0
    try:
        with contents.open(file.path) as stream:
            # One block beyond the recorded size proves that the file grew.
            while size <= file.bytes and (block := stream.read(_BLOCK)):
                digest.update(block)
                size += len(block)
    except _UNREADABLE as error:
        return Finding(file.path, "changed", f"it can't be read: {_why(error)}")
    if size != file.bytes:
        there = f"more than {counted(file.bytes, 'byte')}" if size > file.bytes else counted(size, "byte")
        return Finding(file.path, "changed", f"{there} instead of {file.bytes:,}")
    if digest.hexdigest() != file.sha256:
        return Finding(file.path, "changed", "other content of the same size")
    return Finding(file.path, "unchanged")


def _extra(names: Counter[str], manifest: Manifest) -> list[Finding]:
    known = {file.path for file in manifest.files} | {MANIFEST} | ({SIGNATURE} if manifest.signer else set())
    twice = [Finding(name, "extra", "it exists twice") for name in (MANIFEST, SIGNATURE) if names[name] > 1]
    return [Finding(name, "extra") for name in sorted(names.elements()) if name not in known] + twice


def _signature(contents: _Contents, manifest: Manifest, text: bytes, key: Ed25519PublicKey | None) -> Signature:
    if manifest.signer is None:
        # Anyone who changes evidence.json can also remove its signer. So with a key, `absent` is not a good verdict.
        return "absent"
    try:
        with contents.open(SIGNATURE) as file:
            signature = file.read(LARGEST_SIGNATURE_BYTES + 1)
    except (KeyError, FileNotFoundError):
        return "removed"
    except _UNREADABLE:
        return "broken"
    if len(signature) != LARGEST_SIGNATURE_BYTES:
        return "broken"
    if key is None:
        return "unchecked"
    if is_signed_with(key, signature, text):
        return "valid"
    return "broken" if fingerprint(key) == manifest.signer else "other_key"


def _refuse(path: Path, why: str) -> Never:
    problem: Problem = {"pointer": "/evidence", "message": f"{str(path)!r} is not an evidence bundle: {why}"}
    raise ParameterError(
        problem["message"],
        problems=[problem],
        help="Nothing was changed. Give the folder or zip file that export-job-messages wrote as an evidence bundle.",
    ) from None


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, OSError):
        return reason(error)
    return "it does not exist" if isinstance(error, KeyError) else str(error)[:200]
