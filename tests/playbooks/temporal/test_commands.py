"""The commands for runs on a Temporal server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from platforms.cli.main import main
from sandbox.settings import ACCOUNT_ID
from tests.playbooks.temporal.servers import ROOT, Fleet, wait_until
from tests.playbooks.temporal.test_runs import FakeActions, outcome
from tests.remediation.guardrails.test_approval import POLICY

LOOK = """\
playbook: 1
id: look
title: Look at the jobs
key: "{{ inputs.alert.AlertID }}"
inputs: {alert: {type: object, primary: true, description: The alert.}}
steps: [{id: jobs, action: list-jobs}]
outputs: {jobs: "{{ steps.jobs.jobs }}"}
"""


WAIT = """\
playbook: 1
id: wait
title: Wait for an answer
key: "{{ inputs.case }}"
inputs: {case: {type: string, primary: true, description: The case.}}
steps:
  - {id: jobs, title: Look at the jobs, action: list-jobs}
  - {id: asked, title: Wait for the answer, pause: answer, accepts: {type: boolean}, within: 600, otherwise: No answer.}
outputs: {answer: "{{ steps.asked.value }}"}
"""


class Commands:
    """`cfes playbook COMMAND --engine temporal` in this process, for the fleet's task queue."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("CFES_TEMPORAL_ADDRESS", fleet.settings.address)
        monkeypatch.setenv("CFES_TEMPORAL_TASK_QUEUE", fleet.settings.task_queue)
        self._capsys = capsys

    def __call__(self, command: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Return the JSON document that a command writes."""
        assert main(["playbook", command, *arguments, "--engine", "temporal", "--output", "json"]) == code
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document


@pytest.fixture
def commands(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(fleet, monkeypatch, capsys)


def test_a_run_is_started_listed_shown_answered_and_cancelled(fleet: Fleet, commands: Commands, tmp_path: Path) -> None:
    playbook = tmp_path / "wait.yaml"
    playbook.write_text(WAIT)
    with fleet.worker(FakeActions(**{"list-jobs": {"jobs": []}}), is_sandboxed=False):
        first, second = (
            commands("start", str(playbook), "--set", f"case={fleet.settings.task_queue}-{number}")["run_id"]
            for number in (1, 2)
        )
        for run_id in (first, second):
            fleet.reach(run_id, "waiting")
        listed = commands("runs", "--status", "waiting")["runs"]
        assert {(run["run_id"], run["waits_for"], run["at_step"]) for run in listed} == {
            (run_id, "answer", "asked") for run_id in (first, second)
        }
        shown = commands("show", first)
        assert (shown["status"], shown["waits_for"]["signal"]) == ("waiting", "answer")
        assert [(step["path"], step["status"]) for step in shown["steps"]] == [
            ("jobs", "succeeded"),
            ("asked", "running"),
        ]
        refused = commands("signal", first, "answer", '"yes"', code=2)
        assert refused["error"]["problems"][0]["pointer"] == "/value"
        assert commands("signal", first, "answer", "true")["signal"] == "answer"
        assert outcome(fleet, first)["outputs"] == {"answer": True}
        assert commands("cancel", second, "--reason", "a mistake")["status"] == "cancelling"
        assert outcome(fleet, second)["message"] == "a mistake"
    ended = commands("show", second)
    assert (ended["status"], ended["error"]["type"]) == ("cancelled", "RunCancelled")
    assert commands("cancel", second, code=3)["error"]["type"] == "RunEnded"
    assert commands("show", "absent", code=2)["error"]["type"] == "RunNotFound"


def test_a_run_whose_action_has_begun_is_shown_as_running(fleet: Fleet, commands: Commands, tmp_path: Path) -> None:
    playbook, ends = tmp_path / "wait.yaml", threading.Event()
    playbook.write_text(WAIT)
    actions = FakeActions(**{"list-jobs": lambda _: {"jobs": [], "in_time": ends.wait(timeout=30)}})
    with fleet.worker(actions, is_sandboxed=False):
        run_id = commands("start", str(playbook), "--set", f"case={fleet.settings.task_queue}")["run_id"]
        wait_until(lambda: actions.counts["list-jobs"])
        shown = commands("show", run_id)
        ends.set()
    assert (shown["status"], shown["at_step"]) == ("running", "jobs")


def test_a_forged_approval_is_not_sent(
    fleet: Fleet, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    playbook, policy = tmp_path / "wait.yaml", tmp_path / "policy.yaml"
    params = "{action: MOVE, destination: JunkEmail, search_params: {sender: a@shop.example}}"
    text = WAIT.replace("action: list-jobs", f"action: preview-job, with: {params}")
    playbook.write_text(text.replace("accepts: {type: boolean}", "about: {plan: '{{ steps.jobs }}'}"))
    policy.write_text(yaml.safe_dump(POLICY.model_dump(mode="json", exclude_defaults=True)))
    monkeypatch.setenv("CFES_POLICY", str(policy))
    plan = {"plan_hash": "0" * 64, "account_id": ACCOUNT_ID}
    with fleet.worker(FakeActions(**{"preview-job": plan}), is_sandboxed=False):
        run_id = commands("start", str(playbook), "--set", f"case={fleet.settings.task_queue}")["run_id"]
        fleet.reach(run_id, "waiting")
        refused = commands("signal", run_id, "answer", '"bob approves"', code=3)
        assert refused["error"]["type"] == "ApprovalRefused"
        assert fleet.status(run_id) == "waiting"


def test_an_unknown_engine_is_refused(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["runs"], ["show", "r"], ["signal", "r", "answer"], ["cancel", "r"], ["start", "x"]):
        assert main(["playbook", *command, "--engine", "airflow", "--output", "json"]) == 2
        assert "--engine must be local or temporal" in capsys.readouterr().out


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_a_start_ends_safely_and_starts_one_run_for_a_key(times: int, fleet: Fleet, tmp_path: Path) -> None:
    playbook, alert = tmp_path / "look.yaml", tmp_path / "alert.json"
    playbook.write_text(LOOK)
    # The client library warns about inputs of this size.
    alert.write_text(json.dumps({"AlertID": fleet.settings.task_queue, "Body": "x" * 600_000}))
    environment = {
        **os.environ,
        "CFES_TEMPORAL_ADDRESS": fleet.settings.address,
        "CFES_TEMPORAL_TASK_QUEUE": fleet.settings.task_queue,
    }
    command = [sys.executable, "-m", "platforms.cli", "playbook", "start", str(playbook), "--input", str(alert)]
    ended = [
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for _ in range(times)
    ]
    assert [each.returncode for each in ended] == [0] * times
    assert all("The run look" in each.stderr for each in ended)
    documents = [json.loads(each.stdout) for each in ended]
    assert [each["started"] for each in documents] == [True, *[False] * (times - 1)]
    [run_id] = {each["run_id"] for each in documents}
    with fleet.worker(FakeActions(**{"list-jobs": {"jobs": [], "truncated": {}}}), is_sandboxed=False):
        assert outcome(fleet, run_id)["outputs"] == {"jobs": []}
