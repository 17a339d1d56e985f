"""Places: the local path of a file that goes to a destination, which is a path or an object in a store.

A file for a path is written beside it. A file for a store is spooled in a private directory, uploaded when it is
complete, and removed from the spool. Rows that the store can't keep stay on this machine.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.call_log import LOGGER
from core.clock import Clock
from core.errors import OutputError, PackError, ParameterError
from core.installation import check_extra
from core.quantity import counted
from remediation.exports.destinations.object_url import is_url, parse
from remediation.exports.files.atomic_file import raise_exists
from remediation.exports.files.partial_file import CALLS_SUFFIX, CLAIM_SUFFIX, PARTIAL_SUFFIX, TRIAL_SUFFIX
from remediation.exports.files.path_checks import check_link, failed_before_writing, refuse
from remediation.exports.files.spool import Spool, open_spool

if TYPE_CHECKING:
    from remediation.exports.destinations.object_store import ObjectStore

# How long an unavailable store is retried for a finished file or for kept rows; and after such a retry has failed.
DELIVERY_SECONDS = 120.0
LEAST_PATIENCE_SECONDS = 5.0


class Place:
    """A path as the destination: the file is written there, and its partial file stays beside it.

    name: the destination's name in a record of the file. path: where to write the file, for `checked_destination`.
    overwrite: whether an existing file at `path` may be replaced. partial_name: the partial file's name in errors.
    """

    # Whether `path` is only a temporary place before an upload.
    spooled = False

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        self.path = path
        self.overwrite = overwrite
        self.name = str(Path(path))
        self.partial_name = repr(self.name + PARTIAL_SUFFIX)

    def kept(self, rows: int) -> str:
        """Return a sentence on the kept rows for an error of this run."""
        return f"{counted(rows, 'row is', 'rows are')} kept in {self.partial_name}."

    def fetch_partial(self, sha256: str) -> None:
        """Fetch the partial file of an earlier run to its place beside `path`. sha256: of its rows.

        Raises: ParameterError if there is none (pointer `/resume`); OutputError if it is not available at present.
        """

    def keep_partial(self, *, rows_changed: bool = True) -> None:
        """Keep the partial file for a later run on any machine. rows_changed: whether the rows differ from the fetched.

        Raises: ParameterError, OutputError. An earlier partial file stays.
        """

    @contextlib.contextmanager
    def trial(self, size: int) -> Iterator[Callable[[], None]]:  # noqa: ARG002 -- a path needs no upload
        """Return a function that uploads `size` zeros on each call. They are deleted at the end of the block.

        The zeros are a separate object, so the kept rows of other runs stay unchanged.
        Raises (the function too): ParameterError, OutputError.
        """
        yield lambda: None

    def keep_here(self, sha256: str) -> Path | None:  # noqa: ARG002 -- the disk that failed is the only one
        """Keep the partial file on this machine only, and return its directory, or None if that fails.

        sha256: of the rows; a later `fetch_partial` finds the file by it. After this call nothing can be written to it.
        """
        return None

    def deliver(self, source: Path | None = None) -> None:
        """Put the complete file from `path` or `source` at the destination, and remove its kept parts.

        Raises: ParameterError if the destination already exists or the store refuses it; OutputError.
        """


@contextlib.contextmanager
def open_place(
    destination: str,
    *,
    overwrite: bool,
    resumed: bool = False,
    bundle: bool = False,
    clock: Clock | None = None,
    time_left: Callable[[], float | None] = lambda: None,
) -> Iterator[Place]:
    """Open the place for a destination, for the duration of the block.

    resumed: an earlier run began the export; `deliver` then refuses an existing destination. bundle: the file is an
    evidence bundle, with a record of calls beside its partial file. time_left: returns the seconds for retries of an
    unavailable store; None: no limit.

    Raises: ParameterError if the destination is not writable, or exists without `overwrite` (pointer `/destination`);
    ConnectionSettingsError for the store's settings; OutputError if the store can't be reached.
    """
    names = (PARTIAL_SUFFIX, CALLS_SUFFIX, CLAIM_SUFFIX, TRIAL_SUFFIX)
    if destination.lower().endswith(names):
        # An export to the name without the suffix would treat the finished file as its own partial file and remove it.
        refuse(destination, f"the endings {', '.join(names[:-1])} and {names[-1]} are reserved for unfinished exports")
    if not is_url(destination):
        # The final rename checks this again. This check saves the wait.
        if not overwrite and _exists(destination):
            raise_exists(destination)
        yield Place(destination, overwrite=overwrite)
        return
    url = parse(destination)
    check_extra("objectstore", "obstore", "/destination", "a URL")
    from remediation.exports.destinations.object_store import ObjectStore  # noqa: PLC0415 -- 15 MB, for URLs only

    store = ObjectStore(url, clock=clock)
    if not resumed and store.exists() and not overwrite:
        raise store.already_exists()
    with open_spool() as spool:
        yield ObjectPlace(store, spool, overwrite=overwrite, resumed=resumed, bundle=bundle, time_left=time_left)


def _exists(path: str) -> bool:
    """Return whether a file or link exists. Opening the file reports any other obstacle."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, ValueError):
        return False
    except OSError as error:
        failed_before_writing(path, error)
    if stat.S_ISLNK(found.st_mode):
        check_link(Path(path))
    return stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)


