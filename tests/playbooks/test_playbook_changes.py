"""The final error of a run reports the changes of all its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import (
    NotFound,
    OutcomeUnknown,
    OutputError,
    PackError,
    ParameterError,
    PermissionDenied,
    RateLimited,
)
from playbooks.drivers.outcome import Outcome
from playbooks.engine.changes import Change, with_changes
from playbooks.engine.state import ActionTraits
from playbooks.language.errors import RunRecordUnwritable
from playbooks.language.format import Playbook
from playbooks.language.loading import load
from tests.playbooks.conftest import KEY
from tests.playbooks.driving import resume, run

TRAITS = {
    "search-messages": ActionTraits(effect="read"),
    "create-move-job": ActionTraits(effect="irreversible"),
    "wait-for-job": ActionTraits(effect="read"),
    "export-job-messages": ActionTraits(effect="read"),
    "tidy": ActionTraits(effect="write"),
}
Build = Callable[..., Any]


@pytest.fixture
def run_purge(purge: Playbook, alert: dict[str, Any], clock: Any, tmp_path: Path) -> Callable[..., Outcome]:
    def run_it(run_action: Any, playbook: Playbook = purge, **inputs: Any) -> Outcome:
        return run(
            playbook,
            {"alert": alert, **inputs},
            run_action=run_action,
            clock=clock,
            key=KEY,
            run_id="run-1",
            directory=tmp_path / "run",
            traits=TRAITS,
        )

    return run_it


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ParameterError("no"), 7),
        (RateLimited("slow down"), 7),
        (OutputError("disk full"), 7),
        (PermissionDenied("no"), 4),
        (NotFound("gone"), 5),
    ],
)
def test_a_failure_after_a_change_reports_the_change(
    run_purge: Build, remote: Build, error: PackError, exit_code: int
) -> None:
    outcome = run_purge(remote(wait_for_job=[error]))
    assert (outcome.status, outcome.exit_code) == ("failed", exit_code)
    assert (outcome.error["type"], outcome.error["applied"]) == (type(error).__name__, "yes")
    assert outcome.error["job_id"] == "job-1"
    assert outcome.error["changes"] == [
        {"step": "create", "action": "create-move-job", "applied": "yes", "job_id": "job-1"}
    ]
    assert outcome.error["help"].startswith("Step 'create' (create-move-job) is done, job job-1. ")
    assert "A resumed run continues with step 'wait'" in outcome.error["help"]
    assert "Nothing was" not in outcome.error["help"]
    assert outcome.steps["wait"]["error"]["applied"] == "no"


def test_a_failure_before_any_change_keeps_its_own_help(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(search_messages=[RateLimited("slow down")]))
    assert (outcome.exit_code, outcome.error) == (6, RateLimited("slow down").document()["error"])


def test_an_unknown_outcome_keeps_its_own_help(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(create_move_job=[OutcomeUnknown("lost")]))
    assert (outcome.exit_code, outcome.error) == (7, OutcomeUnknown("lost").document()["error"])


def test_an_unknown_outcome_after_a_change_stays_unknown_and_names_the_job(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(tidy=[OutcomeUnknown("lost")]), destination="Trash")
    assert (outcome.exit_code, outcome.error["applied"], outcome.error["job_id"]) == (7, "unknown", "job-1")
    assert [change["step"] for change in outcome.error["changes"]] == ["create", "tidy"]


def test_an_uncertain_change_is_reported_as_uncertain(run_purge: Build, remote: Build, purge_text: str) -> None:
    text = purge_text.replace(
        "- {type: RateLimited, retry", "- {type: OutcomeUnknown, do: continue}\n      - {type: RateLimited, retry"
    )
    outcome = run_purge(remote(create_move_job=[OutcomeUnknown("lost")]), load(text))
    assert (outcome.status, outcome.error["type"], outcome.error["applied"]) == (
        "failed",
        "ExpressionFailed",
        "unknown",
    )
    assert outcome.exit_code == 7
    assert "Step 'create' (create-move-job) may have changed something." in outcome.error["help"]
    assert "Check these steps before you run the playbook again." in outcome.error["help"]


def test_a_refusing_check_after_a_change_exits_7(run_purge: Build, remote: Build, purge_text: str) -> None:
    text = purge_text.replace("    outcome: incomplete\n", "")
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}}
    outcome = run_purge(remote(wait_for_job=[done]), load(text))
    assert (outcome.status, outcome.exit_code, outcome.error["applied"]) == ("refused", 7, "yes")
    assert outcome.error["job_id"] == "job-1"


def test_an_incomplete_run_names_its_job(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(wait_for_job=[{"done": True, "progress": {"discovered": 3, "failed": 1}}]))
    assert (outcome.exit_code, outcome.error["applied"], outcome.error["job_id"]) == (8, "yes", "job-1")


def test_a_step_that_is_never_done_after_a_change_exits_7(run_purge: Build, remote: Build) -> None:
    outcome = run_purge(remote(wait_for_job=[{"done": False, "next_poll_seconds": 1, "resume": None}]))
    assert (outcome.error["type"], outcome.exit_code, outcome.error["applied"]) == ("RepeatLimitReached", 7, "yes")


def test_the_changes_are_known_after_a_resume(run_purge: Build, remote: Build, clock: Any, tmp_path: Path) -> None:
    run_purge(remote(wait_for_job=[RateLimited("slow down")]))
    outcome = resume(tmp_path / "run", run_action=remote(wait_for_job=[RateLimited("slow down")]), clock=clock, key=KEY)
    assert (outcome.exit_code, outcome.error and outcome.error["applied"]) == (7, "yes")


def wait_of(*, changed: bool | None, **more: Any) -> dict[str, Any]:
    """Return the result of an ended wait with a failed message, after which the run ends as incomplete."""
    done = {"done": True, "progress": {"discovered": 3, "failed": 1}, **more}
    return done if changed is None else {**done, "changed": changed}


@pytest.fixture
def may_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count a wait as a write, like a wait with a discovery limit."""
    monkeypatch.setitem(TRAITS, "wait-for-job", ActionTraits(effect="write"))


