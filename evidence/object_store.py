"""One object in a store: looked at, fetched, put whole or not at all, deleted. By obstore, which is loaded with this.

An object appears when its upload is complete, in one moment: there is no half of it to be seen, and nothing to rename.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import AzureStore, GCSStore, S3Store

from connectors.errors import OutputError, PackError, ParameterError
from evidence.destination import PRIVATE, reason
from evidence.object_store_errors import AGAIN, NOTHING_PUT, is_of_the_bucket, status_of, told, unusable
from evidence.object_store_settings import client_options, endpoint, retry_config
from evidence.object_url import ObjectUrl

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store

T = TypeVar("T")

# Up to so many bytes go up in one request, straight from the file: only that can be made conditional on there being
# nothing yet. Beyond it a broken connection would cost too much, and parts are sent.
ONE_REQUEST_BYTES = 256 << 20
# S3 takes 10,000 parts: enough for 160 GB. R2 wants all but the last to be of one size.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 2
BLOCK_BYTES = 8 << 20


class ObjectStore:
    """The store that a URL leads to, with the settings of the environment.

    Every method ends within a known time: see evidence.object_store_settings.

    Raises:
        ConnectionSettingsError: the settings can't be used.
    """

    def __init__(self, url: ObjectUrl, *, pointer: str = "/destination") -> None:
        self.url = url
        self._pointer = pointer
        self._endpoint = endpoint(url.scheme)
        self._store = self._opened(PART_BYTES)

    def beside(self, suffix: str) -> ObjectStore:
        """The object whose key is this one's with something behind it."""
        other = copy(self)
        other.url = self.url._replace(key=self.url.key + suffix)
        return other

    def exists(self) -> bool:
        """Whether there is such an object.

        Raises:
            ParameterError: there is no such bucket, or reading is not allowed.
            OutputError: the store can't be reached.
        """
        try:
            # A byte, not the head alone: only the body of the refusal says whether the bucket is there.
            self._asked(lambda: obstore.get(self._store, self.url.key, options={"range": (0, 1)}).meta, {416: _Empty})
        except _NotThere:
            return False
        except _Empty:
            pass
        return True

    def put(self, source: Path, *, create: bool) -> None:
        """Put the file there, in one moment. create: only where there is nothing yet.

        To put the same bytes where they are already is no error: an answer to the first try may have been lost.

        Raises:
            ParameterError: with `create`, another object is there; or the store refuses it.
            OutputError: it could not be put. Nothing of it is there, and no part of an upload is left behind, as far
                as the store could still be told so.
        """
        try:
            self._put(source, create=create)
        except _Taken:
            if not self._is_the_same(source):
                raise self.taken() from None
        except _NotThere:
            # Of an upload, say, that was completed: what was lost is the answer that said so.
            if not self._has_arrived(source):
                message = f"{str(self.url)!r} could not be written: the store does not find where to (HTTP 404)"
                raise OutputError(message, path=str(self.url), help=AGAIN) from None
        except OutputError:
            # What may not be sent twice is not tried again by obstore, though only the answer may have been lost.
            if not self._has_arrived(source):
                raise

    def _put(self, source: Path, *, create: bool) -> None:
        """Raises: _Taken, _NotThere, ParameterError, OutputError."""
        # As late as can be, for stores that do not know conditions, or take them and do not keep to them.
        if create and self.exists():
            raise _Taken
        try:
            whole = self._asked(source.stat).st_size <= ONE_REQUEST_BYTES
            put = partial(self._put_whole if whole else self._put_parts, source, create=create)
            self._asked(put, {412: _Taken, 501: _Unconditional} if create else {})
        except _Unconditional:
            if self.exists():
                raise _Taken from None
            self._put(source, create=False)

    def fetch(self, to: Path) -> bool:
        """Write the object to a new file, block by block. False where there is no such object.

        Raises:
            ParameterError: reading is not allowed.
            OutputError: it could not be fetched, or the file not written.
        """
        try:
            size = self._size()
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
            with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor
                for start in range(0, size, BLOCK_BYTES):
                    file.write(self._block(start, size))
        except _NotThere:
            return False
        except OSError as error:
            raise OutputError(f"{str(self.url)!r} could not be fetched to this machine: {reason(error)}") from error
        return True

    def delete(self) -> None:
        """Delete the object; that there is none is no error.

        Raises:
            ParameterError: deleting is not allowed.
            OutputError: the store can't be reached.
        """
        try:
            self._asked(lambda: obstore.delete(self._store, self.url.key))
        except _NotThere:
            return

    def taken(self) -> PackError:
        """What to say where another object is there, and must not be replaced."""
        message = "an object is there already: it may be evidence; choose another key, or set overwrite to true"
        own = " It may be this call's own, of a run that ended before it could say so."
        return ParameterError(problems=[{"pointer": self._pointer, "message": message}], help=NOTHING_PUT + own)

    def _opened(self, size: int) -> Store:
        """The store, for requests with a body of up to `size` bytes: their time limit is the store's. Takes 20 ms."""
        bucket, at = self.url.bucket, self._endpoint
        client, retry = client_options(at, size), retry_config()
        try:
            match self.url.scheme:
                case "s3":
                    # Both, because obstore would prefer a variable for the one that is not given here.
                    url = {} if at.url is None else {"endpoint": at.url, "aws_endpoint_url_s3": at.url}
                    # One object is deleted at a time: in this way every S3-compatible store knows how to.
                    config = {**url, "disable_bulk_delete": True}
                    if not self._endpoint.is_of(bucket):
                        # The first part of the key would be taken for the bucket, whatever the environment says.
                        config["virtual_hosted_style_request"] = False
                    return S3Store(bucket, config=config, client_options=client, retry_config=retry)  # type: ignore[arg-type]  # built in parts
                case "gs":
                    return GCSStore(bucket, client_options=client, retry_config=retry)
                case "az":
                    # An emulator would be called over plain http, wherever the environment says that it is.
                    config = {"use_emulator": False}
                    return AzureStore(bucket, config=config, client_options=client, retry_config=retry)  # type: ignore[arg-type]  # as above
        except (BaseError, ValueError, OSError):
            pass
        # Outside of the handler, so that the error does not carry along what obstore quotes.
        raise unusable(self.url)

    def _asked(self, ask: Callable[[], T], expected: Mapping[int, type[Exception]] | None = None) -> T:
        """What the store answers. expected: by HTTP status, what the caller deals with besides `_NotThere`.

        Raises: PackError in our words; it does not carry along what obstore quotes.
        """
        try:
            return ask()
        except (BaseError, ValueError, OSError, NotImplementedError) as error:
            failure = self._failure(error, expected or {})
        raise failure

    def _failure(self, error: Exception, expected: Mapping[int, type[Exception]]) -> Exception:
        # obstore's own has no errno; one that has is of a file on this machine.
        absent = isinstance(error, FileNotFoundError) and error.errno is None
        if absent and not is_of_the_bucket(error):
            return _NotThere()
        # Before any request, where the settings say so; and what each of the stores has a status of its own for.
        known: dict[type[Exception], int] = {NotSupportedError: 501, NotImplementedError: 501, AlreadyExistsError: 412}
        status = known.get(type(error)) or status_of(error) or 0
        return expected[status]() if status in expected else told(error, self.url, pointer=self._pointer)

    def _put_whole(self, source: Path, *, create: bool) -> None:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Mapped, so that the bytes go from the file to the network without ever being in this process's memory.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
            store = self._store if size <= PART_BYTES else self._opened(size)
            obstore.put(store, self.url.key, data, mode=mode, use_multipart=False)

    def _put_parts(self, source: Path, *, create: bool) -> None:
        def pieces() -> Iterator[bytes]:
            yield from _pieces(source)
            # The last thing before the upload is completed: what is raised here aborts it.
            if create and self._exists_now():
                raise AlreadyExistsError

        obstore.put(
            self._store,
            self.url.key,
            pieces(),
            use_multipart=True,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )

    def _exists_now(self) -> bool:
        # obstore can't be asked from within an answer to its own question, on the same thread.
        with ThreadPoolExecutor(1) as other:
            return other.submit(self.exists).result()

    def _has_arrived(self, source: Path) -> bool:
        try:
            return self._is_the_same(source)
        except (PackError, OSError):
            return False

    def _is_the_same(self, source: Path) -> bool:
        try:
            size = self._size()
            if size != source.stat().st_size:
                return False
            there = _sha256(self._block(start, size) for start in range(0, size, BLOCK_BYTES))
            return there == _sha256(_pieces(source))
        except _NotThere:
            # Refused, and not there: somebody else is putting it at this moment.
            raise OutputError(
                f"{str(self.url)!r} is being written by something else at this moment", path=str(self.url), help=AGAIN
            ) from None

    def _size(self) -> int:
        return self._asked(lambda: obstore.head(self._store, self.url.key))["size"]

    def _block(self, start: int, size: int) -> bytes:
        end = min(start + BLOCK_BYTES, size)
        return bytes(self._asked(lambda: obstore.get_range(self._store, self.url.key, start=start, end=end)))


class _NotThere(Exception):
    """There is no such object."""


class _Empty(Exception):
    """The object holds nothing, not even the byte that was asked for."""


class _Taken(Exception):
    """There is an object, and there should be none."""


class _Unconditional(Exception):
    """The store does not know conditions."""


def _pieces(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(PART_BYTES):
            yield piece


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
