"""Every shipped playbook: checked by one walk, and run against the sandbox, on good days and on bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import catalog
from connectors.email_security import EmailSecurity
from connectors.errors import PackError
from connectors.wire import httpx
from playbooks import library, local
from playbooks.check import check
from playbooks.inputs import accept
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT

PLAYBOOKS = library.available()
ACTIONS = catalog.available()
FALSE_POSITIVE = {
    "AlertID": "fp-1",
    "From": "statements@partner-bank.example",
    "Timestamp": "2026-11-20T15:32:35Z",
    "FinalDisposition": "spam",
}

Connect = Callable[..., EmailSecurity]


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example's: the one whose campaign the sandbox has planted."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: str(playbook.id))
def test_a_shipped_playbook_has_no_finding(playbook: Any) -> None:
    findings = check(
        playbook,
        {name: action.params.model_json_schema() for name, action in ACTIONS.items()},
        results={name: action.result.model_json_schema(mode="serialization") for name, action in ACTIONS.items()},
        effects={name: action.effect for name, action in ACTIONS.items()},
    )
    assert findings == []


def run(playbook_id: str, given: dict[str, Any], api: EmailSecurity, directory: Path) -> Any:
    playbook = library.find(playbook_id)
    return local.run(
        playbook,
        accept(playbook, given),
        run_action=lambda action, params: catalog.find(action).run(params, api),
        clock=api.clock,
        run_id="run-1",
        directory=directory,
    )


def purge(alert: dict[str, Any], api: EmailSecurity, directory: Path, **inputs: Any) -> Any:
    return run("phish-campaign-purge", {"alert": alert, **inputs}, api, directory)


def test_an_alert_is_answered_from_search_to_report(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge(alert, api, tmp_path / "run")
    outputs = outcome.outputs
    assert (outcome.status, outcome.exit_code, outputs["complete"]) == ("completed", 0, True)
    assert outputs["discovered"] == outputs["moved"] + outputs["failed"] + outputs["skipped"] >= 40
    assert len(sandbox.state.truth()["jobs"]) == 1
    names = [Path(file["path"]).name for file in outputs["files"]]
    assert names == ["messages.ndjson", "messages.csv", "report.html", "report.md"]
    for file in outputs["files"]:
        assert Path(file["path"]).stat().st_size == file["bytes"] > 0


def test_the_attackers_subject_is_never_a_template(alert: dict[str, Any], api: EmailSecurity, tmp_path: Path) -> None:
    assert "{{ 7*7 }}" in alert["Subject"]
    purge(alert, api, tmp_path / "run")
    for name in ("report.html", "report.md", "messages.csv", "journal.json"):
        text = (tmp_path / "run" / name).read_text()
        assert "invoice 49 for" not in text
        assert "7*7" in text or "7\\*7" in text


def test_the_same_alert_again_follows_the_job_that_stands(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    first = purge(alert, api, tmp_path / "one").outputs
    second = purge(alert, api, tmp_path / "two").outputs
    assert first["job_id"] == second["job_id"]
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_more_than_the_cap_is_refused_before_anything_is_changed(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge(alert, api, tmp_path / "run", max_messages=39)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "max_messages" in outcome.message
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"From": "ceo@corp.example"},
        {"Origin": "internal"},
        {"Origin": "outbound"},
        {"Origin": "Internal"},
        {"Origin": "secondPartyInternal"},
        {"From": "hr@mail.corp.example"},
        {"From": "Dana@CORP.example"},
        {"SMTPEnvelopeTo": []},
        {"SMTPEnvelopeTo": None},
        {"FinalDisposition": "spoof"},
        {"FinalDisposition": "bulk"},
        {"FinalDisposition": "unset"},
    ],
)
def test_an_alert_that_is_not_about_an_outsiders_phish_is_refused(
    change: dict[str, Any], alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, **change}, api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert sandbox.state.truth()["calls"] == {}


def test_a_campaign_that_left_nothing_ends_early_and_well(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, "From": "nobody@nowhere.example"}, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["job_id"]) == ("completed", None)
    assert "nothing to move" in outcome.message
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize("timestamp", [1795188755, 1795188755000, "2026-11-20T16:32:35+01:00"])
def test_a_timestamp_may_be_a_number_or_a_text(
    timestamp: int | str, alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, "Timestamp": timestamp}, api, tmp_path / "run")
    assert outcome.exit_code == 0, outcome.error


BAD_DAYS: dict[str, list[dict[str, Any]]] = {
    "the create's answer is lost": [{"operation": "createBulkJob", "kind": "drop_after"}],
    "the create never arrives": [{"operation": "createBulkJob", "kind": "drop_before"}],
    "the service is away for a while": [{"operation": "*", "kind": "status", "status": 503, "times": 15, "after": 3}],
    "the rate limit blocks in the middle": [
        {"operation": "getBulkJob", "kind": "rate_limit", "retry_after": 280, "block": True, "after": 1}],
    "the edge answers with a page": [{"operation": "*", "kind": "html", "times": 2, "after": 2}],
    "a page comes back empty": [{"operation": "listBulkJobMessages", "kind": "empty_page"}],
    "rows shift": [{"operation": "listBulkJobMessages", "kind": "shift_rows", "by": -3}],
    "the search is slow": [{"operation": "searchMessages", "kind": "slow_search", "seconds": 20}],
}  # fmt: skip


@pytest.mark.parametrize("day", BAD_DAYS)
def test_a_bad_day_makes_one_job_and_a_complete_export(
    day: str, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    for fault in BAD_DAYS[day]:
        sandbox.state.faults.add(**fault)
    outcome = purge(alert, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["complete"]) == ("completed", True), outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


@pytest.mark.parametrize("boundary", range(14))
def test_a_run_that_is_killed_anywhere_goes_on_and_makes_one_job(
    boundary: int, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    playbook = library.find("phish-campaign-purge")
    directory = tmp_path / "run"
    calls = 0

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls * 2 - 1 == boundary:
            raise Killed
        result = catalog.find(action).run(params, api)
        if calls * 2 == boundary:
            raise Killed
        return result

    given = accept(playbook, {"alert": alert})
    try:
        local.run(playbook, given, run_action=act, clock=api.clock, run_id="run-1", directory=directory)
    except Killed:
        calls = -1000
        outcome = local.resume(directory, run_action=act, clock=api.clock)
        assert (outcome.status, outcome.outputs["complete"]) == ("completed", True)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_without_the_permission_to_write_nothing_is_done_and_it_is_said(
    alert: dict[str, Any], sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    outcome = purge(alert, connect(sandbox, api_token=sandbox.read_token), tmp_path / "run")
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 4, "PermissionDenied")
    assert sandbox.token not in (tmp_path / "run" / "journal.json").read_text()


def test_an_unknown_outcome_stops_the_run_and_a_later_run_finds_the_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("createBulkJob", "drop_after")
    sandbox.state.faults.add("listBulkJobs", "status", status=502, times=None, after=2)
    outcome = purge(alert, api, tmp_path / "one")
    assert (outcome.exit_code, outcome.error["type"]) == (7, "OutcomeUnknown")
    sandbox.state.faults.clear()
    assert purge(alert, api, tmp_path / "two").status == "completed"
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_what_was_wrongly_held_is_released(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    outcome = run("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30}, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["complete"]) == ("completed", True), outcome.message
    assert outcome.outputs["released"] > 0
    again = run("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30}, api, tmp_path / "again")
    assert again.status == "completed"


def test_malicious_mail_is_not_released_unless_it_is_said(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("searchMessages", "rewrite", set={"final_disposition": "MALICIOUS"}, times=2)
    given = {"alert": FALSE_POSITIVE, "lookback_days": 30}
    refused = run("false-positive-release", given, api, tmp_path / "one")
    assert (refused.status, refused.exit_code) == ("refused", 3)
    assert sandbox.state.truth()["jobs"] == []
    allowed = run("false-positive-release", {**given, "allow_malicious": True}, api, tmp_path / "two")
    assert allowed.status == "completed"


def test_an_alert_without_what_is_needed_is_refused_with_pointers(tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        accept(library.find("phish-campaign-purge"), {"alert": {"From": 5}, "destination": "Inbox"})
    pointers = {problem["pointer"] for problem in caught.value.problems}
    assert {"/alert/From", "/destination"} <= pointers
    assert caught.value.exit_code == 2


def test_a_playbook_counts_with_the_search_that_its_job_runs() -> None:
    for playbook in PLAYBOOKS:
        steps = {step.id: step for step in playbook.steps}
        found, made = steps["find"], steps["create"]
        assert json.dumps(found.with_["search_params"]) == json.dumps(made.with_["search_params"])  # type: ignore[union-attr]


@pytest.mark.parametrize("to", [["billing@invoice-portal.example"], ["undisclosed-recipients:;"], [""], None, "x"])
def test_what_the_attacker_writes_into_the_to_header_does_not_switch_the_response_off(
    to: Any, alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    assert purge({**alert, "To": to}, api, tmp_path / "run").status == "completed"


def test_own_domains_can_be_told_where_the_alert_has_no_envelope(
    alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    bare = {**alert, "SMTPEnvelopeTo": []}
    assert purge(bare, api, tmp_path / "one", own_domains=["corp.example"]).status == "completed"
    own = {**bare, "From": "ceo@corp.example", "AlertID": "other"}
    assert purge(own, api, tmp_path / "two", own_domains=["corp.example"]).status == "refused"


@pytest.mark.parametrize("sender", ["partner-bank.example", "example", "@x.example", "a@b", "a b@c.example", ""])
@pytest.mark.parametrize("playbook_id", ["phish-campaign-purge", "false-positive-release"])
def test_a_sender_that_is_no_address_is_refused(playbook_id: str, sender: str) -> None:
    playbook = library.find(playbook_id)
    given = {"AlertID": "a", "From": sender, "Timestamp": 1795188755, "FinalDisposition": "malicious"}
    with pytest.raises(PackError) as caught:
        accept(playbook, {"alert": given})
    assert {problem["pointer"] for problem in caught.value.problems} == {"/alert/From"}


def test_a_job_that_discovers_more_than_allowed_is_cancelled_and_the_run_says_so(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    arrived = False

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        nonlocal arrived
        result = catalog.find(action).run(params, api)
        if action == "create-move-job" and not arrived:
            arrived = True
            more = {"total_messages_discovered": 900, "messages_pending": 900, "status": "DISCOVERING"}
            sandbox.state.faults.add("getBulkJob", "rewrite", set=more, times=1)
        return result

    playbook = library.find("phish-campaign-purge")
    outcome = local.run(
        playbook,
        accept(playbook, {"alert": alert, "max_messages": 60}),
        run_action=act,
        clock=api.clock,
        run_id="run-1",
        directory=tmp_path / "run",
    )
    [job] = sandbox.state.truth()["jobs"]
    assert job["status"] == "CANCELLED"
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)
    assert outcome.outputs["cancelled"] == job["messages_cancelled"]


def test_a_job_that_failed_is_no_success_and_another_attempt_makes_another_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("createBulkJob", "fail_job", rows=5)
    first = purge(alert, api, tmp_path / "one")
    assert (first.status, first.exit_code, first.outputs["outcome"]) == ("incomplete", 8, "failed")
    assert first.outputs["complete"]
    again = purge(alert, api, tmp_path / "two")
    assert (again.status, again.exit_code) == ("incomplete", 8)
    assert "attempt" in again.message
    third = purge(alert, api, tmp_path / "three", attempt=2)
    assert third.status == "completed"
    assert len(sandbox.state.truth()["jobs"]) == 2


def test_the_closing_numbers_add_up_also_for_a_cancelled_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "wait-for-job" and params["timeout_seconds"] == 300:
            catalog.find("cancel-job").run({"job_id": params["job_id"]}, api)
        return catalog.find(action).run(params, api)

    playbook = library.find("phish-campaign-purge")
    outcome = local.run(
        playbook,
        accept(playbook, {"alert": alert}),
        run_action=act,
        clock=api.clock,
        run_id="run-1",
        directory=tmp_path / "run",
    )
    numbers = outcome.outputs
    parts = ("moved", "failed", "skipped", "cancelled", "pending")
    assert numbers["discovered"] == sum(numbers[part] for part in parts)
    assert (outcome.exit_code, numbers["outcome"]) == (8, "cancelled")


def test_the_longest_sender_still_gets_its_report(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sender = "a" * 60 + "@" + ".".join(["b" * 60] * 4) + ".example"
    message = {"from": sender, "to": ["dana@corp.example"], "subject": "x", "disposition": "MALICIOUS"}
    with httpx.Client(base_url=sandbox.control_url) as control:
        control.post("mail", json=message).raise_for_status()
    outcome = purge({**alert, "From": sender}, api, tmp_path / "run")
    assert outcome.status == "completed", outcome.error
