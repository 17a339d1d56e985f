"""One object in a store: check, fetch, put and delete it. Importing this module loads obstore.

An object appears at once when its upload is complete. There is no visible partial object, and nothing to rename.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from core.clock import Clock, SystemClock
from core.errors import OutputError, PackError, ParameterError
from remediation.exports.destinations.object_store_errors import (
    AGAIN,
    NOTHING_PUT,
    failure_of,
    is_of_the_bucket,
    is_unreadable,
    may_pass,
    status_of,
    unreadable,
    unusable,
)
from remediation.exports.destinations.object_store_settings import (
    MOST_PART_RETRIES,
    MOST_RETRIES,
    client_options,
    endpoint,
    retry_config,
)
from remediation.exports.destinations.object_url import ObjectUrl
from remediation.exports.files.partial_file import CLAIM_SUFFIX
from remediation.exports.files.path_checks import PRIVATE, reason

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore as Store

T = TypeVar("T")

# The smallest limit of the stores for one request is 5 GB. Only a single request can be conditional on a missing
# object: Google has no conditions for an upload in parts, and obstore sends none.
ONE_REQUEST_BYTES = 4 << 30
# S3 accepts 10,000 parts: enough for 160 GB. R2 requires the same size for all parts but the last.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 2
BLOCK_BYTES = 8 << 20

# How long an unavailable store is retried by default.
RETRY_WINDOW_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0

# How long a process waits for an optional deletion. It may have received a signal to end.
DISCARD_SECONDS = 2.0

# A run takes over another run's claim after this time. No completion lasts as long.
LONGEST_CLAIM = timedelta(hours=1)


class ObjectStore:
    """The object at a URL, in a store with the settings of the environment.

    Every method retries an unavailable store (no connection, 429, 5xx). It ends within a known time: its retries and
    one more request (see remediation.exports.destinations.object_store_settings).

    Raises: ConnectionSettingsError. Every method: ParameterError if the store refuses the request or has no such
    bucket, OutputError if it can't be reached.
    """

    def __init__(self, url: ObjectUrl, *, clock: Clock | None = None) -> None:
        self.url = url
        self._clock = clock or SystemClock()
        # Different in every run, and so is its ETag.
        self._token = secrets.token_bytes(16)
        self._endpoint = endpoint(url.scheme)
        self._store = self._open(PART_BYTES)

    def beside(self, suffix: str) -> ObjectStore:
        """Return the object whose key is this one's with a suffix."""
        other = copy(self)
        other.url = self.url._replace(key=self.url.key + suffix)
        return other

    def exists(self) -> bool:
        """Return whether the object exists."""
        return self._retry(self._exists)

    def put(self, source: Path, *, create: bool, patience_seconds: float = RETRY_WINDOW_SECONDS) -> None:
        """Upload the file. create: only if there is no object yet.

        An existing object with the same content is no error: the answer to an earlier try may have been lost.

        Raises: ParameterError also if, with `create`, another object exists. After an OutputError the object does not
        exist, and parts of the upload are aborted if the store could be reached.
        """

        def put() -> None:
            try:
                self._put(source, create=create)
            except _Occupied:
                if not self._has_same_content(source):
                    raise self.already_exists() from None
            except _Missing:
                # The upload may be complete, and only the answer lost. The same holds for _Unavailable.
                if not self._has_arrived(source):
                    message = f"{str(self.url)!r} could not be written: the store does not find its place (HTTP 404)"
                    raise OutputError(message, path=str(self.url), help=AGAIN) from None
            except _Unavailable:
                if not self._has_arrived(source):
                    raise

        self._retry(put, patience_seconds)

    def _put(self, source: Path, *, create: bool) -> None:
        """Upload the file in one try. Raises: _Occupied, _Missing, _Unavailable, ParameterError, OutputError."""
        # As late as possible, for stores that do not support conditions or ignore them.
        if create and self._exists():
            raise _Occupied
        try:
            is_small = self._ask(source.stat).st_size <= ONE_REQUEST_BYTES
            put = partial(self._put_at_once if is_small else self._put_parts, source, create=create)
            self._ask(put, {412: _Occupied, 501: _Unconditional} if create else {})
        except _Unconditional:
            if self._exists():
                raise _Occupied from None
            self._put(source, create=False)

    def fetch(self, to: Path, *, most: int | None = None) -> bool:
        """Write the object to a new file, block by block. Return False if there is no such object.

        most: write only this many bytes of a larger object.
        """
        try:
            size = self._retry(self._size)
            size = size if most is None else min(size, most)
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
            with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor
                for start in range(0, size, BLOCK_BYTES):
                    file.write(self._retry(partial(self._block, start, size)))
        except _Missing:
            return False
        except OSError as error:
            raise OutputError(f"{str(self.url)!r} could not be fetched to this machine: {reason(error)}") from error
        return True

    def delete(self) -> None:
        """Delete the object. A missing object is no error."""
        with suppress(_Missing):
            self._retry(lambda: self._ask(lambda: obstore.delete(self._store, self.url.key)))

    def discard(self) -> None:
        """Delete the object in one try, without errors."""
        with suppress(BaseError, ValueError, OSError, NotImplementedError):
            _on_a_thread(partial(obstore.delete, self._store, self.url.key), DISCARD_SECONDS)

    def already_exists(self) -> PackError:
        """Return the error for an existing object that must not be replaced."""
        message = "an object already exists and may be evidence. Give another key, or set overwrite to true"
        own = " An interrupted run of this call may have written the object."
        return ParameterError.at("/destination", message, help=NOTHING_PUT + own)

    def _retry(self, act: Callable[[], T], seconds: float = RETRY_WINDOW_SECONDS) -> T:
        """Call `act` until it succeeds or this time is over. Raises: OutputError, and the errors of `act`."""
        until = self._clock.monotonic() + seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return act()
            except _Unavailable as unavailable:
                failure = unavailable.failure
            if self._clock.monotonic() + pause > until:
                raise failure
            self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _exists(self) -> bool:
        try:
            # A byte and not only the head: only the body of a refusal tells whether the bucket exists.
            get = partial(obstore.get, self._store, self.url.key, options={"range": (0, 1)})
            meta = self._ask(lambda: get().meta, {416: _Empty})
        except _Missing:
            return False
        except (_Empty, _Unreadable):
            # Stores answer differently if there is no first byte.
            try:
                meta = self._ask(lambda: obstore.head(self._store, self.url.key))
            except _Missing:
                return False
            if meta["size"] > 0:
                raise _Unreadable(unreadable(self.url)) from None
        if meta["e_tag"] is None:
            # Every store sends an ETag.
            raise _Unreadable(unreadable(self.url))
        return True

    def _open(self, size: int, retries: int = MOST_RETRIES) -> Store:
        """Open the store for requests of up to `size` bytes; the size sets their timeout. Takes 20 ms."""
        bucket, at = self.url.bucket, self._endpoint
        client, retry = client_options(at, size), retry_config(retries)
        try:
            match self.url.scheme:
                case "s3":
                    # Both, because obstore would take a missing one from the environment.
                    url = {} if at.url is None else {"endpoint": at.url, "aws_endpoint_url_s3": at.url}
                    # Delete one object at a time: every S3-compatible store supports that.
                    config = {**url, "disable_bulk_delete": True}
                    if not self._endpoint.is_of(bucket):
                        # Otherwise the store would read the first part of the key as the bucket.
                        config["virtual_hosted_style_request"] = False
                    return S3Store(bucket, config=config, client_options=client, retry_config=retry)  # type: ignore[arg-type]  # built in parts
                case "gs":
                    return GCSStore(bucket, client_options=client, retry_config=retry)
                case "az":
                    # obstore would call an emulator over plain http on any machine.
                    config = {"use_emulator": False}
                    return AzureStore(bucket, config=config, client_options=client, retry_config=retry)  # type: ignore[arg-type]  # as above
        except (BaseError, ValueError, OSError):
            pass
        # Outside the handler, so that the error does not contain obstore's text as its context.
        raise unusable(self.url)

    def _ask(self, request: Callable[[], T], expected: Mapping[int, type[Exception]] | None = None) -> T:
        """Return the store's answer. expected: errors that the caller handles, by HTTP status.

        Raises: PackError without obstore's text.
        """
        try:
            return _on_a_thread(request) if threading.current_thread() is threading.main_thread() else request()
        except (BaseError, ValueError, OSError, NotImplementedError) as error:
            failure = self._failure(error, expected or {})
        raise failure

    def _failure(self, error: Exception, expected: Mapping[int, type[Exception]]) -> Exception:
        # obstore's own error has no errno. One with an errno is about a local file.
        absent = isinstance(error, FileNotFoundError) and error.errno is None
        if absent and not is_of_the_bucket(error):
            return _Missing()
        # Errors before any request, and errors with another status in each store.
        known: dict[type[Exception], int] = {
            NotSupportedError: 501, NotImplementedError: 501, AlreadyExistsError: 412, PreconditionError: 412,
        }  # fmt: skip
        status = known.get(type(error)) or status_of(error) or 0
        if status in expected:
            return expected[status]()
        failure = failure_of(error, self.url)
        if not isinstance(failure, OutputError) or not may_pass(error):
            return failure
        return _Unreadable(failure) if is_unreadable(error) else _Unavailable(failure)

    def _put_at_once(self, source: Path, *, create: bool) -> None:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Mapped, so that the process never holds the complete file in memory.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
            store = self._store if size <= PART_BYTES else self._open(size)
            obstore.put(store, self.url.key, data, mode=mode, use_multipart=False)

    def _put_parts(self, source: Path, *, create: bool) -> None:
        claim = self.beside(CLAIM_SUFFIX) if create else None
        held = False

        def pieces() -> Iterator[bytes]:
            nonlocal held
            yield from _pieces(source)
            # The last step before the upload completes. An error here aborts it. obstore does not allow a call within
            # its own call on the same thread.
            if claim is not None:
                _on_a_thread(claim._claim)
                held = True
                if _on_a_thread(self._exists):
                    raise AlreadyExistsError

        try:
            obstore.put(
                self._open(PART_BYTES, MOST_PART_RETRIES),
                self.url.key,
                pieces(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        finally:
            if claim is not None and held:
                with suppress(PackError, _Missing, _Unavailable):
                    self._ask(partial(obstore.delete, self._store, claim.url.key))

    def _claim(self) -> None:
        """Create this object as the claim of one run. A store without conditions accepts every claim.

        Raises: OutputError if another run has the claim; _Unavailable, ParameterError.
        """
        mode: PutMode = "create"
        for _ in range(3):
            put = partial(obstore.put, self._store, self.url.key, self._token, mode=mode, use_multipart=False)
            try:
                self._ask(put, {412: _Occupied, 501: _Unconditional})
            except (_Occupied, _Missing):
                try:
                    held = self._ask(lambda: obstore.get(self._store, self.url.key))
                    token = bytes(self._ask(held.bytes))
                except _Missing:
                    mode = "create"
                    continue
                if token != self._token:
                    if self._clock.now() - held.meta["last_modified"] < LONGEST_CLAIM:
                        break
                    mode = {"e_tag": held.meta["e_tag"]}
                    if held.meta["version"] is not None:
                        mode["version"] = held.meta["version"]
                    continue
            except _Unconditional:
                pass
            return
        message = f"{str(self.url).removesuffix(CLAIM_SUFFIX)!r} is being completed by another run"
        raise OutputError(message, path=str(self.url), help=AGAIN)

    def _has_arrived(self, source: Path) -> bool:
        try:
            return self._has_same_content(source)
        except (PackError, OSError, _Unavailable):
            return False

    def _has_same_content(self, source: Path) -> bool:
        try:
            size = self._size()
            if size != source.stat().st_size:
                return False
            there = _sha256(self._block(start, size) for start in range(0, size, BLOCK_BYTES))
            return there == _sha256(_pieces(source))
        except _Missing:
            # The store refused the upload, but there is no object: another writer is uploading it now.
            message = f"{str(self.url)!r} is being written by another program"
            raise _Unavailable(OutputError(message, path=str(self.url), help=AGAIN)) from None

    def _size(self) -> int:
        return self._ask(lambda: obstore.head(self._store, self.url.key))["size"]

    def _block(self, start: int, size: int) -> bytes:
        end = min(start + BLOCK_BYTES, size)
        block = bytes(self._ask(lambda: obstore.get_range(self._store, self.url.key, start=start, end=end)))
        if len(block) != end - start:
            raise _Unreadable(unreadable(self.url))
        return block


class _Unavailable(Exception):
    """The store is unavailable. failure: the error if that lasts."""

    def __init__(self, failure: PackError) -> None:
        super().__init__()
        self.failure = failure


class _Unreadable(_Unavailable):
    """The answer is unreadable."""


class _Missing(Exception):
    """There is no such object."""


class _Empty(Exception):
    """The object is empty."""


class _Occupied(Exception):
    """An object already exists."""


class _Unconditional(Exception):
    """The store does not support conditions."""


def _on_a_thread(work: Callable[[], T], seconds: float | None = None) -> T:
    """Run the work on a thread and return its result, so that a signal need not wait for a request.

    Raises: the error of the work; TimeoutError after this time, while the work continues.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- the waiting thread raises it
            outcome.set_exception(error)

    # The process does not wait for the thread at its end.
    threading.Thread(target=run, daemon=True).start()
    return outcome.result(seconds)


def _pieces(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(PART_BYTES):
            yield piece


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
