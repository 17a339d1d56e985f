"""advance-run: a playbook runs against the sandbox, call by call, through the AWS Lambda handler."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cfes
from actions.contract import catalog
from actions.shapes.example_job import JOB_ID
from core.errors import ConnectionSettingsError, ParameterError
from platforms import aws_lambda, served_actions
from platforms.advance_run import ACTION, Result
from platforms.cli.main import main
from playbooks.drivers.tick import LARGEST_ANSWER_BYTES
from playbooks.language.errors import PlaybookInvalid, PlaybookNotFound, StateRefused
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.object_stores import Bucket
from tests.platforms.lambda_runtime import LambdaRuntime
from tests.platforms.test_aws_lambda import Context
from tests.playbooks.test_shipped_playbooks import FALSE_POSITIVE
from tests.remediation.guardrails.test_approval import key_of, private_pem, public_pem
from tests.slow import some_of

LIMIT_SECONDS = 60


@pytest.fixture(autouse=True)
def connected(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment, "CFES_PLAN_KEY": PLAN_KEY}.items():
        monkeypatch.setenv(name, value)


Lose = Callable[[int], bool]


@dataclass
class StateMachine:
    """Call the handler until the run is done. Events and results pass through JSON.

    lose: whether the result of a call is lost, by the number of the call. The same call is then made again.
    """

    sandbox: RunningSandbox
    lose: Lose = lambda _: False
    sizes: list[int] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        self.clock = FakeClock(moved=self.sandbox.state.advance)

    def call(self, params: Mapping[str, Any], retries: int = 0) -> dict[str, Any]:
        event = {"action": "advance-run", "params": params, "execution": {"name": "case-42", "retries": retries}}
        text = json.dumps(event)
        found = json.dumps(aws_lambda.run(json.loads(text), Context(LIMIT_SECONDS, self.clock), self.clock))
        self.calls += 1
        self.sizes += [len(text), len(found)]
        result: dict[str, Any] = json.loads(found)
        return result

    def run(self, params: Mapping[str, Any], most: int = 300) -> dict[str, Any]:
        """Return the result of the run."""
        for number in range(most):
            found = self.call(params)
            if self.lose(number):
                found = self.call(params, retries=1)
            if found["next"] == "done":
                result: dict[str, Any] = found["result"]
                return result
            if found["next"] == "sleep":
                self.clock.sleep(found["seconds"])
            params = found["run"]
        raise AssertionError("the run does not end")

    def run_until_it_waits(self, params: Mapping[str, Any], most: int = 50) -> dict[str, Any]:
        """Return the first pause that the run waits in."""
        for _ in range(most):
            found = self.call(params)
            if found["next"] == "signal":
                pause: dict[str, Any] = found["waits_for"][0]
                return pause
            params = found["run"]
        raise AssertionError("the run does not wait")


def purge(alert: dict[str, Any], directory: str, **inputs: Any) -> dict[str, Any]:
    return {"playbook": "phish-campaign-purge", "inputs": {"alert": alert, **inputs}, "directory": directory}


def release(_: dict[str, Any], directory: str) -> dict[str, Any]:
    return {"playbook": "false-positive-release", "inputs": {"alert": FALSE_POSITIVE}, "directory": directory}


PLAYBOOKS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {"purge": purge, "release": release}


def test_an_alert_runs_from_search_to_report_with_its_files_in_a_store(
    alert: dict[str, Any], sandbox: RunningSandbox, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFES_RUNS_URL", bucket.url("runs/"))
    machine = StateMachine(sandbox)
    first = {"playbook": "phish-campaign-purge", "inputs": {"alert": alert}}
    result = machine.run(first)
    assert (result["status"], result["run_id"]) == ("completed", "case-42"), result
    assert result["directory"] == bucket.url("runs/case-42")
    outputs = result["outputs"]
    assert outputs["discovered"] == outputs["moved"] + outputs["failed"] + outputs["skipped"] >= 40
    assert (outputs["complete"], len(sandbox.state.truth()["jobs"])) == (True, 1)
    assert "runs/case-42/evidence.zip" in bucket.objects()
    assert max(machine.sizes) < LARGEST_ANSWER_BYTES


@pytest.mark.parametrize("name", some_of(["purge", "release"], 0))
def test_with_the_result_of_every_call_lost_each_effect_happens_once(
    name: str, alert: dict[str, Any], sandbox: RunningSandbox, tmp_path: Path
) -> None:
    machine = StateMachine(sandbox, lose=lambda _: True)
    result = machine.run(PLAYBOOKS[name](alert, str(tmp_path / "run")))
    assert result["status"] == "completed", result
    [job] = sandbox.state.truth()["jobs"]
    assert result["outputs"]["job_id"] == job["job_id"]


@pytest.mark.parametrize("name", some_of(["purge", "release"], 0))
def test_a_call_that_was_killed_during_its_action_is_made_again(
    name: str, alert: dict[str, Any], sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action is carried out, and the process ends before the result is written: at each action once."""
    find_action = catalog.find
    killed = set()

    class Killed(BaseException):
        pass

    def find(action_id: str) -> Any:
        action = find_action(action_id)

        def run_and_die(params: Any, connector: Any) -> dict[str, Any]:
            result = action.run(params, connector)
            if action_id not in killed:
                killed.add(action_id)
                raise Killed
            return result

        return SimpleNamespace(
            params=action.params, resumable=action.resumable, connection=action.connection, run=run_and_die
        )

    monkeypatch.setattr(catalog, "find", find)
    machine = StateMachine(sandbox)
    params = PLAYBOOKS[name](alert, str(tmp_path / "run"))
    found: dict[str, Any] = {"next": "again"}
    while found["next"] != "done":
        try:
            found = machine.call(params)
        except Killed:
            found = machine.call(params, retries=1)
        if found["next"] == "sleep":
            machine.clock.sleep(found["seconds"])
        params = found["run"]
    assert {"preview-job", "create-job", "wait-for-job", "export-job-messages"} <= killed
    assert found["result"]["status"] == "completed", found["result"]
    assert len(sandbox.state.truth()["jobs"]) == 1


