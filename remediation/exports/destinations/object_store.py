"""One object in a store: looked at, fetched, put whole or not at all, deleted. By obstore, which is loaded with this.

An object appears when its upload is complete, in one moment: there is no half of it to be seen, and nothing to rename.
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
    is_of_the_bucket,
    is_unreadable,
    may_pass,
    status_of,
    told,
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

# The smallest limit of the stores for one request is 5 GB. Only one request can be conditional on there being no
# object: Google has no conditions for an upload in parts, and obstore sends none.
ONE_REQUEST_BYTES = 4 << 30
# S3 takes 10,000 parts: enough for 160 GB. R2 wants all but the last to be of one size.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 2
BLOCK_BYTES = 8 << 20

# How long a store that is away is tried again, where the caller does not say.
LOOK_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0

# How long a process waits for a deletion that it can do without: it may have been told to end.
DISCARD_SECONDS = 2.0

# A claim that a killed run left is taken over after a time in which no completion is still under way.
LONGEST_CLAIM = timedelta(hours=1)


class ObjectStore:
    """The store that a URL leads to, with the settings of the environment.

    A store that is away (no connection, 429, 5xx) is tried again. Every method ends within a known time: that of its
    retries, and one request more (see remediation.exports.destinations.object_store_settings).

    Raises:
        ConnectionSettingsError: the settings can't be used.
    """

    def __init__(self, url: ObjectUrl, *, pointer: str = "/destination", clock: Clock | None = None) -> None:
        self.url = url
        self._pointer = pointer
        self._clock = clock or SystemClock()
        # Not the same in two runs, nor is then its ETag.
        self._token = secrets.token_bytes(16)
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
        return self._patiently(self._is_there, LOOK_SECONDS)

    def put(self, source: Path, *, create: bool, patience_seconds: float = LOOK_SECONDS) -> None:
        """Put the file there, in one moment. create: only where there is nothing yet.

        To put the same bytes where they are already is no error: an answer to the first try may have been lost.

        Raises:
            ParameterError: with `create`, another object is there; or the store refuses it.
            OutputError: it could not be put within `patience_seconds`. Nothing of it is there, and no part of an upload
                is left behind, as far as the store could still be told so.
        """

        def put() -> None:
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
            except _Away:
                # Only the answer may have been lost.
                if not self._has_arrived(source):
                    raise

        self._patiently(put, patience_seconds)

    def _put(self, source: Path, *, create: bool) -> None:
        """Raises: _Taken, _NotThere, _Away, ParameterError, OutputError."""
        # As late as can be, for stores that do not know conditions, or take them and do not keep to them.
        if create and self._is_there():
            raise _Taken
        try:
            whole = self._asked(source.stat).st_size <= ONE_REQUEST_BYTES
            put = partial(self._put_whole if whole else self._put_parts, source, create=create)
            self._asked(put, {412: _Taken, 501: _Unconditional} if create else {})
        except _Unconditional:
            if self._is_there():
                raise _Taken from None
            self._put(source, create=False)

    def fetch(self, to: Path) -> bool:
        """Write the object to a new file, block by block. False where there is no such object.

        Raises:
            ParameterError: reading is not allowed.
            OutputError: it could not be fetched, or the file not written.
        """
        try:
            size = self._patiently(self._size, LOOK_SECONDS)
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
            with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor
                for start in range(0, size, BLOCK_BYTES):
                    file.write(self._patiently(partial(self._block, start, size), LOOK_SECONDS))
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
            self._patiently(lambda: self._asked(lambda: obstore.delete(self._store, self.url.key)), LOOK_SECONDS)
        except _NotThere:
            return

    def discard(self) -> None:
        """Delete the object if the store does so at once. It is not tried again, and no error is raised."""
        with suppress(BaseError, ValueError, OSError, NotImplementedError):
            _on_a_thread(partial(obstore.delete, self._store, self.url.key), DISCARD_SECONDS)

    def taken(self) -> PackError:
        """What to say where another object is there, and must not be replaced."""
        message = "an object is there already: it may be evidence; choose another key, or set overwrite to true"
        own = " It may be this call's own, of a run that ended before it could say so."
        return ParameterError(problems=[{"pointer": self._pointer, "message": message}], help=NOTHING_PUT + own)

    def _patiently(self, act: Callable[[], T], seconds: float) -> T:
        """Do it, and again while the store is away, for so many seconds. Raises: OutputError, and what it raises."""
        until = self._clock.monotonic() + seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return act()
            except _Away as away:
                failure = away.failure
            if self._clock.monotonic() + pause > until:
                raise failure
            self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _is_there(self) -> bool:
        try:
            # A byte, not the head alone: only the body of the refusal says whether the bucket is there.
            asked = partial(obstore.get, self._store, self.url.key, options={"range": (0, 1)})
            meta = self._asked(lambda: asked().meta, {416: _Empty})
        except _NotThere:
            return False
        except (_Empty, _Unreadable):
            # Stores differ in what they answer where there is no first byte.
            try:
                meta = self._asked(lambda: obstore.head(self._store, self.url.key))
            except _NotThere:
                return False
            if meta["size"] > 0:
                raise _Unreadable(unreadable(self.url)) from None
        if meta["e_tag"] is None:
            # Every store gives one.
            raise _Unreadable(unreadable(self.url))
        return True

    def _opened(self, size: int, retries: int = MOST_RETRIES) -> Store:
        """The store, for requests with a body of up to `size` bytes: their time limit is the store's. Takes 20 ms."""
        bucket, at = self.url.bucket, self._endpoint
        client, retry = client_options(at, size), retry_config(retries)
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
        """What the store answers. expected: by HTTP status, what the caller deals with besides `_NotThere` and `_Away`.

        Raises: PackError in our words; it does not carry along what obstore quotes.
        """
        try:
            return _on_a_thread(ask) if threading.current_thread() is threading.main_thread() else ask()
        except (BaseError, ValueError, OSError, NotImplementedError) as error:
            failure = self._failure(error, expected or {})
        raise failure

    def _failure(self, error: Exception, expected: Mapping[int, type[Exception]]) -> Exception:
        # obstore's own has no errno; one that has is of a file on this machine.
        absent = isinstance(error, FileNotFoundError) and error.errno is None
        if absent and not is_of_the_bucket(error):
            return _NotThere()
        # Before any request, where the settings say so; and what each of the stores has a status of its own for.
        known: dict[type[Exception], int] = {
            NotSupportedError: 501, NotImplementedError: 501, AlreadyExistsError: 412, PreconditionError: 412,
        }  # fmt: skip
        status = known.get(type(error)) or status_of(error) or 0
        if status in expected:
            return expected[status]()
        failure = told(error, self.url, pointer=self._pointer)
        if not isinstance(failure, OutputError) or not may_pass(error):
            return failure
        return _Unreadable(failure) if is_unreadable(error) else _Away(failure)

    def _put_whole(self, source: Path, *, create: bool) -> None:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Mapped, so that the bytes go from the file to the network without ever being in this process's memory.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
            store = self._store if size <= PART_BYTES else self._opened(size)
            obstore.put(store, self.url.key, data, mode=mode, use_multipart=False)

    def _put_parts(self, source: Path, *, create: bool) -> None:
        claim = self.beside(CLAIM_SUFFIX) if create else None
        held = False

        def pieces() -> Iterator[bytes]:
            nonlocal held
            yield from _pieces(source)
            # The last thing before the upload is completed: what is raised here aborts it. obstore can't be asked from
            # within an answer to its own question, on the same thread.
            if claim is not None:
                _on_a_thread(claim._hold)
                held = True
                if _on_a_thread(self._is_there):
                    raise AlreadyExistsError

        try:
            obstore.put(
                self._opened(PART_BYTES, MOST_PART_RETRIES),
                self.url.key,
                pieces(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        finally:
            if claim is not None and held:
                with suppress(PackError, _NotThere, _Away):
                    self._asked(partial(obstore.delete, self._store, claim.url.key))

    def _hold(self) -> None:
        """Make this object, which is for one run at a time. A store that knows no conditions can't tell.

        Raises: OutputError where another run has it; _Away, ParameterError.
        """
        mode: PutMode = "create"
        for _ in range(3):
            put = partial(obstore.put, self._store, self.url.key, self._token, mode=mode, use_multipart=False)
            try:
                self._asked(put, {412: _Taken, 501: _Unconditional})
            except (_Taken, _NotThere):
                try:
                    held = self._asked(lambda: obstore.get(self._store, self.url.key))
                    token = bytes(self._asked(held.bytes))
                except _NotThere:
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
        message = f"{str(self.url).removesuffix(CLAIM_SUFFIX)!r} is being completed by another run at this moment"
        raise OutputError(message, path=str(self.url), help=AGAIN)

    def _has_arrived(self, source: Path) -> bool:
        try:
            return self._is_the_same(source)
        except (PackError, OSError, _Away):
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
            message = f"{str(self.url)!r} is being written by something else at this moment"
            raise _Away(OutputError(message, path=str(self.url), help=AGAIN)) from None

    def _size(self) -> int:
        return self._asked(lambda: obstore.head(self._store, self.url.key))["size"]

    def _block(self, start: int, size: int) -> bytes:
        end = min(start + BLOCK_BYTES, size)
        block = bytes(self._asked(lambda: obstore.get_range(self._store, self.url.key, start=start, end=end)))
        if len(block) != end - start:
            raise _Unreadable(unreadable(self.url))
        return block


class _Away(Exception):
    """The store can't be used at present. failure: what to say if it stays so."""

    def __init__(self, failure: PackError) -> None:
        super().__init__()
        self.failure = failure


class _Unreadable(_Away):
    """There is an answer, and nothing can be made of it."""


class _NotThere(Exception):
    """There is no such object."""


class _Empty(Exception):
    """The object holds nothing, not even the byte that was asked for."""


class _Taken(Exception):
    """There is an object, and there should be none."""


class _Unconditional(Exception):
    """The store does not know conditions."""


def _on_a_thread(work: Callable[[], T], seconds: float | None = None) -> T:
    """What the work gives, or raises. A signal that ends the wait need not wait for a request.

    Raises: TimeoutError after so many seconds; the work goes on.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- it is raised where it is waited for
            outcome.set_exception(error)

    # Nobody waits for it at the end of the process.
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