@pytest.mark.usefixtures("may_cancel")
@pytest.mark.parametrize(
    ("result", "changed_steps"),
    [
        (wait_of(changed=False), []),
        (wait_of(changed=None, dry_run=True), []),
        (wait_of(changed=True), ["wait"]),
        (wait_of(changed=None), ["wait"]),
        (wait_of(changed=None, dry_run=False), ["wait"]),
        (wait_of(changed=True, dry_run=False), ["wait"]),
    ],
)
def test_a_step_that_may_write_counts_as_a_change_unless_its_result_says_unchanged(
    run_purge: Build, remote: Build, result: dict[str, Any], changed_steps: list[str]
) -> None:
    outcome = run_purge(remote(wait_for_job=[result]))
    assert [change["step"] for change in outcome.error["changes"]] == ["create", *changed_steps]


@pytest.mark.usefixtures("may_cancel")
@pytest.mark.parametrize("value", [None, 0, "", "false", []])
def test_only_false_means_that_nothing_was_changed(run_purge: Build, remote: Build, value: Any) -> None:
    outcome = run_purge(remote(wait_for_job=[{**wait_of(changed=None), "changed": value, "dry_run": 1}]))
    assert [change["step"] for change in outcome.error["changes"]] == ["create", "wait"]


@pytest.mark.usefixtures("may_cancel")
def test_a_result_without_a_change_does_not_clear_an_earlier_unknown_outcome(
    run_purge: Build, remote: Build, purge_text: str
) -> None:
    text = purge_text.replace(
        "limit: 5}\n", "limit: 5}\n    on_error:\n      - {type: OutcomeUnknown, retry: {times: 1, after: 1}}\n"
    )
    lost = OutcomeUnknown("lost", job_id="job-1")
    outcome = run_purge(remote(wait_for_job=[lost, wait_of(changed=False)]), load(text))
    assert [(change["step"], change["applied"]) for change in outcome.error["changes"]] == [
        ("create", "yes"),
        ("wait", "unknown"),
    ]


@pytest.mark.usefixtures("may_cancel")
def test_a_refusal_after_steps_without_changes_exits_3(run_purge: Build, remote: Build, purge_text: str) -> None:
    text = purge_text.replace("    outcome: incomplete\n", "").replace("action: create-move-job", "action: tidy")
    dry = {"job_id": "job-1", "status": "PENDING", "dry_run": True}
    outcome = run_purge(remote(tidy=[dry], wait_for_job=[wait_of(changed=False)]), load(text))
    assert (outcome.status, outcome.exit_code, outcome.error["applied"]) == ("refused", 3, "no")
    assert "changes" not in outcome.error


@pytest.mark.parametrize(
    ("found", "beginning", "exit_code"),
    [
        ([], "Nothing was changed.", 6),
        ([Change("move", "create-move-job", "yes", "J")], "Step 'move' (create-move-job) is done, job J.", 7),
    ],
)
def test_a_state_that_cannot_be_stored_reports_the_changes_and_the_help_of_its_cause(
    found: list[Change], beginning: str, exit_code: int
) -> None:
    error = RunRecordUnwritable("the store is locked", help="Nothing was run. Wait until the other process ends.")
    assert with_changes(error, found).help == (
        f"{beginning} Wait until the other process ends. Then resume the run: a step without a recorded result runs "
        "again, which is safe."
    )
    assert error.exit_code == exit_code