class ObjectPlace(Place):
    """An object. The file is spooled at `path`; the partial file is kept as `<key>.partial`."""

    spooled = True

    def __init__(
        self,
        store: ObjectStore,
        spool: Spool,
        *,
        overwrite: bool,
        resumed: bool,
        bundle: bool,
        time_left: Callable[[], float | None],
    ) -> None:
        path = spool.path / ("file.zip" if bundle else "file")
        # The spool is empty. The store checks the destination.
        super().__init__(path, overwrite=True)
        self.name = str(store.url)
        self.partial_name = f"the file spooled for {self.name!r}"
        self._spool = spool
        self._store = store
        self._partial = store.beside(PARTIAL_SUFFIX)
        self._trial = store.beside(TRIAL_SUFFIX)
        # The rows last, so that the record of calls is never older than the rows.
        suffixes = (CALLS_SUFFIX, PARTIAL_SUFFIX) if bundle else (PARTIAL_SUFFIX,)
        self._parts = [(path.with_name(path.name + suffix), store.beside(suffix)) for suffix in suffixes]
        self._replace = overwrite
        # Whether the store has kept rows beside the destination.
        self._has_kept_rows = resumed
        self._time_left = time_left
        self._patience_seconds = DELIVERY_SECONDS

    def kept(self, rows: int) -> str:  # noqa: ARG002 -- the `resume` has their number
        return f"The rows are kept in {str(self._partial.url)!r} only if this error has a `resume`."

    def fetch_partial(self, sha256: str) -> None:
        if self._spool.fetch(sha256):
            return
        found = [part.fetch(path) for path, part in self._parts]
        # The last part has the rows. There is no record of calls if the settings name another one.
        if not found[-1]:
            raise ParameterError.at(
                "/resume",
                f"there is no partial object {str(self._partial.url)!r} to resume",
                help="Nothing was changed. If the object is at the destination, the export is finished. If a "
                "machine kept the rows, run it there with the same TMPDIR. Otherwise give the destination of the "
                "first call, or export again without `resume`.",
            )

    def keep_partial(self, *, rows_changed: bool = True) -> None:
        for path, part in self._parts if rows_changed or self._spool.is_kept else self._parts[:-1]:
            if path.exists():
                self._put(part, path, create=False)
                self._has_kept_rows = True
        self._spool.forget()

    @contextlib.contextmanager
    def trial(self, size: int) -> Iterator[Callable[[], None]]:
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
        return self._spool.keep(sha256, [path.name for path, _ in self._parts])

    def deliver(self, source: Path | None = None) -> None:
        self._put(self._store, Path(self.path) if source is None else source, create=not self._replace)
        self._spool.forget()
        # The rows first: without them no run can resume, so none resumes without its calls.
        for _, part in reversed(self._parts):
            try:
                part.delete()
            except PackError as error:
                # The file is delivered. A run that kept no rows may lack the right to delete.
                if self._has_kept_rows:
                    LOGGER.warning(
                        "%s is delivered, but %s could not be deleted: %s", self.name, part.url, error.message
                    )
        # A run that was killed during its trial leaves zeros.
        self._trial.discard()

    def _put(self, store: ObjectStore, source: Path, *, create: bool) -> None:
        left = self._time_left()
        seconds = self._patience_seconds if left is None else min(self._patience_seconds, left)
        try:
            store.put(source, create=create, patience_seconds=seconds)
        except OutputError:
            # The next upload keeps the rows. It need not retry as long again.
            self._patience_seconds = LEAST_PATIENCE_SECONDS
            raise
