"""A job forged for the idempotency key of a playbook run never makes the run a success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from remediation.stamp import Stamp
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox
from tests.actions.test_forged_jobs import PLAN_KEY, create_forged_job
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.playbooks.test_shipped_playbooks import ActionRecorder, evidence, purge
from tests.slow import some_of

Decoy = Callable[[dict[str, Any]], dict[str, Any]]


class StoppedAtCreate(Exception):
    """Raised to stop the run at its create."""


class StopAtCreate(ActionRecorder):
    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "create-job":
            self.calls.append((action, params))
            raise StoppedAtCreate
        return super().__call__(action, params)


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example alert, whose campaign is in the sandbox."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


DECOYS: dict[str, Decoy] = {
    "another sender": lambda search: {"search_params": {**search, "sender": "nobody@elsewhere.example"}},
    "a narrower search": lambda search: {"search_params": {**search, "subject": "nothing has this subject"}},
    "an empty window": lambda search: {"search_params": {**search, "end": search["start"]}},
    "an end before the alert": lambda search: {"search_params": {**search, "end": "2026-11-20T15:00:00Z"}},
    "an end long before": lambda search: {"search_params": {**search, "end": "2026-11-14T00:00:00Z"}},
    "another folder": lambda search: {"search_params": search, "destination": "Inbox"},
}


@pytest.mark.parametrize(
    ("decoy", "with_plan"),
    some_of([*((decoy, False) for decoy in DECOYS), ("another sender", True), ("another folder", True)], 0, 2, 7),
)
def test_a_forged_job_with_another_request_fails_the_run_and_is_named(
    decoy: str, with_plan: bool, sandbox: RunningSandbox, api: EmailSecurity, alert: dict[str, Any], tmp_path: Path
) -> None:
    recorder = StopAtCreate(api)
    with pytest.raises(StoppedAtCreate):
        purge(alert, api, tmp_path / "spied", recorder, search_by="sender")
    [create_params] = recorder.params_of("create-job")
    search = create_params["plan"]["asked_search_params"]
    assert search["sender"] == CAMPAIGN["sender"]
    stamp = Stamp.of(
        sandbox.account_id,
        create_params["idempotency_key"],
        {"action": "MOVE", "search_params": search, "destination": "JunkEmail"},
        plan_hash=create_params["plan"]["plan_hash"] if with_plan else None,
    )
    forged = create_forged_job(sandbox, stamp.on(create_params["comment"]), **DECOYS[decoy](search))
    outcome = purge(alert, api, tmp_path / "run", search_by="sender")
    assert outcome.status != "completed"
    assert outcome.exit_code == 5
    assert forged in str(outcome.error)
    assert len(sandbox.state.truth()["jobs"]) == 1


def deliver_more(sandbox: RunningSandbox, hours_ago: float, count: int) -> None:
    """Add more messages to the campaign."""
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    for number in range(count):
        sandbox.state.tenant.add(
            time=sandbox.clock.now() - int(hours_ago * 3600) * SECOND,
            sender=like.sender, subject="more", recipients=(f"m{number}@corp.example",), disposition="SPAM",
        )  # fmt: skip


def test_a_forged_job_without_the_message_of_the_alert_is_incomplete(
    sandbox: RunningSandbox, api: EmailSecurity, alert: dict[str, Any], tmp_path: Path
) -> None:
    # The job finds nearly all messages: an earlier plan could have its window and its count.
    deliver_more(sandbox, 4, 600)
    recorder = StopAtCreate(api)
    with pytest.raises(StoppedAtCreate):
        purge(alert, api, tmp_path / "spied", recorder, search_by="sender", max_messages=9000)
    [create_params] = recorder.params_of("create-job")
    search = create_params["plan"]["asked_search_params"]
    stamp = Stamp.of(
        sandbox.account_id,
        create_params["idempotency_key"],
        {"action": "MOVE", "search_params": search, "destination": "JunkEmail"},
    )
    forged = create_forged_job(sandbox, stamp.on(""), search_params={**search, "end": "2026-11-20T13:00:00Z"})
    outcome = purge(alert, api, tmp_path / "run", search_by="sender", max_messages=9000)
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)
    assert outcome.outputs["job_id"] == forged
    assert "before the alert's own message" in outcome.message


@pytest.mark.parametrize("more", some_of([0, 1, 20], 1))
def test_the_same_alert_reuses_the_job_of_an_older_plan(
    more: int,
    start_sandbox: Callable[..., RunningSandbox],
    connect: Callable[..., EmailSecurity],
    alert: dict[str, Any],
    tmp_path: Path,
) -> None:
    sandbox = start_sandbox(permanent_failures=0.0, transient_failures=0.0)
    api = connect(sandbox)
    recorder = StopAtCreate(api)
    with pytest.raises(StoppedAtCreate):
        purge(alert, api, tmp_path / "planned", recorder, search_by="sender")
    [create_params] = recorder.params_of("create-job")
    api.clock.sleep(5 * 3600)
    if more:
        deliver_more(sandbox, 2, more)
    first = purge(alert, api, tmp_path / "approved", plan=create_params["plan"], search_by="sender")
    assert first.exit_code == 0
    api.clock.sleep(1800)
    again = purge(alert, api, tmp_path / "again", search_by="sender")
    # The job leaves out mail that arrived while its plan waited; that mail is still delivered.
    assert (again.exit_code, again.outputs["still_delivered"]) == (8 if more else 0, more), again.message
    assert again.outputs["job_id"] == first.outputs["job_id"]
    assert ("is left out. For that mail" in evidence(tmp_path / "again", "report.md")) is (more > 0)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_with_a_plan_key_the_same_alert_reuses_its_job_and_ignores_a_forged_one(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], alert: dict[str, Any], tmp_path: Path
) -> None:
    api = connect(sandbox, plan_key=PLAN_KEY)
    recorder = StopAtCreate(api)
    with pytest.raises(StoppedAtCreate):
        purge(alert, api, tmp_path / "spied", recorder)
    [create_params] = recorder.params_of("create-job")
    search = {
        "action": "MOVE",
        "search_params": create_params["plan"]["asked_search_params"],
        "destination": "JunkEmail",
    }
    stamp = Stamp.of(
        sandbox.account_id, create_params["idempotency_key"], search, plan_hash=create_params["plan"]["plan_hash"]
    )
    forged = create_forged_job(sandbox, stamp.on(""), search_params={"sender": "nobody@elsewhere.example"})
    runs = [purge(alert, api, tmp_path / name) for name in ("one", "two")]
    # The second run moves nothing; messages that failed in its job are still delivered.
    assert [run.exit_code for run in runs] == [0, 8 if runs[1].outputs["still_delivered"] else 0]
    assert forged != runs[0].outputs["job_id"] == runs[1].outputs["job_id"]
    assert len(sandbox.state.truth()["jobs"]) == 2
