"""Where a file is written on this machine on its way to its destination: a path, or an object in a store by its URL.

A file that goes to a path is written beside it. One that goes to a store is spooled in a private directory, which is
removed at the end, and put there when it is complete. Rows that the store can't keep stay on this machine.

>>> with placed("s3://evidence/case-42.zip", overwrite=False) as place:
...     with whole_file(checked_destination(place.path)) as file:
...         file.write(b"...")
...     place.deliver()
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from connectors.call_log import LOGGER
from core.clock import Clock
from core.errors import OutputError, PackError, ParameterError
from core.installation import command_to_add
from core.quantity import counted
from remediation.exports.destinations.object_url import is_url, parse
from remediation.exports.files.partial_file import CALLS_SUFFIX, CLAIM_SUFFIX, PARTIAL_SUFFIX, TRIAL_SUFFIX
from remediation.exports.files.path_checks import check_link, failed_before_writing, refuse
from remediation.exports.files.spool import Spool, spool
from remediation.exports.files.whole_file import taken

if TYPE_CHECKING:
    from remediation.exports.destinations.object_store import ObjectStore

# How long a store that is away is tried again for a finished file, or for rows that are kept; and where it has been
# tried so long already.
DELIVERY_SECONDS = 120.0
LEAST_PATIENCE_SECONDS = 5.0


class Place(Protocol):
    """A file's way to its destination."""

    @property
    def name(self) -> str:
        """The destination, as a record of the file names it."""

    @property
    def path(self) -> str | os.PathLike[str]:
        """Where to write the file, for `checked_destination`."""

    @property
    def overwrite(self) -> bool:
        """Whether a file that is at `path` may be replaced."""

    @property
    def spooled(self) -> bool:
        """Whether `path` is only on the way to the destination."""

    @property
    def partial_name(self) -> str:
        """How to speak of the partial file beside `path`."""

    def kept(self, rows: int) -> str:
        """What is left of so many rows in the partial file when this run fails, as a sentence."""

    def fetch_partial(self, sha256: str) -> None:
        """Bring the partial file that an earlier run has kept beside `path`. sha256: of its rows.

        Raises:
            ParameterError: there is none (pointer `/resume`).
            OutputError: it can't be had at present.
        """

    def keep_partial(self, *, rows_changed: bool = True) -> None:
        """Keep what is in the partial file for a later run, on whatever machine.

        rows_changed: whether its rows are others than those that were brought.

        Raises:
            ParameterError, OutputError: it can't be kept; an earlier one still is.
        """

    def trial(self, size: int) -> AbstractContextManager[Callable[[], None]]:
        """Give what uploads so many zeros, as often as it is called. They are deleted at the end of the block.

        They are an object of their own: what another run has kept stays as it is.

        Raises (so does what is given): ParameterError, OutputError.
        """

    def keep_here(self, sha256: str) -> Path | None:
        """Keep it for a later run on this machine, where it can't be kept for any other. None: it can't be, either.

        sha256: of the rows, which a later `fetch_partial` finds it by. Nothing more can be written to it then.
        """

    def deliver(self, source: Path | None = None) -> None:
        """Put the file at `path`, or at `source`, at the destination, whole, and give up what is kept of it.

        Raises:
            ParameterError: something is there already, or the store refuses it.
            OutputError: it could not be put there.
        """


@contextlib.contextmanager
def placed(
    destination: str,
    *,
    overwrite: bool,
    resumed: bool = False,
    bundle: bool = False,
    clock: Clock | None = None,
    time_left: Callable[[], float | None] = lambda: None,
) -> Iterator[Place]:
    """The way to a destination, for as long as the block lasts.

    resumed: an earlier run has begun it; what has come to be there since is then for `deliver` to refuse. bundle: it is
    a bundle of evidence, whose partial file has the calls beside it. time_left: seconds, which a store that is away is
    not tried beyond; None: no limit.

    Raises:
        ParameterError: nothing can be put there, or something is there already and `overwrite` is not set (pointer
            `/destination`).
        ConnectionSettingsError: the store's settings can't be used.
        OutputError: the store can't be reached.
    """
    names = (PARTIAL_SUFFIX, CALLS_SUFFIX, CLAIM_SUFFIX, TRIAL_SUFFIX)
    if destination.lower().endswith(names):
        # Once finished it would be what an export to the name without it takes for its own, and gives up.
        refuse(destination, f"{', '.join(names[:-1])} and {names[-1]} are the names of what is not complete")
    if not is_url(destination):
        # What is there is not replaced in the end either; but nobody wants to wait for that.
        if not overwrite and _is_there(destination):
            taken(destination)
        yield LocalPlace(destination, overwrite=overwrite)
        return
    url = parse(destination)
    check_installed()
    from remediation.exports.destinations.object_store import ObjectStore  # noqa: PLC0415 -- 15 MB, for URLs only

    store = ObjectStore(url, clock=clock)
    if not resumed and store.exists() and not overwrite:
        raise store.taken()
    with spool() as opened:
        suffixes = (CALLS_SUFFIX, PARTIAL_SUFFIX) if bundle else (PARTIAL_SUFFIX,)
        name = "file.zip" if bundle else "file"
        yield ObjectPlace(
            store, opened, name, overwrite=overwrite, resumed=resumed, suffixes=suffixes, time_left=time_left
        )


