"""The names of files in a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ParameterError
from platforms.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "run-1", ("s3://evidence/",), lambda run_id: tmp_path / run_id, above=tmp_path)


@pytest.mark.parametrize("length", [1, 200])
def test_files_of_a_run_with_an_id_of_any_length_can_be_named(
    workspace: Workspace, tmp_path: Path, length: int
) -> None:
    run_id = "r" * length
    assert workspace.place_to_read(f"run://{run_id}/rows.ndjson", "/file") == str(tmp_path / run_id / "rows.ndjson")


@pytest.mark.parametrize("run_id", ["", ".hidden", "..", "r" * 201])
def test_an_id_that_no_run_has_is_refused(workspace: Workspace, run_id: str) -> None:
    with pytest.raises(ParameterError):
        workspace.place_to_read(f"run://{run_id}/rows.ndjson", "/file")


def test_a_url_outside_the_allowed_stores_is_refused(workspace: Workspace) -> None:
    assert workspace.place_to_write("s3://evidence/a/rows.ndjson", "/file") == "s3://evidence/a/rows.ndjson"
    with pytest.raises(ParameterError, match="Allowed prefixes: `s3://evidence/`"):
        workspace.place_to_read("s3://other/rows.ndjson", "/file")


def test_results_name_files_and_no_path(workspace: Workspace, tmp_path: Path) -> None:
    given = {"file": f"{tmp_path}/run-1/rows.ndjson", "others": [f"{tmp_path}/run-2/rows.ndjson", 7]}
    assert workspace.without_paths(given) == {"file": "rows.ndjson", "others": ["run://run-2/rows.ndjson", 7]}
