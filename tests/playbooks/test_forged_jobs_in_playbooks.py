"""A job that was put where a playbook's own should be never makes its run end well."""

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
from tests.playbooks.test_shipped_playbooks import Heard, purge

Decoy = Callable[[dict[str, Any]], dict[str, Any]]


class Stopped(Exception):
    """The run goes no further than its create."""


class UpToTheCreate(Heard):
    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "create-move-job":
            self.calls.append((action, params))
            raise Stopped
        return super().__call__(action, params)


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example's: the one whose campaign the sandbox has planted."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


DECOYS: dict[str, Decoy] = {
    "another sender": lambda search: {"search_params": {**search, "sender": "nobody@elsewhere.example"}},
    "one narrowed more": lambda search: {"search_params": {**search, "subject": "nothing has this subject"}},
    "an empty window": lambda search: {"search_params": {**search, "end": search["start"]}},
    "an end before the alert": lambda search: {"search_params": {**search, "end": "2026-11-20T15:00:00Z"}},
    "an end long before": lambda search: {"search_params": {**search, "end": "2026-11-14T00:00:00Z"}},
    "another folder": lambda search: {"search_params": search, "destination": "Inbox"},
}


@pytest.mark.parametrize("decoy", DECOYS)
@pytest.mark.parametrize("with_plan", [False, True])
def test_a_job_in_the_alerts_place_that_does_something_else_is_named_and_the_run_fails(
    decoy: str, with_plan: bool, sandbox: RunningSandbox, api: EmailSecurity, alert: dict[str, Any], tmp_path: Path
) -> None:
    heard = UpToTheCreate(api)
    with pytest.raises(Stopped):
        purge(alert, api, tmp_path / "spied", heard, search_by="sender")
    [wanted] = heard.of("create-move-job")
    asked = wanted["plan"]["asked_search_params"]
    assert asked["sender"] == CAMPAIGN["sender"]
    stamp = Stamp.of(
        sandbox.account_id,
        wanted["idempotency_key"],
        {"action": "MOVE", "search_params": asked, "destination": "JunkEmail"},
        plan_hash=wanted["plan"]["plan_hash"] if with_plan else None,
    )
    forged = create_forged_job(sandbox, stamp.on(wanted["comment"]), **DECOYS[decoy](asked))
    outcome = purge(alert, api, tmp_path / "run", search_by="sender")
    assert outcome.status != "completed"
    assert outcome.exit_code == 5
    assert forged in str(outcome.error)
    assert len(sandbox.state.truth()["jobs"]) == 1


def arrives(sandbox: RunningSandbox, hours_ago: float, count: int) -> None:
    """More messages of the campaign."""
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    for number in range(count):
        sandbox.state.tenant.add(
            time=sandbox.clock.now() - int(hours_ago * 3600) * SECOND,
            sender=like.sender, subject="more", recipients=(f"m{number}@corp.example",), disposition="SPAM",
        )  # fmt: skip


def test_a_job_in_the_alerts_place_that_leaves_the_alerts_own_message_out_does_not_end_well(
    sandbox: RunningSandbox, api: EmailSecurity, alert: dict[str, Any], tmp_path: Path
) -> None:
    # It finds nearly everything: neither its window nor its count is one that an earlier plan could not have.
    arrives(sandbox, 4, 3000)
    heard = UpToTheCreate(api)
    with pytest.raises(Stopped):
        purge(alert, api, tmp_path / "spied", heard, search_by="sender", max_messages=9000)
    [wanted] = heard.of("create-move-job")
    asked = wanted["plan"]["asked_search_params"]
    stamp = Stamp.of(
        sandbox.account_id,
        wanted["idempotency_key"],
        {"action": "MOVE", "search_params": asked, "destination": "JunkEmail"},
    )
    forged = create_forged_job(sandbox, stamp.on(""), search_params={**asked, "end": "2026-11-20T13:00:00Z"})
    outcome = purge(alert, api, tmp_path / "run", search_by="sender", max_messages=9000)
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)
    assert outcome.outputs["job_id"] == forged
    assert "before the alert's own message" in outcome.message


@pytest.mark.parametrize("more", [0, 1, 20])
def test_the_same_alert_again_follows_the_job_of_a_plan_that_waited(
    more: int,
    start_sandbox: Callable[..., RunningSandbox],
    connect: Callable[..., EmailSecurity],
    alert: dict[str, Any],
    tmp_path: Path,
) -> None:
    sandbox = start_sandbox(permanent_failures=0.0, transient_failures=0.0)
    api = connect(sandbox)
    heard = UpToTheCreate(api)
    with pytest.raises(Stopped):
        purge(alert, api, tmp_path / "planned", heard, search_by="sender")
    [wanted] = heard.of("create-move-job")
    api.clock.sleep(5 * 3600)
    if more:
        arrives(sandbox, 2, more)
    first = purge(alert, api, tmp_path / "approved", plan=wanted["plan"], search_by="sender")
    assert first.exit_code == 0
    api.clock.sleep(1800)
    again = purge(alert, api, tmp_path / "again", search_by="sender")
    # The job leaves out what arrived while its plan waited: that is still delivered.
    assert (again.exit_code, again.outputs["still_delivered"]) == (8 if more else 0, more), again.message
    assert again.outputs["job_id"] == first.outputs["job_id"]
    assert ("is left out. For that mail" in (tmp_path / "again" / "report.md").read_text()) is (more > 0)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_with_a_key_the_same_alert_again_follows_its_job_past_a_forged_one(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], alert: dict[str, Any], tmp_path: Path
) -> None:
    api = connect(sandbox, plan_key=PLAN_KEY)
    heard = UpToTheCreate(api)
    with pytest.raises(Stopped):
        purge(alert, api, tmp_path / "spied", heard)
    [wanted] = heard.of("create-move-job")
    asked = {"action": "MOVE", "search_params": wanted["plan"]["asked_search_params"], "destination": "JunkEmail"}
    stamp = Stamp.of(sandbox.account_id, wanted["idempotency_key"], asked, plan_hash=wanted["plan"]["plan_hash"])
    forged = create_forged_job(sandbox, stamp.on(""), search_params={"sender": "nobody@elsewhere.example"})
    runs = [purge(alert, api, tmp_path / name) for name in ("one", "two")]
    # The second moves nothing: what its job failed at is still delivered.
    assert [run.exit_code for run in runs] == [0, 8 if runs[1].outputs["still_delivered"] else 0]
    assert forged != runs[0].outputs["job_id"] == runs[1].outputs["job_id"]
    assert len(sandbox.state.truth()["jobs"]) == 2