def _is_there(path: str) -> bool:
    """A file or a link. What else is in the way is told of where it is opened."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, ValueError):
        return False
    except OSError as error:
        failed_before_writing(path, error)
    if stat.S_ISLNK(found.st_mode):
        check_link(Path(path))
    return stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)


def check_installed() -> None:
    """Raises: ParameterError where the extra `objectstore` is not there."""
    try:
        import obstore  # noqa: F401, PLC0415 -- see above
    except ImportError:
        message = "a URL needs the extra `objectstore` (obstore), which is not installed. To add it: "
        message += command_to_add("objectstore")
        raise ParameterError(problems=[{"pointer": "/destination", "message": message}]) from None


class LocalPlace:
    """A path: what is written is there already."""

    spooled = False

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        self.path = path
        self.overwrite = overwrite
        self.name = str(Path(path))
        self.partial_name = repr(self.name + PARTIAL_SUFFIX)

    def kept(self, rows: int) -> str:
        """See Place."""
        return f"{counted(rows, 'row is', 'rows are')} kept in {self.partial_name}."

    def fetch_partial(self, sha256: str) -> None:
        """It is beside the path."""

    def keep_partial(self, *, rows_changed: bool = True) -> None:
        """It is beside the path."""

    def trial(self, size: int) -> AbstractContextManager[Callable[[], None]]:  # noqa: ARG002 -- nothing to upload
        """It is beside the path."""
        return contextlib.nullcontext(lambda: None)

    def keep_here(self, sha256: str) -> Path | None:  # noqa: ARG002 -- beside the path nothing needs a name
        """It can't be: the disk it would be on is the one that failed."""
        return None

    def deliver(self, source: Path | None = None) -> None:
        """It is at the path."""


class ObjectPlace:
    """An object: the file is spooled at `path`, the partial one is kept as `<key>.partial`.

    suffixes: of all that is kept, the partial file's last. What lies beside it is then never older than the rows.
    """

    spooled = True

    def __init__(
        self,
        store: ObjectStore,
        spool: Spool,
        name: str,
        *,
        overwrite: bool,
        resumed: bool,
        suffixes: Sequence[str],
        time_left: Callable[[], float | None],
    ) -> None:
        self.path = path = spool.path / name
        self.name = str(store.url)
        self._spool = spool
        self._store = store
        self._partial = store.beside(PARTIAL_SUFFIX)
        self._trial = store.beside(TRIAL_SUFFIX)
        self._parts = [(path.with_name(path.name + suffix), store.beside(suffix)) for suffix in suffixes]
        self.partial_name = f"the file spooled for {self.name!r}"
        # At the spool nothing is in the way; what is at the destination is the store's to find out.
        self.overwrite = True
        self._replace = overwrite
        # Whether a part of the export is beside the destination.
        self._is_there = resumed
        self._time_left = time_left
        self._patience_seconds = DELIVERY_SECONDS

    def kept(self, rows: int) -> str:  # noqa: ARG002 -- how many those are is in the `resume`
        """See Place."""
        return f"What was read is kept, in {str(self._partial.url)!r}, only where there is a `resume` to go on with."

    def fetch_partial(self, sha256: str) -> None:
        """See Place."""
        if self._spool.fetch(sha256):
            return
        found = [part.fetch(path) for path, part in self._parts]
        # No calls are there where the settings name a record of them.
        if not found[-1]:
            name = repr(str(self._partial.url))
            raise ParameterError(
                problems=[{"pointer": "/resume", "message": f"there is no partial object {name} to go on with"}],
                help="Nothing was changed. If the object is at the destination, the export was finished. If the rows "
                "were kept on a machine, run it there, with the same TMPDIR. Else give the destination of the first "
                "call, or export again without `resume`.",
            )

    def keep_partial(self, *, rows_changed: bool = True) -> None:
        """See Place."""
        for path, part in self._parts if rows_changed or self._spool.is_kept else self._parts[:-1]:
            if path.exists():
                self._put(part, path, create=False)
                self._is_there = True
        self._spool.forget()

    @contextlib.contextmanager
    def trial(self, size: int) -> Iterator[Callable[[], None]]:
        """See Place."""
        zeros = self._spool.path / "trial"
        try:
            with zeros.open("wb") as file:
                file.truncate(size)
        except OSError as error:
            failed_before_writing(self.name, error)
        try:
            yield lambda: self._put(self._trial, zeros, create=False)
        finally:
            # A signal ends the block too.
            zeros.unlink()
            self._trial.discard()

    def keep_here(self, sha256: str) -> Path | None:
        """See Place."""
        return self._spool.keep(sha256, [path.name for path, _ in self._parts])

    def deliver(self, source: Path | None = None) -> None:
        """See Place."""
        self._put(self._store, Path(self.path) if source is None else source, create=not self._replace)
        self._spool.forget()
        # The rows first: without them nothing goes on, and nothing would go on without its calls.
        for _, part in reversed(self._parts):
            try:
                part.delete()
            except PackError as error:
                # What was asked for is done. A run that kept nothing may have left nothing there, and may not delete.
                if self._is_there:
                    LOGGER.warning("%s is delivered, but %s is left: %s", self.name, part.url, error.message)
        # Of a run that was killed in its trial.
        self._trial.discard()

    def _put(self, store: ObjectStore, source: Path, *, create: bool) -> None:
        left = self._time_left()
        seconds = self._patience_seconds if left is None else min(self._patience_seconds, left)
        try:
            store.put(source, create=create, patience_seconds=seconds)
        except OutputError:
            # It has been waited for. What is put in place of the file, to keep the rows, need not wait as long again.
            self._patience_seconds = LEAST_PATIENCE_SECONDS
            raise
