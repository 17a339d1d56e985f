"""A local copy of an object, for a file that an earlier call wrote to a store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from core.clock import Clock
from core.installation import check_extra
from remediation.exports.destinations.object_url import is_url, parse
from remediation.exports.files.spool import open_spool


@contextlib.contextmanager
def local_copy(
    source: str, pointer: str, *, clock: Clock | None = None, most: int | None = None
) -> Iterator[Path | None]:
    """Yield the path `source`, or the path of a private copy of the object at the URL `source`.

    The copy exists for the duration of the block. None: there is no such object. pointer: of the parameter that has the
    source. most: copy only this many bytes.
    Raises: ParameterError for an invalid URL; ConnectionSettingsError for the store's settings; OutputError if the
    store can't be reached.
    """
    if not is_url(source):
        yield Path(source)
        return
    url = parse(source, pointer)
    check_extra("objectstore", "obstore", pointer, "a URL")
    from remediation.exports.destinations.object_store import ObjectStore  # noqa: PLC0415 -- 15 MB, for URLs only

    with open_spool() as spool:
        path = spool.path / "copy"
        yield path if ObjectStore(url, clock=clock).fetch(path, most=most) else None
