"""Whether a bundle of evidence is still what was written: every file against evidence.json, without a network.

Everything in a bundle may have been put there by somebody else: names are never used as paths but for those in one
folder, nothing is unpacked, and no more of a file is read than evidence.json promises.
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
from typing import IO, TYPE_CHECKING, Literal, Never, Protocol

from pydantic import ValidationError

from core.errors import ParameterError, Problem
from core.quantity import counted
from remediation.evidence.manifest import MANIFEST, SIGNATURE, BundledFile, Manifest
from remediation.evidence.zip_layout import content, strays
from remediation.exports.files.path_checks import reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# A thousand files take 200 KB.
LARGEST_MANIFEST_BYTES = 1 << 20
LARGEST_SIGNATURE_BYTES = 64
MOST_ENTRIES = 10_000

# What every export puts into a bundle. A manifest without them vouches for nothing that is evidence of a job.
REQUIRED = ("rows.ndjson", "export.json", "job.json")

# The path of a finding that is of the zip file itself. No file of a bundle can have it as its name.
BETWEEN = "(between the files)"

_BLOCK = 1 << 20

State = Literal["unchanged", "missing", "changed", "extra"]

# valid: the given key's. other_key: evidence.json names another key than the given one. broken: not a signature over
# this evidence.json. removed: evidence.json says that it is signed, and the signature is not there. absent: it is not
# signed. unchecked: there is a signature, and no key was given.
Signature = Literal["valid", "other_key", "broken", "removed", "absent", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """One file of the bundle. detail: what exactly is wrong with it, or nothing."""

    path: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """What was found, in two verdicts: whether the files are unchanged, and whose signature evidence.json has.

    sha256: of evidence.json. key: fingerprint of the public key that was given, None without one.
    """

    manifest: Manifest
    sha256: str
    findings: Sequence[Finding]
    signature: Signature
    key: str | None = None

    @property
    def problems(self) -> list[Finding]:
        """Every file that is missing, changed or extra. The signature is none of them."""
        return [finding for finding in self.findings if finding.state != "unchanged"]

    @property
    def intact(self) -> bool:
        """Whether every file is as evidence.json has it, and there is no other."""
        return not self.problems

    @property
    def authentic(self) -> bool:
        """Whether the signature is the given key's; or no key was given, and nothing is seen to be wrong with it."""
        return self.signature == "valid" or (self.key is None and self.signature in ("absent", "unchecked"))

    @property
    def verified(self) -> bool:
        """Whether both verdicts are good."""
        return self.intact and self.authentic


class Readable(Protocol):
    """What a file's bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class Contents(Protocol):
    """A folder or a zip file, as names and what is behind them."""

    def names(self) -> Counter[str]:
        """Every entry, and how often it is there. Raises: ValueError where there are more than MOST_ENTRIES."""

    def open(self, name: str) -> contextlib.AbstractContextManager[Readable]:
        """What is behind a name. Raises: OSError, ValueError, zipfile.BadZipFile where it is no file to be read."""

    def strays(self) -> Iterator[str]:
        """What there is besides the files, each in words."""


class _Folder:
    def __init__(self, descriptor: int) -> None:
        # By its descriptor: another folder under the same name, put there meanwhile, is not looked at.
        self._descriptor = descriptor

    def names(self) -> Counter[str]:
        with os.scandir(self._descriptor) as entries:
            return _counted(entry.name for entry in entries)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Readable]:
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
                raise ValueError("it is a hard link: what is written to its other name changes it")
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
    def open(self, name: str) -> Iterator[Readable]:
        yield content(self._file, self._archive.getinfo(name))

    def strays(self) -> Iterator[str]:
        return strays(self._file, self._archive)


# Without waiting for whoever writes to a pipe.
_AT_ONCE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def _regular(descriptor: int) -> IO[bytes]:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    return os.fdopen(descriptor, "rb")


def _counted(names: Iterator[str]) -> Counter[str]:
    # Said, not cut off: what was not looked at must not pass for unchanged.
    found = Counter(itertools.islice(names, MOST_ENTRIES + 1))
    if found.total() > MOST_ENTRIES:
        raise ValueError(f"it holds more than {MOST_ENTRIES:,} files, and no bundle does")
    return found


def verify(bundle: str | os.PathLike[str], public_key: bytes | Ed25519PublicKey | None = None) -> Verification:
    """Check every file of the bundle, a folder or a zip file.

    public_key: the Ed25519 key, or its PEM text, whose signature evidence.json must bear.

    Raises:
        ParameterError: there is no bundle of evidence (pointer `/evidence`), or the key is none.
    """
    path = Path(bundle)
    if isinstance(public_key, bytes):
        from remediation.evidence.signature import public_key_of  # noqa: PLC0415 -- cryptography, for who asks for it

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
            _refuse(path, f"its {MANIFEST} does not fit at {where or 'its beginning'}")
        except _UNREADABLE as error:
            _refuse(path, f"its {MANIFEST} can't be read: {_why(error)}")
        if absent := set(REQUIRED).difference(file.path for file in manifest.files):
            _refuse(path, f"its {MANIFEST} does not list {', '.join(sorted(absent))}")
        findings = [
            *(_checked(contents, names[file.path], file) for file in manifest.files),
            *_extra(names, manifest),
            *(Finding(BETWEEN, "extra", stray) for stray in contents.strays()),
        ]
        signature, key = _signature(contents, manifest, text, public_key), None
        if public_key is not None:
            from remediation.evidence.signature import fingerprint  # noqa: PLC0415

            key = fingerprint(public_key)
        return Verification(manifest, hashlib.sha256(text).hexdigest(), findings, signature, key)


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


def verified_blocks(bundle: str | os.PathLike[str], file: BundledFile) -> Iterator[bytes]:
    """Yield what a file of the bundle holds, block by block, and check it once more at the end.

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
            _refuse(path, f"{file.path} in it can't be read: {_why(error)}")
    if left or digest.hexdigest() != file.sha256:
        _refuse(path, f"{file.path} in it has been changed")


@contextlib.contextmanager
def _contents(path: Path) -> Iterator[Contents]:
    with contextlib.ExitStack() as opened:
        contents: Contents
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


def _checked(contents: Contents, times: int, file: BundledFile) -> Finding:
    if times > 1:
        return Finding(file.path, "changed", "it is there twice")
    if not times:
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
        there = f"more than {counted(file.bytes, 'byte')}" if size > file.bytes else counted(size, "byte")
        return Finding(file.path, "changed", f"{there} instead of {file.bytes:,}")
    if digest.hexdigest() != file.sha256:
        return Finding(file.path, "changed", "other bytes, the same number of them")
    return Finding(file.path, "unchanged")


def _extra(names: Counter[str], manifest: Manifest) -> list[Finding]:
    known = {file.path for file in manifest.files} | {MANIFEST} | ({SIGNATURE} if manifest.signer else set())
    twice = [Finding(name, "extra", "it is there twice") for name in (MANIFEST, SIGNATURE) if names[name] > 1]
    return [Finding(name, "extra") for name in sorted(names.elements()) if name not in known] + twice


def _signature(contents: Contents, manifest: Manifest, text: bytes, key: Ed25519PublicKey | None) -> Signature:
    if manifest.signer is None:
        # Whoever changes evidence.json can also say that it was never signed: with a key that is no good verdict.
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
    from remediation.evidence.signature import fingerprint, is_signed_with  # noqa: PLC0415

    if is_signed_with(key, signature, text):
        return "valid"
    return "broken" if fingerprint(key) == manifest.signer else "other_key"


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
