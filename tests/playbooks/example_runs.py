"""A run of each shipped playbook that changes mail: a sandbox with few messages, and inputs that lead to a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actions import create_move_job, export_job_messages, preview_job, read_alert
from connectors.email_security import EmailSecurity
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.actions.named_messages import SMOOTH
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.playbooks.shop_mail import deliver, let_fail, move
from tests.playbooks.test_reruns import FALSE_POSITIVE

SMALL = {"messages": 30, "campaign_size": 5, **SMOOTH}


@dataclass(frozen=True)
class ExampleRun:
    """`inputs(sandbox, api, folder)` prepares the sandbox, and returns the inputs. settings: of the sandbox."""

    inputs: Callable[[RunningSandbox, EmailSecurity, Path], dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)


def example_alert() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


def campaign_plan(api: EmailSecurity) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)


def carry_out(sandbox: RunningSandbox, api: EmailSecurity, folder: Path) -> dict[str, Any]:
    meaning = read_alert.run({"alert": example_alert()}, api)
    return {"plan": campaign_plan(api), "max_messages": 100, "intent": "a test", "alert": meaning, "title": "A test"}


def sweep_once(sandbox: RunningSandbox, api: EmailSecurity, folder: Path) -> dict[str, Any]:
    meaning = read_alert.run({"alert": example_alert()}, api)
    at = "2026-11-20T16:00:00Z"
    return {"plan": campaign_plan(api), "alert": meaning, "number": 1, "at": at, "max_messages": 100}


def restore(sandbox: RunningSandbox, api: EmailSecurity, folder: Path) -> dict[str, Any]:
    deliver(sandbox, "a", "b")
    export = str(folder / "case-42.zip")
    export_job_messages.run({"job_id": move(api), "destination": export, "evidence": "bundle"}, api)
    return {"export": export}


def retry(sandbox: RunningSandbox, api: EmailSecurity, folder: Path) -> dict[str, Any]:
    deliver(sandbox, "a", "b", "c")
    let_fail(sandbox, "b", "c")
    job_id = move(api)
    let_fail(sandbox)
    return {"job_id": job_id}


def stop(sandbox: RunningSandbox, api: EmailSecurity, folder: Path) -> dict[str, Any]:
    request = {"search_params": CAMPAIGN, "destination": "JunkEmail", "wait_follows": True}
    job_id = create_move_job.run(request, api)["job_id"]
    sandbox.state.advance(3)
    return {"job_id": job_id}


EXAMPLE_RUNS = {
    "campaign-by-content": ExampleRun(lambda *_: {"alert": example_alert(), "choose": "attachment"}),
    "carry-out": ExampleRun(carry_out),
    "false-positive-release": ExampleRun(lambda *_: {"alert": FALSE_POSITIVE, "lookback_days": 30}),
    "late-copy-sweep": ExampleRun(
        lambda _, api, __: {"plan": campaign_plan(api), "after": [0, 120]}, {"late_copies": 1, "late_every": 60}
    ),
    "phish-campaign-purge": ExampleRun(lambda *_: {"alert": example_alert()}),
    "restore-from-evidence": ExampleRun(restore),
    "retry-failures": ExampleRun(retry),
    "stop-and-report": ExampleRun(stop, {"pace": Pace(discover_rate=20, process_rate=1)}),
    "sweep-once": ExampleRun(sweep_once),
}
