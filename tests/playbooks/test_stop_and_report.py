"""stop-and-report cancels a job, and leaves a report of what the job did, also of a job that has already ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job
from connectors.email_security import EmailSecurity
from playbooks.drivers.outcome import Outcome
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN
from tests.playbooks.killing import run_killed_once
from tests.playbooks.shop_mail import SMALL, deliver, move
from tests.playbooks.test_shipped_playbooks import Act, ActionRecorder, evidence, run
from tests.slow import some_of


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMALL, pace=Pace(discover_rate=20, process_rate=1))


def begin(sandbox: RunningSandbox, api: EmailSecurity) -> str:
    """Create a job that works for several seconds, and return its ID a few seconds later."""
    request = {"search_params": CAMPAIGN, "destination": "JunkEmail", "requested_by": "ana@corp.example"}
    job_id: str = create_move_job.run(request, api)["job_id"]
    sandbox.state.advance(3)
    assert not api.get_job(job_id).has_ended
    return job_id


def stop(job_id: str, api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Outcome:
    outcome: Outcome = run("stop-and-report", {"job_id": job_id, **inputs}, api, directory, act)
    return outcome


def test_a_running_job_is_stopped_and_its_report_names_who_and_what(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = begin(sandbox, api)
    act = ActionRecorder(api)
    outcome = stop(job_id, api, tmp_path / "run", act, reason="Wrong sender")
    outputs: Any = outcome.outputs
    assert (outcome.status, outputs["stopped"], outputs["status"]) == ("completed", True, "CANCELLED"), outcome.error
    assert outputs["not_reached"] > 0
    [job] = sandbox.state.truth()["jobs"]
    assert (outputs["moved"], outputs["released"]) == (job["messages_successful"], None)
    report = evidence(tmp_path / "run", "report.md")
    assert "Wrong sender" in report
    assert "ana@corp.example" in report
    assert outputs["summary"].startswith("The job was stopped. It has the status CANCELLED: ")
    [notice] = act.params_of("notify")
    assert (notice["event"], notice["message"], notice["facts"]["stopped"]) == ("done", outputs["summary"], True)


def test_a_job_that_has_ended_is_reported(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    deliver(sandbox, "a", "b")
    outcome = stop(move(api), api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("completed", 0), outcome.error
    assert outcome.outputs["stopped"] is False
    assert outcome.message == outcome.outputs["summary"]
    assert outcome.message == (
        "The job had already ended, and nothing was stopped. It has the status COMPLETED: 2 messages were moved, 0 not "
        "reached."
    )
    assert outcome.outputs["complete"] is True


def test_a_job_that_was_stopped_before_is_reported_again(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = begin(sandbox, api)
    stop(job_id, api, tmp_path / "one")
    again = stop(job_id, api, tmp_path / "two")
    assert (again.status, again.outputs["stopped"], again.outputs["status"]) == ("completed", False, "CANCELLED")
    assert str(again.message).startswith("The job had been stopped before. It has the status CANCELLED: ")


def test_a_job_that_does_not_exist_is_an_error(api: EmailSecurity, tmp_path: Path) -> None:
    act = ActionRecorder(api)
    outcome = stop("3c2f6f0e-0000-4000-8000-000000000000", api, tmp_path / "run", act)
    assert (outcome.status, outcome.exit_code) == ("failed", 5)
    assert [notice["event"] for notice in act.params_of("notify")] == ["failed"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_of_the_cancel_is_looked_up(
    fault: Any, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = begin(sandbox, api)
    sandbox.state.faults.add("cancelBulkJob", fault)
    outcome = stop(job_id, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["status"]) == ("completed", "CANCELLED"), outcome.error


@pytest.mark.parametrize("boundary", some_of(range(1, 9), 2, 3))
def test_a_run_killed_at_any_action_stops_the_job_and_reports_it(
    boundary: int, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = begin(sandbox, api)
    outcome = run_killed_once("stop-and-report", {"job_id": job_id}, api, tmp_path / "run", boundary)
    assert (outcome.status, outcome.outputs["status"]) == ("completed", "CANCELLED"), outcome.error
    assert outcome.outputs["complete"] is True
    # After a kill between the cancel and its record, the run can't know that it stopped the job itself.
    assert "nothing was stopped" not in str(outcome.outputs["summary"])