APPROVERS = [f"approver{number}" for number in range(10)]


@pytest.fixture
def approvals_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    approvers = [{"name": name, "public_key": public_pem(key_of(name))} for name in APPROVERS]
    policy = {"policy": 1, "approvers": approvers, "approval_needed": [{"approvals": 5}]}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    monkeypatch.setenv("CFES_POLICY", str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("CFES_REQUESTED_BY", "soar")


def approval(plan: dict[str, Any], name: str, now: datetime) -> str:
    signing = Signing(
        plan_hash=plan["plan_hash"],
        account_id=plan["account_id"],
        approver=name,
        private_key_pem=private_pem(key_of(name)),
        now=now,
        lifetime_seconds=3600,
        jti=name,
    )
    return approve(signing).token


@pytest.mark.usefixtures("approvals_needed")
def test_a_large_alert_stays_below_the_limit_in_every_event_and_result(
    alert: dict[str, Any], sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """1,000 recipients, 50 links of 2,000 characters and 10 approvals."""
    alert = {
        **alert,
        "SMTPEnvelopeTo": [f"person.number.{number:04d}@corp.example" for number in range(1000)],
        "Links": [f"https://invoice-portal.example/{number}/".ljust(2000, "x") for number in range(50)],
    }
    machine = StateMachine(sandbox)
    plan = machine.run_until_it_waits(purge(alert, str(tmp_path / "first")))["about"]["plan"]
    tokens = [approval(plan, name, machine.clock.now()) for name in APPROVERS]
    result = machine.run(purge(alert, str(tmp_path / "second"), plan=plan, approvals=tokens))
    assert result["status"] == "completed", result
    assert len(sandbox.state.truth()["jobs"]) == 1
    assert max(machine.sizes) < LARGEST_ANSWER_BYTES


def test_a_state_over_the_limit_moves_to_the_folder_of_the_run(
    alert: dict[str, Any], sandbox: RunningSandbox, bucket: Bucket
) -> None:
    alert = {**alert, "Links": [f"https://invoice-portal.example/{number}/".ljust(2000, "x") for number in range(110)]}
    machine = StateMachine(sandbox)
    result = machine.run(purge(alert, bucket.url("case-42")))
    assert result["status"] == "completed", result
    first, *later = machine.sizes
    assert first > LARGEST_ANSWER_BYTES > 3000 > max(later[:-1])
    assert any(name.startswith("case-42/state-") for name in bucket.objects())


def test_without_a_store_for_a_large_state_no_action_runs(
    alert: dict[str, Any], sandbox: RunningSandbox, bucket: Bucket
) -> None:
    alert = {**alert, "Links": ["https://invoice-portal.example/".ljust(230_000, "x")]}
    bucket_url = bucket.url("case-42").replace(bucket.name, "no-such-bucket")
    with pytest.raises(ParameterError, match="no-such-bucket"):
        StateMachine(sandbox).call(purge(alert, bucket_url))
    assert sandbox.state.truth()["calls"] == {}


DOCUMENT = {
    "playbook": 1,
    "id": "own",
    "title": "Ask, then look",
    "inputs": {"job_id": {"type": "string", "description": "The job."}},
    "steps": [
        {"id": "ask", "pause": "go", "within": 600, "otherwise": "Nobody answered."},
        {"id": "job", "action": "get-job", "with": {"job_id": "{{ inputs.job_id }}"}},
    ],
    "outputs": {"status": "{{ steps.job.status }}"},
}


def own_run(job_id: str, tmp_path: Path) -> dict[str, Any]:
    return {"playbook": DOCUMENT, "inputs": {"job_id": job_id}, "directory": str(tmp_path / "run")}


def test_a_playbook_of_your_own_waits_for_its_signal(sandbox: RunningSandbox, tmp_path: Path) -> None:
    machine = StateMachine(sandbox)
    job_id = cfes.run("create-move-job", {"search_params": CAMPAIGN, "destination": "JunkEmail"})["job_id"]
    found = machine.call(own_run(job_id, tmp_path))
    assert (found["next"], found["seconds"], found["waits_for"][0]["signal"]) == ("signal", 600, "go")
    found = machine.call({**found["run"], "signals": [{"name": "go"}] * 101})
    assert found["refused_signals"][0]["message"] == "a call takes at most 100 signals, the first ones"
    found = machine.call(own_run(job_id, tmp_path))
    found = machine.call({**found["run"], "signals": [{"name": "going"}, "go"]})
    assert found["next"] == "signal"
    messages = [one["message"] for one in found["refused_signals"]]
    assert messages == [
        "not a signal: it must be {name, value}",
        "the run does not wait for the signal 'going'. It waits for go",
    ]
    found = machine.call({**found["run"], "signals": [{"name": "go", "value": {"by": "ann"}}]})
    assert (found["next"], found["result"]["status"]) == ("done", "completed")


def test_a_run_is_continued_with_its_own_account_only(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = StateMachine(sandbox)
    found = machine.call(own_run("job-1", tmp_path))
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "another")
    with pytest.raises(Exception, match="and the settings name the account 'another'"):
        machine.call({**found["run"], "signals": [{"name": "go"}]})


def test_two_environments_of_the_function_continue_one_run(environment: dict[str, str], tmp_path: Path) -> None:
    job_id = cfes.run("create-move-job", {"search_params": CAMPAIGN, "destination": "JunkEmail"})["job_id"]
    settings = {**environment, "CFES_PLAN_KEY": PLAN_KEY, "CFES_LOG": "off"}
    states = [tmp_path / name for name in ("one", "two")]
    with ExitStack() as stack:
        one, two = (stack.enter_context(LambdaRuntime({**settings, "CFES_STATE_DIR": str(state)})) for state in states)
        begun = one.invoke({"action": "advance-run", "params": {**own_run(job_id, tmp_path), "run_id": "r"}}, 60)
        signals = [{"name": "go", "value": None}]
        ended = two.invoke({"action": "advance-run", "params": {**begun.body["run"], "signals": signals}}, 60)
    assert ended.body["result"]["status"] == "completed", ended.body


def test_each_run_of_a_sub_playbook_has_a_directory_of_its_own(sandbox: RunningSandbox, tmp_path: Path) -> None:
    report = {"destination": "{{ run.directory }}/report.html", "job": {"status": "{{ inputs.status }}"}}
    child = {
        "playbook": 1,
        "id": "child",
        "title": "Report",
        "inputs": {"status": {"type": "string", "description": "The status."}},
        "steps": [{"id": "report", "action": "render-report", "with": report}],
    }
    step = {"id": "each", "playbook": "child", "for_each": ["COMPLETED", "FAILED"], "with": {"status": "{{ item }}"}}
    parent = {"playbook": 1, "id": "parent", "title": "Report twice", "steps": [step], "parts": {"child": child}}
    run = {"playbook": parent, "inputs": {}, "directory": str(tmp_path / "run")}
    assert StateMachine(sandbox).run(run)["status"] == "completed"
    assert sorted(path.parent.name for path in tmp_path.glob("run/*/report.html")) == ["each-1", "each-2"]


def test_a_run_can_be_cancelled(sandbox: RunningSandbox, tmp_path: Path) -> None:
    machine = StateMachine(sandbox)
    found = machine.call(own_run(JOB_ID, tmp_path))
    result = machine.call({**found["run"], "cancel": "a mistake"})["result"]
    assert (result["status"], result["message"], result["exit_code"]) == ("cancelled", "a mistake", 3)


def test_a_list_of_alerts_gives_a_first_call_for_each(alert: dict[str, Any], sandbox: RunningSandbox) -> None:
    machine = StateMachine(sandbox)
    entries = [{"alert": {**alert, "AlertID": name}} for name in "abc"]
    found = machine.call(
        {"playbook": "phish-campaign-purge", "inputs_list": entries, "directory": "s3://evidence/runs"}
    )
    assert (found["next"], [run["inputs"] for run in found["runs"]]) == ("each", entries)
    assert [run["run_id"] for run in found["runs"]] == ["case-42-1", "case-42-2", "case-42-3"]
    assert found["runs"][2]["directory"] == "s3://evidence/runs/case-42-3"
    for run in found["runs"]:
        ACTION.check(run)


def test_an_invalid_entry_of_a_list_is_named_and_no_run_begins(alert: dict[str, Any], sandbox: RunningSandbox) -> None:
    entries = [
        {"alert": alert},
        {"alert": {key: value for key, value in alert.items() if key != "AlertID"}},
        {"alert": alert, "attempt": "x"},
    ]
    with pytest.raises(ParameterError) as caught:
        StateMachine(sandbox).call({"playbook": "phish-campaign-purge", "inputs_list": entries})
    assert [one["pointer"] for one in caught.value.problems] == [
        "/inputs_list/1/alert/AlertID",
        "/inputs_list/2/attempt",
    ]
    assert caught.value.help.startswith("No run was begun.")


def test_a_list_that_is_too_large_for_an_answer_is_refused(alert: dict[str, Any], sandbox: RunningSandbox) -> None:
    entries = [{"alert": {**alert, "Subject": "x" * 3000}}] * 70
    with pytest.raises(ParameterError, match="split the list"):
        StateMachine(sandbox).call({"playbook": "phish-campaign-purge", "inputs_list": entries})


@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({}, ["/playbook", "/run_id", "/inputs"]),
        ({"state": {}, "inputs": {}, "run_id": "r"}, ["/inputs", "/run_id"]),
        ({"playbook": "own", "run_id": "r", "inputs": {}, "inputs_list": [{}]}, ["/inputs_list"]),
        ({"playbook": "own", "run_id": "../r", "inputs": {}}, ["/run_id"]),
        ({"playbook": "../own.yaml", "run_id": "r", "inputs": {}}, ["/playbook"]),
        ({"playbook": DOCUMENT, "run_id": "r", "inputs": {"job_id": "j"}}, ["/directory"]),
        ({"playbook": DOCUMENT, "run_id": "r", "inputs": {"job_id": "j"}, "directory": "here"}, ["/directory"]),
        ({"playbook": DOCUMENT, "run_id": "r", "inputs": {"job_id": "j"}, "directory": "s3://x"}, ["/directory"]),
    ],
)
def test_parameters_that_neither_begin_nor_continue_a_run_are_refused(
    params: dict[str, Any], pointers: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        cfes.run("advance-run", params)
    assert [one["pointer"] for one in caught.value.problems] == pointers
    assert "Nothing was" in caught.value.help


def test_an_unknown_or_unsound_playbook_is_refused(tmp_path: Path) -> None:
    begin = {"run_id": "r", "inputs": {}, "directory": str(tmp_path / "run")}
    with pytest.raises(PlaybookNotFound):
        cfes.run("advance-run", {**begin, "playbook": "own"})
    with pytest.raises(PlaybookInvalid):
        cfes.run("advance-run", {**begin, "playbook": {**DOCUMENT, "steps": [{"action": "no-such-action"}]}})
    assert not (tmp_path / "run").exists()


def test_an_edited_state_is_refused_and_nothing_runs(sandbox: RunningSandbox, tmp_path: Path) -> None:
    machine = StateMachine(sandbox)
    found = machine.call(own_run(JOB_ID, tmp_path))
    state = found["run"]["state"]
    edited = {**state, "content": state["content"].replace("get-job", "delete-job")}
    with pytest.raises(StateRefused, match="edited") as caught:
        machine.call({"state": edited})
    assert caught.value.exit_code == 2


def test_the_function_needs_a_plan_key(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CFES_PLAN_KEY")
    with pytest.raises(ConnectionSettingsError, match="CFES_PLAN_KEY is not set"):
        StateMachine(sandbox).call(own_run(JOB_ID, tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("execution", [None, [], {"name": 5}, {"retries": "1"}, {"id": "x"}])
def test_an_invalid_execution_is_refused(execution: Any) -> None:
    with pytest.raises(ParameterError, match="/execution"):
        aws_lambda.handler({"action": "advance-run", "params": {}, "execution": execution}, Context(60))


def test_an_execution_is_for_advance_run_only() -> None:
    with pytest.raises(ParameterError, match="is only for advance-run"):
        aws_lambda.handler({"action": "list-jobs", "execution": {}}, Context(60))


def test_the_command_line_and_python_serve_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert served_actions.find("advance_run") is served_actions.find("advance-run") is ACTION
    params = {**own_run(JOB_ID, tmp_path), "run_id": "r"}
    assert cfes.run("advance-run", params)["next"] == "signal"
    (tmp_path / "params.json").write_text(json.dumps(params))
    assert main(["run", "advance-run", "--params", str(tmp_path / "params.json")]) == 0
    assert json.loads(capsys.readouterr().out)["next"] == "signal"


def test_the_example_of_advance_run_is_valid() -> None:
    ACTION.check(ACTION.example_params)
    Result.model_validate(ACTION.example_result)
