"""campaign-by-content finds a campaign whose senders change, and moves what a person or a threshold chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from playbooks.drivers.outcome import Outcome
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered, folders
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.playbooks import driving
from tests.playbooks.killing import run_killed_once
from tests.playbooks.test_shipped_playbooks import APPROVED_BY_BOB, Act, ActionRecorder, run, sign_approval
from tests.slow import some_of

Connect = Callable[..., EmailSecurity]


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example alert, whose campaign is in the sandbox."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(campaign_size=10, messages=50, **SMOOTH)


@pytest.fixture
def others(sandbox: RunningSandbox) -> list[str]:
    """The IDs of two messages of other senders with the campaign's attachment."""
    file = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0].attachments
    return [
        delivered(sandbox, "lee@corp.example", sender=Sender(sender), attachments=file, disposition="MALICIOUS")
        for sender in ("pay@first.example", "pay@second.example")
    ]


def find(alert: dict[str, Any], api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Outcome:
    outcome: Outcome = run("campaign-by-content", {"alert": alert, **inputs}, api, directory, act)
    return outcome


def searches(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.waits_for is not None, outcome.error
    about: Any = outcome.waits_for["about"]
    found: list[dict[str, Any]] = about["searches"]
    return found


def choose(api: EmailSecurity, directory: Path, value: Any, act: Act) -> Outcome:
    with driving.store_beside(directory, api.clock) as store:
        store.send_signal("run-1", "chosen/choice", value, "ana")
    return driving.resume(directory, run_action=act, clock=api.clock)


def test_an_analyst_sees_each_search_and_chooses_one(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, others: list[str]
) -> None:
    act = ActionRecorder(api)
    waiting = find(alert, api, tmp_path / "run", act)
    assert (waiting.status, sandbox.state.truth()["jobs"]) == ("waiting", [])
    shown = {one["by"]: one for one in searches(waiting)}
    assert list(shown) == ["attachment", "subject"]
    assert (shown["attachment"]["fits"], shown["attachment"]["reason"]) == (True, None)
    assert {"pay@first.example", "pay@second.example", CAMPAIGN["sender"]} <= shown["attachment"]["senders"].keys()
    assert 0 < len(shown["attachment"]["sample"]) <= 3
    assert [(notice["event"], notice["signal"]) for notice in act.params_of("notify")] == [("needs_approval", "choice")]
    done = choose(api, tmp_path / "run", "attachment", act)
    assert (done.status, done.outputs["previewed"]) == ("completed", shown["attachment"]["messages"]), done.error
    assert {folders(sandbox)[one] for one in others} == {"JunkEmail"}
    [job] = sandbox.state.truth()["jobs"]
    assert "sender" not in job["search_params"]
    assert [notice["event"] for notice in act.params_of("notify")][1:] == ["done"]


@pytest.mark.parametrize("choice", [1, "1", "attachment"])
def test_the_choice_may_be_given_before_the_run(
    choice: Any, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, others: list[str]
) -> None:
    outcome = find(alert, api, tmp_path / "run", choose=choice)
    assert outcome.status == "completed", outcome.error
    assert {folders(sandbox)[one] for one in others} == {"JunkEmail"}


def test_a_threshold_chooses_the_fitting_search_with_the_most_messages(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, others: list[str]
) -> None:
    outcome = find(alert, api, tmp_path / "run", auto_choose_up_to=100)
    assert outcome.status == "completed", outcome.error
    assert set(others) <= folders(sandbox).keys()


def test_a_search_above_the_threshold_waits_for_a_choice(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, others: list[str]
) -> None:
    assert find(alert, api, tmp_path / "run", auto_choose_up_to=3).status == "waiting"
    api.clock.sleep(21 * 3600)
    late = driving.resume(tmp_path / "run", run_action=ActionRecorder(api), clock=api.clock)
    assert (late.status, late.message) == ("refused", "Nobody chose a search in time. Nothing was changed.")
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize("choice", [7, "link_domain", "x" * 200])
def test_a_choice_of_no_search_is_refused(
    choice: Any, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = find(alert, api, tmp_path / "run", choose=choice)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "0 searches match the choice" in str(outcome.message)
    assert "Choose one of the numbers 1 to 2." in str(outcome.message)
    assert sandbox.state.truth()["jobs"] == []


def test_a_search_that_finds_real_senders_mail_does_not_fit_and_is_not_carried_out(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    file = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0].attachments
    real = delivered(sandbox, "lee@corp.example", sender=Sender("news@real.example"), attachments=file)
    # The alert's sender is proved; the search by content has other senders all the same.
    outcome = find({**alert, "DMARCResult": "pass"}, api, tmp_path / "run", choose="attachment")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "1 news@real.example" in str(outcome.message)
    assert (real in folders(sandbox), sandbox.state.truth()["jobs"]) == (False, [])


def test_no_fitting_search_is_refused_with_every_reason(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    act = ActionRecorder(api)
    outcome = find(alert, api, tmp_path / "run", act, max_messages=1, auto_choose_up_to=50)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert str(outcome.message).startswith("No search fits the alert. The search finds ")
    assert [notice["event"] for notice in act.params_of("notify")] == ["refused"]


def test_an_alert_without_content_is_refused(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    bare = {**alert, "Attachments": [], "Subject": None}
    outcome = find(bare, api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert sandbox.state.truth()["calls"] == {}


def test_a_hostile_subject_is_searched_for_and_never_evaluated(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    assert "{{ 7*7 }}" in alert["Subject"]
    waiting = find({**alert, "Attachments": []}, api, tmp_path / "run")
    assert [one["criteria"] for one in searches(waiting)] == [{"exact_subject": alert["Subject"]}]


@pytest.mark.parametrize("boundary", some_of(range(2, 19, 2), 4, 6))
def test_a_run_killed_after_any_action_makes_one_job(
    boundary: int, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    inputs = {"alert": alert, "choose": "attachment"}
    outcome = run_killed_once("campaign-by-content", inputs, api, tmp_path / "run", boundary)
    assert outcome.status == "completed", outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_lost_answer_makes_one_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("createBulkJob", "drop_after")
    outcome = find(alert, api, tmp_path / "run", choose="attachment")
    assert outcome.status == "completed", outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_the_same_alert_again_reports_the_existing_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    find(alert, api, tmp_path / "one", choose="attachment")
    again = find(alert, api, tmp_path / "two", choose="attachment")
    assert again.key == f"{alert['AlertID']} 1"
    assert (again.status, again.outputs["created"]) == ("completed", False), again.error
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_chosen_search_waits_for_the_approvals_that_the_policy_requires(
    alert: dict[str, Any], sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"policy: 1\n{APPROVED_BY_BOB}\n")
    api = connect(sandbox, policy_file=str(policy), requested_by="alice")
    act = ActionRecorder(api)
    find(alert, api, tmp_path / "run", act)
    waiting = choose(api, tmp_path / "run", 1, act)
    assert waiting.waits_for is not None, waiting.error
    assert waiting.waits_for["signal"] == "job/approval"
    assert sandbox.state.truth()["jobs"] == []
    about: Any = waiting.waits_for["about"]
    with driving.store_beside(tmp_path / "run", api.clock) as store:
        store.send_signal("run-1", "approval", sign_approval(api, about["plan"]), "bob")
    done = driving.resume(tmp_path / "run", run_action=act, clock=api.clock)
    assert done.status == "completed", done.error
