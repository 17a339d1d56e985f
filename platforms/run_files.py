"""The files of a run that advance-run writes: in a directory, or in a folder of an object store."""

from __future__ import annotations

from pathlib import Path

from core.clock import Clock
from core.errors import OutputError, ParameterError
from core.json_values import shown
from playbooks.drivers.run_directory import make_run_directory
from remediation.exports.destinations.local_copy import local_copy
from remediation.exports.destinations.object_url import is_url, parse
from remediation.exports.destinations.place import open_place
from remediation.exports.files.atomic_file import atomic_file

DIRECTORY = "/directory"


class PlacedRunFiles:
    """Files by path or URL (see `playbooks.drivers.tick_state.RunFiles`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def open(self, directory: str) -> None:
        """Create the directory (mode 0700), or check the URL. Raises: ParameterError (pointer `/directory`)."""
        if is_url(directory):
            parse(f"{directory}/x", DIRECTORY)
            return
        try:
            if not Path(directory).is_absolute():
                raise ParameterError.at(DIRECTORY, "must be an absolute path, or a URL")
            make_run_directory(Path(directory))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a valid path"
            raise ParameterError.at(DIRECTORY, f"can't be used: {reason}") from None

    def put(self, directory: str, name: str, data: bytes) -> str:
        """Write a file (mode 0600) and return its place. Raises: ParameterError, OutputError."""
        with open_place(f"{directory}/{name}", overwrite=True, clock=self._clock) as place:
            with atomic_file(Path(place.path), name=place.name) as file:
                file.write(data)
            place.deliver()
        return place.name

    def get(self, place: str, size: int) -> bytes | None:
        """Return the first `size` bytes of a file, or None if it does not exist. Raises: OutputError."""
        with local_copy(place, DIRECTORY, clock=self._clock, most=size) as path:
            if path is None:
                return None
            try:
                with path.open("rb") as file:
                    return file.read(size)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise OutputError(f"{shown(place, 500)} can't be read: {error.strerror}", path=place) from None
