"""late-copy-sweep repeats an approved search, and moves only what is still delivered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import preview_job
from connectors.email_security import EmailSecurity
from core import instants
from playbooks.drivers.outcome import Outcome
from sandbox.server import RunningSandbox
from tests.actions.named_messages import delivered, folders
from tests.playbooks import driving
from tests.playbooks.killing import run_killed_once
from tests.playbooks.shop_mail import SEARCH, SMALL, deliver
from tests.playbooks.test_shipped_playbooks import APPROVED_BY_BOB, Act, ActionRecorder, run, sign_approval
from tests.slow import some_of

Connect = Callable[..., EmailSecurity]


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMALL)


def planned(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    """Return a plan for the delivered mail."""
    return preview_job.run({"action": "MOVE", "search_params": SEARCH, "destination": "JunkEmail", **changes}, api)


def sweep(plan: dict[str, Any], api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Outcome:
    outcome: Outcome = run("late-copy-sweep", {"plan": plan, **inputs}, api, directory, act)
    return outcome


class LateMail(ActionRecorder):
    """Deliver so many copies just before each sweep."""

    def __init__(self, api: EmailSecurity, sandbox: RunningSandbox, *copies: int) -> None:
        super().__init__(api)
        self.sandbox, self.copies, self.sweeps, self.times = sandbox, list(copies), 0, list[str]()

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "preview-job":
            self.sweeps += 1
            self.times.append(instants.format_shortest(self.api.clock.now()))
            for number in range(self.copies.pop(0) if self.copies else 0):
                deliver(self.sandbox, f"late-{self.sweeps}-{number}")
        return super().__call__(action, params)


def test_each_sweep_moves_the_copies_that_came_since_with_a_job_of_its_own(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "first")
    plan = planned(api)
    act = LateMail(api, sandbox, 1, 0, 2)
    started = api.clock.now()
    outcome = sweep(plan, api, tmp_path / "run", act, alert=alert)
    assert (outcome.status, outcome.outputs["moved"]) == ("completed", 4), outcome.error
    assert [(one["number"], one["found"], one["moved"]) for one in outcome.outputs["sweeps"]] == [
        (1, 2, 2),
        (2, 0, 0),
        (3, 2, 2),
    ]
    assert act.times == [instants.shift(instants.format_shortest(started), seconds=s) for s in (900, 3600, 21600)]
    jobs = sandbox.state.truth()["jobs"]
    assert [f"for alert {alert['AlertID']}" in job["comment"] for job in jobs] == [True, True]
    assert sorted(path.name for path in (tmp_path / "run").rglob("*.zip")) == ["sweep-1.zip", "sweep-3.zip"]


def test_a_sweep_stays_within_the_approved_search_and_leaves_moved_mail_alone(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "first")
    other = delivered(sandbox, "other@corp.example", number=60)
    plan = planned(api)
    act = LateMail(api, sandbox)
    sweep(plan, api, tmp_path / "run", act, after=[0, 60])
    asked = [(each["destination"], each["search_params"]) for each in act.params_of("preview-job")]
    assert asked == [("JunkEmail", {**SEARCH, "delivery_status": "delivered"})] * 2
    assert other not in folders(sandbox)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_nothing_is_changed_if_no_copy_is_delivered(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = sweep(planned(api), api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["moved"]) == ("completed", 0)
    assert sandbox.state.truth()["jobs"] == []


def test_users_reports_of_the_campaign_do_not_make_a_sweep_incomplete(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "first", submission=True)
    outcome = sweep(planned(api), api, tmp_path / "run", after=[0])
    assert (outcome.status, outcome.outputs["moved"]) == ("completed", 0), outcome.error
    [job] = sandbox.state.truth()["jobs"]
    assert job["messages_skipped"] == 1


def test_a_plan_of_a_release_is_refused(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    outcome = sweep(planned(api, action="RELEASE", destination=None), api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "The plan's action is RELEASE" in str(outcome.message)


def test_a_sweep_that_does_not_complete_stops_no_other_and_is_named(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    # The first sweep finds three copies, more than allowed. Two of them are gone before the second.
    class Fading(LateMail):
        def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
            if action == "preview-job" and self.sweeps == 1:
                narrower = {**params["search_params"], "recipient": "late-1-0@corp.example"}
                return super().__call__(action, {**params, "search_params": narrower})
            return super().__call__(action, params)

    act = Fading(api, sandbox, 3)
    outcome = sweep(planned(api), api, tmp_path / "run", act, after=[0, 60], max_messages=2)
    assert (outcome.status, outcome.exit_code, outcome.outputs["moved"]) == ("incomplete", 8, 1)
    assert "1 sweep of 2 did not complete: number 1." in str(outcome.message)
    assert "The plan has 3 messages, and max_messages is 2" in str(outcome.message)
    [notice] = act.params_of("notify")
    assert (notice["event"], notice["facts"]["moved"]) == ("partial", 1)


def test_a_sweep_without_permission_is_reported_and_nothing_is_moved(
    sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    deliver(sandbox, "first")
    api = connect(sandbox, api_token=sandbox.read_token)
    outcome = sweep(planned(api), api, tmp_path / "run", after=[0])
    assert (outcome.status, outcome.exit_code, outcome.outputs["moved"]) == ("incomplete", 8, 0)
    assert folders(sandbox) == {}


@pytest.mark.parametrize("boundary", some_of(range(1, 15), 3, 7, 10))
def test_a_sweep_killed_at_any_action_makes_one_job_for_each_search(
    boundary: int, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "first")
    inputs = {"plan": planned(api), "after": [0, 60]}
    outcome = run_killed_once("late-copy-sweep", inputs, api, tmp_path / "run", boundary)
    assert (outcome.status, outcome.outputs["moved"]) == ("completed", 1), outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_lost_answer_makes_one_job(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    deliver(sandbox, "first")
    plan = planned(api)
    sandbox.state.faults.add("createBulkJob", "drop_after")
    outcome = sweep(plan, api, tmp_path / "run", after=[0])
    assert (outcome.status, outcome.outputs["moved"]) == ("completed", 1), outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_another_attempt_sweeps_again_and_another_start_does_not(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "first")
    plan = planned(api)
    first = sweep(plan, api, tmp_path / "one", after=[0])
    assert first.key == f"{plan['plan_hash']} 1"
    deliver(sandbox, "second")
    again = sweep(plan, api, tmp_path / "two", after=[0], attempt=2)
    assert (again.key != first.key, again.outputs["moved"]) == (True, 1)


def test_each_sweep_waits_for_its_own_approval(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"policy: 1\n{APPROVED_BY_BOB}\n")
    api = connect(sandbox, policy_file=str(policy), requested_by="alice")
    deliver(sandbox, "first")
    act = LateMail(api, sandbox)
    waiting = sweep(planned(api), api, tmp_path / "run", act, after=[0])
    assert waiting.status == "waiting"
    assert waiting.waits_for is not None
    assert waiting.waits_for["signal"] == "sweeps[0]/job/approval"
    assert [notice["event"] for notice in act.params_of("notify")] == ["needs_approval"]
    about: Any = waiting.waits_for["about"]
    with driving.store_beside(tmp_path / "run", api.clock) as store:
        store.send_signal("run-1", "sweeps[0]/job/approval", sign_approval(api, about["plan"]), "bob")
    done = driving.resume(tmp_path / "run", run_action=act, clock=api.clock)
    assert (done.status, done.outputs["moved"]) == ("completed", 1), done.error
