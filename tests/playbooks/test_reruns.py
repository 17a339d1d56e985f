"""A rerun for the same alert reports that it moved nothing, and the remaining messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import restore_messages
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from platforms.playbook_session import traits
from playbooks import library
from playbooks.drivers.outcome import Outcome
from playbooks.language.inputs import accept
from sandbox.message import QUARANTINED, Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered
from tests.conftest import EXAMPLE_ALERT
from tests.playbooks import driving
from tests.playbooks.conftest import KEY
from tests.playbooks.test_shipped_playbooks import evidence

ATTACKER = Sender("billing@invoice-portal.example")
FALSE_POSITIVE = {
    "AlertID": "fp-1",
    "From": "statements@partner-bank.example",
    "Timestamp": "2026-11-20T15:32:35Z",
    "DMARCResult": "pass",
}


class WorkerKilled(BaseException):
    """Raised to simulate a kill of the worker."""


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def run(
    playbook_id: str, inputs: dict[str, Any], api: EmailSecurity, directory: Path, killed_at: str | None = None
) -> Outcome:
    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == killed_at:
            raise WorkerKilled
        return catalog.find(action).run(params, api)

    playbook = library.find(playbook_id)
    return driving.run(
        playbook, accept(playbook, inputs), run_action=act, clock=api.clock, key=KEY, run_id="r", directory=directory,
        traits=traits(),
    )  # fmt: skip


def purge(api: EmailSecurity, directory: Path, killed_at: str | None = None, **inputs: Any) -> Outcome:
    alert = json.loads(EXAMPLE_ALERT.read_text())
    inputs = {"alert": alert, "search_by": "sender", **inputs}
    return run("phish-campaign-purge", inputs, api, directory, killed_at)


def test_a_rerun_without_remaining_messages_completes_and_moves_nothing(api: EmailSecurity, tmp_path: Path) -> None:
    first = purge(api, tmp_path / "one")
    assert first.exit_code == 0, first.error
    assert first.outputs["moved"] > 0
    assert (first.outputs["created"], first.outputs["rerun"], first.outputs["earlier_job"]) == (True, None, None)
    again = purge(api, tmp_path / "two")
    assert (again.status, again.exit_code) == ("completed", 0), again.error
    outputs = again.outputs
    assert (outputs["created"], outputs["moved"], outputs["still_delivered"]) == (False, 0, 0)
    assert (outputs["outcome"], outputs["discovered"]) == ("nothing_new", None)
    assert outputs["rerun"] == again.message
    assert "moved nothing" in outputs["rerun"]
    assert outputs["earlier_job"]["moved"] == first.outputs["moved"]
    # The rows and the report are exported again.
    assert outputs["complete"] is True
    assert outputs["rerun"].split(". ")[0] in evidence(tmp_path / "two", "report.md")


def test_a_rerun_after_new_mail_reports_the_remaining_message_and_the_next_command(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    purge(api, tmp_path / "one")
    delivered(sandbox, "dana@corp.example", sender=ATTACKER, disposition="MALICIOUS")
    again = purge(api, tmp_path / "two")
    assert (again.status, again.exit_code) == ("incomplete", 8)
    assert again.error is not None
    assert again.error["applied"] == "no"
    message = again.error["message"]
    assert "moved nothing" in message
    assert "1 message of its search is still delivered" in message
    assert "--set attempt=2" in message
    assert (again.outputs["moved"], again.outputs["still_delivered"]) == (0, 1)
    third = purge(api, tmp_path / "three", attempt=2)
    assert (third.exit_code, third.outputs["created"]) == (0, True), third.error


def test_a_rerun_after_a_restore_is_incomplete(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    purge(api, tmp_path / "one")
    export = str(tmp_path / "one" / "evidence.zip")
    restore_messages.run({"export": export, "dry_run": False, "allow_malicious": True}, api)
    again = purge(api, tmp_path / "two")
    assert (again.status, again.exit_code) == ("incomplete", 8)
    assert again.outputs["still_delivered"] > 0


def test_a_second_worker_follows_the_running_job(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    # The create does not wait, so the job still runs.
    api = connect(sandbox, listing_lag_seconds=0)
    with pytest.raises(WorkerKilled):
        purge(api, tmp_path / "one", killed_at="wait-for-job")
    second = purge(api, tmp_path / "two")
    assert (second.status, second.exit_code) == ("completed", 0), second.error
    outputs = second.outputs
    assert (outputs["created"], outputs["rerun"], outputs["outcome"]) == (False, None, "succeeded")
    assert outputs["moved"] + outputs["skipped"] == outputs["discovered"] > 0
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_second_release_reports_mail_that_was_quarantined_later(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    inputs = {"alert": FALSE_POSITIVE, "lookback_days": 30}
    first = run("false-positive-release", inputs, api, tmp_path / "one")
    assert (first.exit_code, first.outputs["released"] > 0) == (0, True), first.error
    delivered(sandbox, "dana@corp.example", status=QUARANTINED)
    again = run("false-positive-release", inputs, api, tmp_path / "two")
    assert (again.status, again.exit_code) == ("incomplete", 8)
    assert (again.outputs["released"], again.outputs["still_held"]) == (0, 1)
    assert again.error is not None
    assert "released nothing" in again.error["message"]
    assert "--set attempt=2" in again.error["message"]


def test_a_rerun_with_a_failed_count_is_incomplete(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    first = purge(api, tmp_path / "one")
    # The searches of the preview succeed, the count after the create fails.
    previewed = sandbox.state.truth()["calls"]["searchMessages"]
    assert first.exit_code == 0
    sandbox.state.faults.add("searchMessages", "html", times=None, after=1)
    again = purge(api, tmp_path / "two")
    assert previewed >= 1
    assert (again.exit_code, again.outputs["still_delivered"]) == (8, None)
    assert again.error is not None
    assert "the API answered 502" in again.error["message"]
