"""The files of runs: their folder, the workspaces in it, and the stores that callers may name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import NotFound, OutputError, ParameterError
from core.json_values import shown
from core.private_files import NotPrivate, make_private_directory
from platforms.workspace.workspace import Workspace

WORKSPACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", flags=re.ASCII)


class ServedFiles:
    """The folder with one workspace for each run. run_directory: returns the folder of a run of the run store, or None.

    Raises: NotPrivate if the folder can't be used.
    """

    def __init__(self, root: Path, stores: tuple[str, ...], run_directory: Callable[[str], Path | None]) -> None:
        make_private_directory(root)
        self.root = root
        self._stores = stores
        self._run_directory = run_directory

    def workspace(self, directory: Path) -> Workspace:
        """Return the workspace in a folder."""
        return Workspace(directory, self._stores, self.directory_of, above=self.root)

    def new_workspace(self) -> Workspace:
        """Return the workspace of a run that has not begun, to check names of files."""
        return self.workspace(self.root / ".new")

    def open_workspace(self, workspace_id: str) -> Workspace:
        """Return a workspace, and create its folder if it is missing. That of a run is read only.

        Raises: ParameterError, OutputError.
        """
        if not WORKSPACE_ID.fullmatch(workspace_id):
            raise ParameterError.at("/workspace", "not a valid ID: use letters, digits, `.`, `_` and `-`")
        known = self._run_directory(workspace_id)
        if known is not None:
            return replace(self.workspace(known), read_only=True)
        directory = self.root / workspace_id
        try:
            make_private_directory(directory)
        except NotPrivate:
            if os.path.lexists(directory):
                raise ParameterError.at("/workspace", "not a workspace of this service") from None
            raise OutputError("the workspace can't be created", help="Nothing was run. Free disk space.") from None
        return self.workspace(directory)

    def directory_of(self, run_id: str) -> Path:
        """Return the folder of a run or a workspace. Raises: NotFound."""
        if WORKSPACE_ID.fullmatch(run_id):
            known = self._run_directory(run_id)
            if known is not None:
                return known
            path = self.root / run_id
            if path.is_dir() and not path.is_symlink():
                return path
        raise NotFound(f"there is no run {shown(run_id)}", help="Nothing was changed. List the runs: GET /v1/runs")

    def serves(self, directory: Path) -> bool:
        """Return whether a folder is one of the workspaces. A run of the command line may have any folder."""
        return directory.parent == self.root
