"""Every shipped playbook is checked, and run against the sandbox with and without faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from actions import preview_job
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.errors import OutcomeUnknown, PackError
from platforms.playbook_session import traits
from playbooks import library
from playbooks.language.bundling import every_step
from playbooks.language.check import check
from playbooks.language.finding import Finding
from playbooks.language.format import ActionStep, Playbook
from playbooks.language.inputs import accept
from playbooks.language.loading import load
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.playbooks import driving
from tests.playbooks.conftest import KEY
from tests.playbooks.killing import run_killed_once
from tests.remediation.guardrails.test_approval import BOB, private_pem, public_pem
from tests.slow import some_of

PLAYBOOKS = library.available()
BY_ID = {playbook.id: playbook for playbook in PLAYBOOKS}

EXAMPLE_INPUTS = sorted((EXAMPLE_ALERT.parent / "inputs").glob("*.json"))

# The playbooks that answer an alert with one job.
ONE_JOB_PLAYBOOKS = ("phish-campaign-purge", "false-positive-release")

# The actions that create a job from a plan.
MAKE_JOBS = ("create-job", "create-move-job", "release-job")

ACTIONS = catalog.available()
FALSE_POSITIVE = {
    "AlertID": "fp-1",
    "From": "statements@partner-bank.example",
    "Timestamp": "2026-11-20T15:32:35Z",
    "FinalDisposition": "spam",
    "DMARCResult": "pass",
}

Connect = Callable[..., EmailSecurity]
Act = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def alert() -> dict[str, Any]:
    """The example alert, whose campaign is in the sandbox."""
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


@cache
def schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of parameters and of results, by action."""
    return (
        {name: action.params.model_json_schema() for name, action in ACTIONS.items()},
        {name: action.result.model_json_schema(mode="serialization") for name, action in ACTIONS.items()},
    )


def findings(playbook: Playbook) -> list[Finding]:
    return check(
        playbook,
        *schemas(),
        effects={name: action.effect for name, action in ACTIONS.items()},
    )


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: str(playbook.id))
def test_a_shipped_playbook_has_no_finding(playbook: Playbook) -> None:
    assert findings(playbook) == []


@pytest.mark.parametrize("file", sorted(library.FOLDER.glob("*.yaml")), ids=lambda file: str(file.stem))
def test_a_shipped_playbook_is_named_after_its_file_and_described(file: Path) -> None:
    playbook = load(file)
    assert playbook.id == file.stem, f"{file.name}: set id to {file.stem}"
    assert playbook.description, f"{file.name}: add a description"
    assert [name for name, spec in playbook.inputs.items() if not spec.description] == [], f"{file.name}: describe them"
    assert [step.id for step in playbook.steps if not step.title] == [], f"{file.name}: give them a title"


@pytest.mark.parametrize("file", EXAMPLE_INPUTS, ids=lambda file: str(file.stem))
def test_an_example_of_inputs_is_accepted_by_its_playbook(file: Path) -> None:
    given = json.loads(file.read_text())
    assert accept(library.find(file.stem), given).items() >= given.items()


def test_the_documented_steps_with_a_plan_have_no_finding() -> None:
    page = (EXAMPLE_ALERT.parents[1] / "docs" / "reference" / "playbook-language.md").read_text()
    [steps] = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    inputs = "{alert: {type: object, description: d}, max_messages: {type: integer, description: d}}"
    assert findings(load(f"playbook: 1\nid: a\ntitle: t\ninputs: {inputs}\nsteps:\n{steps}")) == []


def run(playbook_id: str, inputs: dict[str, Any], api: EmailSecurity, directory: Path, act: Act | None = None) -> Any:
    playbook = BY_ID[playbook_id]
    return driving.run(
        playbook,
        accept(playbook, inputs),
        run_action=act or (lambda action, params: catalog.find(action).run(params, api)),
        clock=api.clock,
        key=KEY,
        run_id="run-1",
        directory=directory,
        traits=traits(),
    )


