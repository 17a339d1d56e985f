"""`import cfes`: actions and playbooks from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cfes
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from core.version import VERSION
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN

MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "idempotency_key": "case-42", "max_messages": 1000}

PLAYBOOK_TEXT = """
playbook: 1
id: move
title: Move mail
description: Creates a job.
inputs:
  search: {type: object, primary: true, description: What to search for.}
steps:
  - id: create
    title: Create the job
    action: create-move-job
    with:
      search_params: "{{ inputs.search }}"
      destination: JunkEmail
      max_messages: 1000
      idempotency_key: case-42
outputs:
  job_id: "{{ steps.create.job_id }}"
"""


@pytest.fixture
def connection_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**environment, "CFES_LISTING_LAG_SECONDS": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clock(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock(moved=sandbox.state.advance)
    monkeypatch.setattr("connectors.email_security.SystemClock", lambda: fake)
    monkeypatch.setattr("platforms.playbook_session.SystemClock", lambda: fake)
    return fake


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    file = tmp_path / "move.yaml"
    file.write_text(PLAYBOOK_TEXT)
    return file


def test_importing_cfes_loads_no_other_package() -> None:
    program = "import cfes, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    packages = {name.partition(".")[0] for name in loaded}
    assert not packages & {"actions", "connectors", "core", "platforms", "playbooks", "httpx", "pydantic", "typer"}


@pytest.mark.usefixtures("connection_settings", "clock")
def test_an_action_connects_with_the_environment_settings() -> None:
    made = cfes.run("create-move-job", MOVE)
    assert made["created"] is True
    assert cfes.run("get-job", {"job_id": made["job_id"]})["job_id"] == made["job_id"]


def test_calls_with_a_connection_use_that_connection(api: EmailSecurity) -> None:
    made = cfes.run("create-move-job", MOVE, api)
    assert cfes.run("get-job", {"job_id": made["job_id"]}, connection=api)["job_id"] == made["job_id"]


def test_connect_takes_its_settings_from_a_mapping(environment: dict[str, str]) -> None:
    with cfes.connect(environment) as connection:
        assert cfes.run("list-jobs", connection=connection)["jobs"] == []


def test_an_error_has_its_type_and_reports_whether_anything_changed() -> None:
    with pytest.raises(cfes.errors.ParameterError) as caught:
        cfes.run("get-job", {"job": 1})
    assert {problem["pointer"] for problem in caught.value.problems} == {"/job", "/job_id"}
    assert caught.value.document()["error"]["applied"] == "no"
    with pytest.raises(cfes.errors.PackError, match="unknown action"):
        cfes.run("get-jbo")


def test_the_actions_are_listed_with_their_titles() -> None:
    assert cfes.actions() == {name: action.title for name, action in catalog.available().items()}


def test_the_version_is_that_of_the_pack() -> None:
    assert cfes.__version__ == VERSION
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        cfes.rnu  # noqa: B018


@pytest.mark.usefixtures("connection_settings", "clock")
def test_a_playbook_run_records_its_calls_and_can_be_resumed(playbook: Path, tmp_path: Path) -> None:
    ended = cfes.run_playbook(playbook, {"search": CAMPAIGN}, directory=tmp_path / "run")
    assert (ended["status"], ended["exit_code"], ended["error"]) == ("completed", 0, None)
    assert cfes.run("get-job", {"job_id": ended["outputs"]["job_id"]})["status"]
    calls = [json.loads(line) for line in (tmp_path / "run" / "calls.ndjson").read_text().splitlines()]
    assert "POST" in {call.get("method") for call in calls}
    assert cfes.resume_playbook(tmp_path / "run") == ended


@pytest.mark.usefixtures("clock")
def test_a_playbook_run_leaves_the_given_connection_open(
    playbook: Path, tmp_path: Path, api: EmailSecurity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cfes.run_playbook(str(playbook), {"search": CAMPAIGN}, connection=api)
    assert Path(ended["directory"]).parent == tmp_path / "cfes-runs"
    assert cfes.run("get-job", {"job_id": ended["outputs"]["job_id"]}, api)["status"]


@pytest.mark.usefixtures("connection_settings", "clock")
def test_a_failed_run_is_returned_and_can_be_resumed(
    playbook: Path, tmp_path: Path, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.read_token)
    failed = cfes.run_playbook(playbook, {"search": CAMPAIGN}, directory=tmp_path / "run")
    error: dict[str, Any] = failed["error"]
    assert (failed["status"], failed["resumable"], error["type"]) == ("failed", True, "PermissionDenied")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.token)
    assert cfes.resume_playbook(tmp_path / "run")["status"] == "completed"


@pytest.mark.usefixtures("connection_settings")
def test_a_run_that_cannot_start_raises_and_leaves_no_files(playbook: Path, tmp_path: Path) -> None:
    with pytest.raises(cfes.errors.ParameterError):
        cfes.run_playbook(playbook, {"serach": CAMPAIGN}, directory=tmp_path / "run")
    with pytest.raises(cfes.errors.PackError, match="unknown playbook"):
        cfes.run_playbook("phish-campaign-prug", {})
    assert not (tmp_path / "run").exists()
