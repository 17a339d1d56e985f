"""A workspace: the folder of one run, with the files that a remote caller may name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import NotFound, OutputError, ParameterError
from core.json_values import shown
from remediation.exports.destinations.object_url import is_url, parse

# A file of another run: `run://RUN_ID/NAME`.
OTHER_RUN = "run://"

# Each part of a name. None begins with a dot, so that no part is `..` and no file is hidden.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", flags=re.ASCII)
# As in the run store.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", flags=re.ASCII)
MOST_PARTS = 4
MOST_FILES = 1000

# Partial files and records of an export that has not ended.
_UNFINISHED = (".partial", ".calls", ".claim", ".trial")

NAME_RULE = (
    "give the name of a file in the run's workspace, such as `rows.ndjson`: letters, digits, `.`, `_` and `-`, at most "
    "128 characters, with `/` only between a folder and a file"
)


@dataclass(frozen=True)
class WorkspaceFile:
    """A file in a workspace. size: in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Workspace:
    """The files that a remote caller may name in one run.

    directory: the run's own folder. stores: prefixes of the URLs of allowed objects, such as `s3://evidence/`.
    directory_of: returns the folder of another run, or raises NotFound. url: of a run whose files are objects.
    above: the folder of all workspaces. read_only: the caller may not write files.
    """

    directory: Path
    stores: Sequence[str] = ()
    directory_of: Callable[[str], Path] | None = None
    url: str | None = None
    above: Path | None = None
    read_only: bool = False

    def place_to_read(self, given: str, pointer: str) -> str:
        """Return the path of a file, or the URL of an object. Raises: ParameterError, NotFound for another run."""
        if given.startswith(OTHER_RUN):
            run_id, _, name = given.removeprefix(OTHER_RUN).partition("/")
            if self.directory_of is None or not _RUN_ID.fullmatch(run_id):
                raise ParameterError.at(pointer, f"not a file of a run: {NAME_RULE}, or `run://RUN_ID/NAME`")
            return str(path_in(self.directory_of(run_id), name, pointer))
        return self.place_to_write(given, pointer)

    def place_to_write(self, given: str, pointer: str) -> str:
        """Return the path of a file in the run's folder, or the URL of an object. Raises: ParameterError."""
        if is_url(given):
            return self._check_url(given, pointer)
        with suppress(ValueError):
            # A playbook builds its paths from `run.directory`.
            given = str(Path(given).relative_to(self.directory)) if given.startswith(f"{self.directory}/") else given
        if self.url is not None:
            return f"{self.url}/{_check_name(given, pointer)}"
        return str(path_in(self.directory, given, pointer))

    def without_paths(self, value: Any) -> Any:
        """Return JSON with names in place of the paths of files, also of those of other runs.

        For a workspace in a folder of this machine: objects have no paths.
        """
        if isinstance(value, str):
            named = value.replace(f"{self.directory}/", "").replace(str(self.directory), ".")
            return named if self.above is None else named.replace(f"{self.above}/", OTHER_RUN)
        if isinstance(value, list):
            return [self.without_paths(each) for each in value]
        if isinstance(value, dict):
            return {name: self.without_paths(each) for name, each in value.items()}
        return value

    def _check_url(self, url: str, pointer: str) -> str:
        plain = str(parse(url, pointer))
        if any(plain.startswith(prefix) for prefix in self.stores):
            return plain
        known = ", ".join(f"`{prefix}`" for prefix in self.stores) or "none"
        raise ParameterError.at(
            pointer,
            f"objects at this URL are not allowed. Allowed prefixes: {known}. Or {NAME_RULE}",
            help="Nothing was changed. The operator allows object stores with CFES_HTTP_STORES.",
        )


def workspace_at(directory: str, stores: Sequence[str]) -> Workspace:
    """Return the workspace of a run whose files are in a folder of this machine or below a URL.

    Raises: ParameterError for a run without files.
    """
    if is_url(directory):
        return Workspace(Path(), (*stores, f"{directory}/"), url=directory)
    if not Path(directory).is_absolute():
        raise ParameterError("the run has no folder for files", help="Nothing was run. Set CFES_TEMPORAL_FILES.")
    return Workspace(Path(directory), stores)


def _check_name(name: str, pointer: str) -> str:
    parts = name.split("/")
    if len(parts) > MOST_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise ParameterError.at(pointer, f"not a file name: {NAME_RULE}")
    return name


def path_in(directory: Path, name: str, pointer: str) -> Path:
    """Return the path of a name in a folder. No part of it is a symbolic link. Raises: ParameterError."""
    parts = _check_name(name, pointer).split("/")
    path = directory
    for number, part in enumerate(parts, 1):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ParameterError.at(pointer, f"the file can't be used: {error.strerror}") from None
        if stat.S_ISLNK(mode) or not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and number == len(parts))):
            raise ParameterError.at(pointer, "not a regular file in the run's workspace")
    return path


def files_in(directory: Path) -> list[WorkspaceFile]:
    """Return the finished files of a workspace, at most 1,000, sorted by name."""
    found = []
    for path in _regular_files(directory, MOST_PARTS):
        name = str(path.relative_to(directory))
        with suppress(OSError):
            if not name.endswith(_UNFINISHED) and all(_PART.fullmatch(part) for part in name.split("/")):
                found.append(WorkspaceFile(name, path.lstat().st_size))
        if len(found) == MOST_FILES:
            break
    return sorted(found, key=lambda file: file.name)


def open_file(directory: Path, name: str) -> IO[bytes]:
    """Open a finished file of a workspace. Raises: NotFound, OutputError."""
    missing = NotFound(f"the run has no file {shown(name)}", help="Nothing was changed. List the run's files.")
    try:
        path = path_in(directory, name, "/name")
    except ParameterError:
        raise missing from None
    if name.endswith(_UNFINISHED):
        raise missing
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise missing from None
    except OSError as error:
        raise OutputError(f"the file {shown(name)} can't be read: {error.strerror}", path=name) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise missing
    return os.fdopen(descriptor, "rb")


def _regular_files(directory: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False) and depth > 1:
            yield from _regular_files(Path(entry.path), depth - 1)