def purge(alert: dict[str, Any], api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Any:
    return run("phish-campaign-purge", {"alert": alert, **inputs}, api, directory, act)


class ActionRecorder:
    """Run the actions and record their parameters."""

    def __init__(self, api: EmailSecurity) -> None:
        self.api = api
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((action, params))
        return catalog.find(action).run(params, self.api)

    def params_of(self, action: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == action]


def evidence(directory: Path, name: str) -> str:
    """Return the text of a file in the evidence bundle of a run."""
    with ZipFile(directory / "evidence.zip") as bundle:
        return bundle.read(name).decode()


def make_plan(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    """Return a plan for the example alert, made outside a run."""
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", **changes}, api)


def test_an_alert_runs_from_search_to_report(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge(alert, api, tmp_path / "run")
    outputs = outcome.outputs
    assert (outcome.status, outcome.exit_code, outputs["complete"]) == ("completed", 0, True)
    assert outputs["discovered"] == outputs["moved"] + outputs["failed"] + outputs["skipped"] >= 40
    assert len(sandbox.state.truth()["jobs"]) == 1
    assert [Path(file["path"]).name for file in outputs["files"]] == ["evidence.zip"]
    for file in outputs["files"]:
        assert Path(file["path"]).stat().st_size == file["bytes"] > 0
    rows = outputs["discovered"]
    assert f"The export is complete: {rows} of {rows} expected rows" in evidence(tmp_path / "run", "report.md")


def test_a_hostile_subject_is_never_a_template(alert: dict[str, Any], api: EmailSecurity, tmp_path: Path) -> None:
    assert "{{ 7*7 }}" in alert["Subject"]
    outcome = purge(alert, api, tmp_path / "run")
    texts = [evidence(tmp_path / "run", name) for name in ("report.html", "report.md", "rows.csv")]
    for text in (*texts, json.dumps(outcome.document())):
        assert "invoice 49 for" not in text
        assert "7*7" in text or "7\\*7" in text


def test_the_same_alert_reuses_the_existing_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    first = purge(alert, api, tmp_path / "one").outputs
    recorder = ActionRecorder(api)
    second = purge(alert, api, tmp_path / "two", recorder)
    assert first["job_id"] == second.outputs["job_id"]
    assert len(sandbox.state.truth()["jobs"]) == 1
    # Some messages failed in the first run and are still delivered; this run moved none.
    assert second.exit_code == (8 if first["failed"] else 0), second.error
    # The job has the plan of the first run, so max_messages limits it, not the plan of this run.
    assert [("plan" in wait, wait["cancel_if_discovered_over"]) for wait in recorder.params_of("wait-for-job")] == [
        (False, 1000)
    ]
    assert (second.outputs["plan_hash"], second.outputs["searched_until"]) == (None, first["searched_until"])


def test_more_than_max_messages_is_refused_before_any_change(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge(alert, api, tmp_path / "run", max_messages=39)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert f"finds {make_plan(api)['messages']} messages" in outcome.message
    assert "max_messages is 39" in outcome.message
    assert sandbox.state.truth()["jobs"] == []


def test_far_more_than_max_messages_is_refused_without_a_full_count(
    alert: dict[str, Any], start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(campaign_size=1100)
    outcome = purge(alert, connect(sandbox), tmp_path / "run", max_messages=1)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "finds more than 1,002 messages" in outcome.message
    assert "max_messages is 1." in outcome.message
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize(
    "change",
    some_of(
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
        0,
        1,
        3,
        5,
        8,
        9,
    ),
)
def test_an_alert_that_is_not_about_phish_from_an_outsider_is_refused(
    change: dict[str, Any], alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, **change}, api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert sandbox.state.truth()["calls"] == {}


def test_a_campaign_without_messages_completes_early(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, "From": "nobody@nowhere.example", "DMARCResult": "pass"}, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["job_id"]) == ("completed", None)
    assert "nothing to move" in outcome.message
    assert sandbox.state.truth()["jobs"] == []


FAULTS: dict[str, list[dict[str, Any]]] = {
    "the answer to the create is lost": [{"operation": "createBulkJob", "kind": "drop_after"}],
    "the create never arrives": [{"operation": "createBulkJob", "kind": "drop_before"}],
    "a temporary outage": [{"operation": "*", "kind": "status", "status": 503, "times": 15, "after": 3}],
    "a rate limit block during the wait": [
        {"operation": "getBulkJob", "kind": "rate_limit", "retry_after": 280, "block": True, "after": 1}],
    "an HTML page as answer": [{"operation": "*", "kind": "html", "times": 2, "after": 2}],
    "an empty page of rows": [{"operation": "listBulkJobMessages", "kind": "empty_page"}],
    "rows shift between pages": [{"operation": "listBulkJobMessages", "kind": "shift_rows", "by": -3}],
    "a slow search": [{"operation": "searchMessages", "kind": "slow_search", "seconds": 20}],
}  # fmt: skip


@pytest.mark.parametrize("case", some_of(FAULTS, 0, 2, 6))
def test_a_run_with_faults_makes_one_job_and_a_complete_export(
    case: str, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    for fault in FAULTS[case]:
        sandbox.state.faults.add(**fault)
    outcome = purge(alert, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["complete"]) == ("completed", True), outcome.error
    assert len(sandbox.state.truth()["jobs"]) == 1


@pytest.mark.parametrize("boundary", some_of(range(1, 15), 6, 7, 11))
def test_a_run_killed_at_any_action_is_resumed_and_creates_one_job(
    boundary: int, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = run_killed_once("phish-campaign-purge", {"alert": alert}, api, tmp_path / "run", boundary)
    assert (outcome.status, outcome.outputs["complete"]) == ("completed", True)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_missing_write_permission_fails_the_run(
    alert: dict[str, Any], sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    outcome = purge(alert, connect(sandbox, api_token=sandbox.read_token), tmp_path / "run")
    assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 4, "PermissionDenied")
    assert sandbox.token.encode() not in driving.store_of(tmp_path / "run").read_bytes()


def test_an_unknown_outcome_stops_the_run_and_a_later_run_finds_the_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("createBulkJob", "drop_after")
    sandbox.state.faults.add("listBulkJobs", "status", status=502, times=None, after=2)
    outcome = purge(alert, api, tmp_path / "one")
    assert (outcome.exit_code, outcome.error["type"]) == (7, "OutcomeUnknown")
    sandbox.state.faults.clear()
    later = purge(alert, api, tmp_path / "two")
    # The job has ended in the meantime; its failed messages remain.
    assert (later.outputs["complete"], later.outputs["created"]) == (True, False)
    assert later.exit_code == (8 if later.outputs["still_delivered"] else 0)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_wrongly_quarantined_mail_is_released(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    outcome = run("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30}, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["complete"]) == ("completed", True), outcome.message
    assert outcome.outputs["released"] > 0
    again = run("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30}, api, tmp_path / "again")
    assert again.status == "completed"


def test_malicious_mail_is_not_released_without_the_flag(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("searchMessages", "rewrite", set={"final_disposition": "MALICIOUS"}, times=2)
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30}
    refused = run("false-positive-release", inputs, api, tmp_path / "one")
    assert (refused.status, refused.exit_code) == ("refused", 3)
    assert sandbox.state.truth()["jobs"] == []
    allowed = run("false-positive-release", {**inputs, "allow_malicious": True}, api, tmp_path / "two")
    assert allowed.status == "completed"


def test_an_incomplete_alert_is_refused_with_pointers(tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        accept(library.find("phish-campaign-purge"), {"alert": {"From": "x"}, "destination": "Inbox"})
    pointers = {problem["pointer"] for problem in caught.value.problems}
    assert {"/alert/AlertID", "/destination"} <= pointers
    assert caught.value.exit_code == 2


def test_every_job_of_a_shipped_playbook_is_made_from_a_plan() -> None:
    for playbook in PLAYBOOKS:
        for step in every_step(playbook):
            if isinstance(step, ActionStep) and step.action in MAKE_JOBS:
                assert step.with_["plan"]
                assert not {"search_params", "destination"} & set(step.with_)


@pytest.mark.parametrize(
    ("playbook_id", "inputs"),
    [("phish-campaign-purge", {}), ("false-positive-release", {"alert": FALSE_POSITIVE, "lookback_days": 30})],
)
def test_the_job_has_the_search_and_window_of_the_preview(
    playbook_id: str,
    inputs: dict[str, Any],
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    api: EmailSecurity,
    tmp_path: Path,
) -> None:
    outcome = run(playbook_id, {"alert": alert, **inputs}, api, tmp_path / "run")
    plan = outcome.steps["preview"]["result"]
    [job] = sandbox.state.truth()["jobs"]
    assert plan["search_params"].items() <= job["search_params"].items()
    assert job["search_params"]["end"] == outcome.outputs["searched_until"] == "2026-11-20T16:02:35Z"
    assert f"plan={plan['plan_hash'][:8]}" in job["comment"]
    assert (outcome.outputs["plan_hash"], outcome.outputs["previewed"]) == (plan["plan_hash"], plan["messages"])


@pytest.mark.parametrize(
    "to",
    some_of([["billing@invoice-portal.example"], ["undisclosed-recipients:;"], [""], None, "x"], 1, 3),
)
def test_a_hostile_to_header_does_not_prevent_the_response(
    to: Any, alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    assert purge({**alert, "To": to}, api, tmp_path / "run").status == "completed"


def test_own_domains_can_be_given_if_the_alert_has_no_envelope(
    alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    bare = {**alert, "SMTPEnvelopeTo": []}
    assert purge(bare, api, tmp_path / "one", own_domains=["corp.example"]).status == "completed"
    own = {**bare, "From": "ceo@corp.example", "AlertID": "other"}
    assert purge(own, api, tmp_path / "two", own_domains=["corp.example"]).status == "refused"


@pytest.mark.parametrize(
    "sender",
    some_of(["partner-bank.example", "example", "@x.example", "a@b", "a b@c.example", ""], 0, 3, 5),
)
@pytest.mark.parametrize("playbook_id", ONE_JOB_PLAYBOOKS)
def test_a_sender_that_is_not_an_address_is_refused(
    playbook_id: str, sender: str, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    alert = {"AlertID": "a", "From": sender, "Timestamp": 1795188755, "FinalDisposition": "malicious"}
    outcome = run(playbook_id, {"alert": alert}, api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    assert {problem["pointer"] for problem in outcome.error["problems"]} == {"/alert/From"}
    assert sandbox.state.truth()["jobs"] == []


class LateIndex(ActionRecorder):
    """Add earlier mail right after the job is created: no preview has seen it, but the job finds it."""

    def __init__(self, api: EmailSecurity, sandbox: RunningSandbox, messages: int) -> None:
        super().__init__(api)
        self.sandbox, self.messages = sandbox, messages

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        result = super().__call__(action, params)
        if action == "create-job":
            tenant = self.sandbox.state.tenant
            like = tenant.from_sender(str(CAMPAIGN["sender"]))[0]
            for number in range(self.messages):
                tenant.add(
                    time=like.time,
                    sender=like.sender,
                    subject=f"late {number}",
                    recipients=("late@corp.example",),
                    disposition="MALICIOUS",
                    attachments=like.attachments,
                )
        return result


# The check for duplicates after a create advances the clock; mail added after that would be too late.
NO_DUPLICATE_CHECK_DELAY = {"listing_lag_seconds": 0}

# Slow enough to poll a job while it discovers messages.
SLOW = Pace(discover_rate=20, process_rate=5)


@pytest.mark.parametrize("by_max_messages", [False, True], ids=["more than the plan allows", "more than max_messages"])
def test_a_job_that_discovers_more_than_allowed_is_cancelled_and_reported(
    by_max_messages: bool,
    alert: dict[str, Any],
    start_sandbox: Callable[..., RunningSandbox],
    connect: Connect,
    tmp_path: Path,
) -> None:
    sandbox = start_sandbox(pace=SLOW)
    api = connect(sandbox, **NO_DUPLICATE_CHECK_DELAY)
    plan = make_plan(api)
    max_messages = plan["messages"] if by_max_messages else 1000
    allowed = min(max_messages, plan["cancel_if_discovered_over"])
    assert plan["messages"] < plan["cancel_if_discovered_over"]
    outcome = purge(alert, api, tmp_path / "run", LateIndex(api, sandbox, 100), max_messages=max_messages)
    [job] = sandbox.state.truth()["jobs"]
    assert (job["status"], job["messages_successful"]) == ("CANCELLED", 0)
    discovered = job["total_messages_discovered"]
    assert allowed < discovered < plan["messages"] + 100
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)
    assert f"discovered {discovered} messages, more than the {allowed} that the plan and max" in outcome.message
    assert "It ended with status CANCELLED; 0 messages were moved" in outcome.message
    assert outcome.outputs["cancelled"] == job["messages_cancelled"] > 0
    assert [change["step"] for change in outcome.error["changes"]] == ["job/create", "job/watch"]
    report = evidence(tmp_path / "run", "report.md")
    assert f"more than the {allowed} allowed" in report
    assert f"the job discovered {discovered} messages, and this run's plan has {plan['messages']}" in report


def test_a_cancel_with_an_unknown_outcome_is_retried(
    alert: dict[str, Any], start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(pace=SLOW)
    api = connect(sandbox, **NO_DUPLICATE_CHECK_DELAY)
    # The permission check meets the first fault, the cancel the others.
    sandbox.state.faults.add("cancelBulkJob", "drop_before", times=4)
    act = LateIndex(api, sandbox, 100)
    outcome = purge(alert, api, tmp_path / "run", act)
    [job] = sandbox.state.truth()["jobs"]
    assert job["status"] == "CANCELLED"
    assert len(act.params_of("wait-for-job")) == 2
    assert outcome.steps["job/watch"]["doubt"]["error"]["type"] == "OutcomeUnknown"
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)


@pytest.mark.parametrize("playbook_id", ONE_JOB_PLAYBOOKS)
def test_a_wait_with_an_unknown_outcome_is_retried(
    playbook_id: str, alert: dict[str, Any], api: EmailSecurity, tmp_path: Path
) -> None:
    errors = [OutcomeUnknown("Could not determine whether the job was cancelled")] * 2

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "wait-for-job" and errors:
            raise errors.pop()
        return catalog.find(action).run(params, api)

    release = playbook_id == "false-positive-release"
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30} if release else {"alert": alert}
    assert run(playbook_id, inputs, api, tmp_path / "run", act).status == "completed"


def test_a_wait_that_cancels_nothing_is_no_change(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sandbox.state.faults.add("createBulkJob", "fail_job", rows=5)
    outcome = purge(alert, api, tmp_path / "run")
    assert [change["step"] for change in outcome.error["changes"]] == ["job/create"]


def test_mail_that_arrives_after_the_plan_is_not_moved_and_is_reported(
    alert: dict[str, Any], start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(late_copies=20, late_every=0.2)
    api = connect(sandbox)
    first = purge(alert, api, tmp_path / "one").outputs
    assert first["previewed"] == first["discovered"]
    until = first["searched_until"]
    warning = f"this job does not include mail that arrived after {until}"
    for name in ("report.html", "report.md"):
        assert warning in evidence(tmp_path / "one", name)
    second = purge(alert, api, tmp_path / "two", attempt=2).outputs
    assert second["discovered"] >= first["discovered"] + 20
    assert (second["job_id"] != first["job_id"], second["searched_until"] > until) == (True, True)


POLICIES: dict[str, str] = {
    "PolicyRefused": "max_messages: 1",
    "ProtectedRefused": "protected_senders: [invoice-portal.example, partner-bank.example]",
}


@pytest.fixture
def connect_with_policy(sandbox: RunningSandbox, connect: Connect, tmp_path: Path) -> Callable[..., EmailSecurity]:
    """A function that connects under a policy with this text."""

    def connect_under(text: str, **settings: Any) -> EmailSecurity:
        file = tmp_path / "policy.yaml"
        file.write_text(f"policy: 1\n{text}\n")
        return connect(sandbox, policy_file=str(file), **settings)

    return connect_under


@pytest.mark.parametrize("playbook_id", ONE_JOB_PLAYBOOKS)
@pytest.mark.parametrize("refusal", POLICIES)
def test_a_refusal_in_the_preview_ends_the_run_with_its_message(
    refusal: str,
    playbook_id: str,
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    connect_with_policy: Callable[..., EmailSecurity],
    tmp_path: Path,
) -> None:
    api = connect_with_policy(POLICIES[refusal])
    act = ActionRecorder(api)
    release = playbook_id == "false-positive-release"
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30} if release else {"alert": alert}
    outcome = run(playbook_id, inputs, api, tmp_path / "run", act)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    [reported] = outcome.steps["preview"]["result"]["refusals"]
    assert reported["type"] == refusal
    assert reported["message"] in outcome.message
    assert [name for name, _ in act.calls] == ["read-alert", "preview-job", "check-plan", "notify"]
    assert sandbox.state.truth()["jobs"] == []


APPROVED_BY_BOB = (
    f"approvers:\n  - name: bob\n    public_key: {json.dumps(public_pem(BOB))}\napproval_needed:\n  - approvals: 1"
)


def sign_approval(api: EmailSecurity, plan: dict[str, Any]) -> str:
    return approve(
        Signing(
            plan_hash=plan["plan_hash"],
            account_id=plan["account_id"],
            approver="bob",
            private_key_pem=private_pem(BOB),
            now=api.clock.now(),
            lifetime_seconds=3600,
            jti="1",
        )
    ).token


@pytest.mark.parametrize("playbook_id", ONE_JOB_PLAYBOOKS)
def test_a_run_without_approvals_returns_its_plan_and_runs_it_once_approved(
    playbook_id: str,
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    connect_with_policy: Callable[..., EmailSecurity],
    tmp_path: Path,
) -> None:
    api = connect_with_policy(APPROVED_BY_BOB, requested_by="alice")
    release = playbook_id == "false-positive-release"
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30} if release else {"alert": alert}
    unapproved = run(playbook_id, inputs, api, tmp_path / "one")
    assert (unapproved.status, unapproved.exit_code) == ("waiting", 6)
    waits_for = unapproved.waits_for
    assert (waits_for["signal"], waits_for["count"], waits_for["received"]) == ("job/approval", 1, 0)
    assert sandbox.state.truth()["jobs"] == []
    # Read as from a file or another program.
    plan = json.loads(json.dumps(waits_for["about"]["plan"]).replace('"max_drift": 10.0', '"max_drift": 10'))
    # The complete output of `cfes approve`.
    approved = {**inputs, "plan": plan, "approvals": [{"approval": sign_approval(api, plan), "approver": "bob"}]}
    act = ActionRecorder(api)
    done = run(playbook_id, approved, api, tmp_path / "two", act)
    assert (done.status, done.outputs["plan_hash"]) == ("completed", plan["plan_hash"]), done.error
    assert act.params_of("preview-job") == []
    assert {wait["plan"]["plan_hash"] for wait in act.params_of("wait-for-job")} == {plan["plan_hash"]}
    [job] = sandbox.state.truth()["jobs"]
    assert ":by=alice:ok=bob:n=" in job["comment"]
    # Long after the plan and its approval have expired, the job is reused and nothing is created.
    api.clock.sleep(48 * 3600)
    assert run(playbook_id, approved, api, tmp_path / "again").outputs["job_id"] == job["job_id"]


def test_a_waiting_run_makes_its_job_once_it_is_approved(
    alert: dict[str, Any], sandbox: RunningSandbox, connect_with_policy: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = connect_with_policy(APPROVED_BY_BOB, requested_by="alice")
    waiting = purge(alert, api, tmp_path / "run")
    token = sign_approval(api, waiting.waits_for["about"]["plan"])
    with driving.store_beside(tmp_path / "run", api.clock) as store:
        store.send_signal("run-1", "approval", token, "bob")
    api.clock.sleep(1800)
    act = ActionRecorder(api)
    outcome = driving.resume(tmp_path / "run", run_action=act, clock=api.clock)
    assert (outcome.status, outcome.outputs["created"]) == ("completed", True), outcome.error
    assert act.params_of("preview-job") == []
    [job] = sandbox.state.truth()["jobs"]
    assert ":by=alice:ok=bob:n=" in job["comment"]


def test_a_run_that_nobody_approves_ends_without_a_job(
    alert: dict[str, Any], sandbox: RunningSandbox, connect_with_policy: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = connect_with_policy(APPROVED_BY_BOB, requested_by="alice")
    purge(alert, api, tmp_path / "run")
    api.clock.sleep(25 * 3600)
    outcome = driving.resume(tmp_path / "run", run_action=ActionRecorder(api), clock=api.clock)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "requires 1 approval of the plan" in str(outcome.message)
    assert sandbox.state.truth()["jobs"] == []


def test_an_approval_of_another_plan_makes_no_job(
    alert: dict[str, Any], sandbox: RunningSandbox, connect_with_policy: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = connect_with_policy(APPROVED_BY_BOB, requested_by="alice")
    plan = make_plan(api)
    for number, other in enumerate((None, make_plan(api, sample=1))):
        outcome = purge(
            alert, api, tmp_path / str(number), approvals=[sign_approval(api, plan)], plan=other, search_by="sender"
        )
        assert (outcome.status, outcome.exit_code, outcome.error["type"]) == ("failed", 3, "ApprovalRefused")
    assert sandbox.state.truth()["jobs"] == []


def test_a_given_plan_is_used_without_a_new_preview(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    narrower = {**CAMPAIGN, "subject": "Overdue", "end": "2026-11-20T16:00:00Z"}
    plan = make_plan(api, search_params=narrower)
    act = ActionRecorder(api)
    outcome = purge(alert, api, tmp_path / "run", act, plan=plan, search_by="sender")
    assert outcome.status == "completed", outcome.error
    assert act.params_of("preview-job") == []
    [job] = sandbox.state.truth()["jobs"]
    assert plan["search_params"].items() <= job["search_params"].items()
    assert outcome.outputs["searched_until"] == "2026-11-20T16:00:00Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "DeletedItems"},
        {"action": "RELEASE", "destination": None},
        {"search_params": {"sender": "statements@partner-bank.example"}},
        {"search_params": {"sender": "invoice-portal.example"}},
        {"search_params": {"subject": "Overdue"}},
    ],
)
@pytest.mark.parametrize("playbook_id", ONE_JOB_PLAYBOOKS)
def test_a_plan_that_does_not_match_the_alert_is_refused(
    playbook_id: str,
    changes: dict[str, Any],
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    api: EmailSecurity,
    tmp_path: Path,
) -> None:
    plan = make_plan(api, **changes)
    release = playbook_id == "false-positive-release"
    matching_alert = {**FALSE_POSITIVE, "From": "somebody@else.example"} if release else alert
    outcome = run(
        playbook_id,
        {"alert": matching_alert, "plan": plan, "max_messages": 99_999, "search_by": "sender"},
        api,
        tmp_path / "run",
    )
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "The given plan does not" in outcome.message
    assert sandbox.state.truth()["jobs"] == []


def test_an_edited_or_too_large_plan_makes_no_job(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    plan = make_plan(api)
    edited = purge(alert, api, tmp_path / "one", plan={**plan, "messages": 7}, search_by="sender")
    assert (edited.exit_code, edited.error["type"]) == (3, "PlanRefused")
    large = purge(alert, api, tmp_path / "two", plan=plan, max_messages=7, search_by="sender")
    assert (large.status, large.exit_code) == ("refused", 3)
    # The counts of the plan are not trusted; the search is counted again.
    assert sandbox.state.truth()["jobs"] == []


def test_an_invalid_plan_is_refused_with_pointers(alert: dict[str, Any], api: EmailSecurity, tmp_path: Path) -> None:
    outcome = purge(alert, api, tmp_path / "run", plan={"messages": "x", "action": "MOVE"})
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    pointers = {problem["pointer"] for problem in outcome.error["problems"]}
    assert {"/plan/messages", "/plan/plan_hash", "/plan/search_params"} <= pointers


def test_a_plan_with_malicious_mail_is_not_released_without_the_flag(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    search = {"sender": FALSE_POSITIVE["From"], "delivery_status": "quarantined", "start": "2026-10-21T15:32:35Z"}
    sandbox.state.faults.add("searchMessages", "rewrite", set={"final_disposition": "MALICIOUS"}, times=None)
    made = {"action": "RELEASE", "search_params": search}
    plan, plan_with_refusal = preview_job.run({**made, "allow_malicious": True}, api), preview_job.run(made, api)
    assert (plan["malicious"] > 0, plan["refusals"]) == (True, [])
    assert [refusal["type"] for refusal in plan_with_refusal["refusals"]] == ["MaliciousRelease"]
    for number, refused_plan in enumerate((plan, plan_with_refusal)):
        refused = run(
            "false-positive-release", {"alert": FALSE_POSITIVE, "plan": refused_plan}, api, tmp_path / f"{number}"
        )
        assert (refused.status, refused.exit_code) == ("refused", 3)
        assert "have the verdict MALICIOUS" in refused.message
    assert sandbox.state.truth()["jobs"] == []
    reported = {"alert": FALSE_POSITIVE, "plan": plan_with_refusal, "allow_malicious": True}
    allowed = run("false-positive-release", reported, api, tmp_path / "allowed")
    assert allowed.status == "completed", allowed.error


def test_a_failed_job_is_incomplete_and_another_attempt_makes_a_new_job(
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


def test_the_final_counts_of_a_cancelled_job_add_up(
    alert: dict[str, Any], sandbox: RunningSandbox, connect: Connect, tmp_path: Path
) -> None:
    api = connect(sandbox, **NO_DUPLICATE_CHECK_DELAY)

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "wait-for-job" and params["timeout_seconds"] == 60:
            catalog.find("cancel-job").run({"job_id": params["job_id"]}, api)
        return catalog.find(action).run(params, api)

    playbook = library.find("phish-campaign-purge")
    outcome = driving.run(
        playbook,
        accept(playbook, {"alert": alert}),
        run_action=act,
        clock=api.clock,
        key=KEY,
        run_id="run-1",
        directory=tmp_path / "run",
    )
    numbers = outcome.outputs
    parts = ("moved", "failed", "skipped", "cancelled", "pending")
    assert numbers["discovered"] == sum(numbers[part] for part in parts)
    assert (outcome.exit_code, numbers["outcome"]) == (8, "cancelled")


def test_an_alert_with_the_longest_sender_completes(
    alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    sender = "a" * 60 + "@" + ".".join(["b" * 60] * 4) + ".example"
    message = {"from": sender, "to": ["dana@corp.example"], "subject": "x", "disposition": "MALICIOUS"}
    with httpx.Client(base_url=sandbox.control_url) as control:
        control.post("mail", json=message).raise_for_status()
    outcome = purge({**alert, "From": sender}, api, tmp_path / "run")
    assert outcome.status == "completed", outcome.error
