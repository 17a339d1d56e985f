"""An empty guard variable stops every command and function that could write, over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actions.shapes.example_plan import EXAMPLE_PLAN
from core.errors import ConnectionSettingsError
from platforms import aws_lambda
from platforms.cli.commands import approve as approve_command
from remediation.guardrails.plans.plan import new_plan
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN
from tests.platforms.cli.conftest import Cfes
from tests.platforms.test_aws_lambda import Context
from tests.remediation.guardrails.test_approval import BOB, private_pem
from tests.slow import some_of

ROOT = Path(__file__).resolve().parents[3]
GUARDS = ["CFES_POLICY", "CFES_READ_ONLY", "CFES_REQUESTED_BY", "CFES_PLAN_KEY", "CFES_STATE_DIR"]
SETTINGS = [f"{name}{suffix}" for name in GUARDS for suffix in ("", "_FILE")]
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}
JOB = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
MESSAGE = "4WtWkr6nlBz9sNH-1"

WRITES: list[tuple[str, dict[str, Any]]] = [
    ("create-move-job", MOVE),
    ("release-job", {"search_params": CAMPAIGN}),
    ("cancel-job", {"job_id": JOB}),
    ("delete-job", {"job_id": JOB}),
    ("move-messages", {"ids": [MESSAGE], "destination": "JunkEmail"}),
    ("release-messages", {"ids": [MESSAGE]}),
]


@pytest.mark.parametrize("setting", some_of(SETTINGS, 0, 1, 2))
def test_a_command_with_an_empty_guard_setting_writes_nothing(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "")
    for action, params in WRITES:
        ended = connected(action, "--params", "-", typed=json.dumps(params))
        assert (ended.code, ended.error["message"]) == (2, f"{setting} is set but empty"), action
        assert ended.error["help"].startswith("Nothing was changed. Unset")
    assert sandbox.state.truth()["jobs"] == []


def test_a_playbook_with_an_empty_guard_setting_does_not_start(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CFES_POLICY", "")
    alert = ROOT / "examples" / "alert.json"
    ended = connected("playbook", "run", "phish-campaign-purge", "--input", str(alert), "--yes")
    assert (ended.code, ended.error["message"]) == (2, "CFES_POLICY is set but empty")
    assert not (tmp_path / "cfes-runs").exists()


def test_policy_check_refuses_an_empty_setting(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFES_POLICY", " ")
    ended = connected("policy", "check")
    assert (ended.code, ended.error["message"]) == (2, "CFES_POLICY is set but empty")


def test_a_policy_writable_by_others_stops_every_write_and_fails_the_check(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("policy: 1\n")
    monkeypatch.setenv("CFES_POLICY", str(path))
    path.chmod(0o666)
    checked = connected("policy", "check")
    for action, params in (write for write in WRITES if JOB not in write[1].values()):
        ended = connected(action, "--params", "-", typed=json.dumps(params))
        assert (ended.code, ended.error["type"]) == (3, "PolicyUnusable"), action
        assert ended.error["message"] == checked.error["message"]
        assert "Nothing was changed" in ended.error["help"]
    assert f"chmod go-w {path}" in checked.error["message"]
    assert (checked.code, sandbox.state.truth()["jobs"]) == (3, [])
    path.chmod(0o644)
    assert connected("policy", "check").code == 0
    assert connected("create-move-job", "--params", "-", typed=json.dumps(MOVE)).code == 0


def test_approve_refuses_an_empty_or_unsafe_policy_setting(
    cfes: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = {**EXAMPLE_PLAN, "previewed_at": "2026-11-20T16:00:00Z"}
    (tmp_path / "plan.json").write_text(new_plan(plan).model_dump_json())
    (tmp_path / "bob.pem").write_bytes(private_pem(BOB))
    (tmp_path / "bob.pem").chmod(0o600)
    (tmp_path / "policy.yaml").write_text("policy: 1\n")
    (tmp_path / "policy.yaml").chmod(0o666)
    monkeypatch.setattr(approve_command, "SystemClock", FakeClock)
    given = ("approve", "plan.json", "--key", "bob.pem", "--as", "bob", "--yes")
    for name, value, code in (
        ("CFES_POLICY", "", 2),
        ("CFES_POLICY", " ", 2),
        ("CFES_POLICY_FILE", "", 2),
        ("CFES_POLICY", str(tmp_path / "policy.yaml"), 3),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            ended = cfes(*given)
        assert ended.code == code, (name, value, ended.out)
        assert "eyJ" not in ended.out + ended.err
        assert "is set but empty" in ended.out or "can be changed by another user" in ended.out


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_function_with_an_empty_guard_setting_writes_nothing(
    environment: dict[str, str], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    for name, value in {**environment, setting: ""}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionSettingsError, match=setting):
        aws_lambda.handler({"action": "create-move-job", "params": MOVE}, Context(60))
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("CFES_POLICY", " policy.yaml", 2),
        ("CFES_POLICY", ".", 3),
        ("CFES_POLICY", "/dev/null", 3),
        ("CFES_READ_ONLY", "no ", 2),
        ("CFES_READ_ONLY", "flase", 2),
    ],
)
def test_a_command_with_an_invalid_guard_setting_writes_nothing(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, code: int
) -> None:
    monkeypatch.setenv(setting, value)
    ended = connected("run", "create-move-job", "--params", "-", typed=json.dumps(MOVE))
    assert ended.code == code
    assert setting in ended.out or code == 3
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    some_of([("CFES_POLICY", "", 2), ("CFES_POLICY", "/dev/null", 3), ("CFES_READ_ONLY", "flase", 2)], 0),
)
def test_a_process_with_an_invalid_guard_setting_writes_nothing(
    environment: dict[str, str], sandbox: RunningSandbox, setting: str, value: str, code: int
) -> None:
    ended: Any = subprocess.run(
        [sys.executable, "-m", "actions.create_move_job"],
        input=json.dumps(MOVE),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment, setting: value},
        check=False,
    )
    assert ended.returncode == code
    assert setting in ended.stdout or code == 3
    assert sandbox.state.truth()["jobs"] == []
