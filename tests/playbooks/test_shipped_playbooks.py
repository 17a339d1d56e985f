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
        {"FinalDisposition": "bulk"},
        {"FinalDisposition": "unset"},
    ],
)
def test_an_alert_that_is_not_about_an_outsiders_phish_is_refused(
    change: dict[str, str], alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
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
