"""Messages for the tests of actions on named messages, and their folders afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actions import create_move_job, export_job_messages, wait_for_job
from connectors.email_security import EmailSecurity
from connectors.objects.message import MessageDetails
from connectors.objects.search import SearchParams
from sandbox.clock import SECOND
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN

# No copy fails at random: only the faults that a test sets.
SMOOTH = {"permanent_failures": 0.0, "transient_failures": 0.0}


def campaign(api: EmailSecurity) -> list[MessageDetails]:
    """Return the messages of the planted campaign, newest first."""
    return list(api.search_messages(SearchParams.model_validate(CAMPAIGN)))


def ids_of(api: EmailSecurity, count: int) -> list[str]:
    return [message.id for message in campaign(api)][:count]


def any_ids(api: EmailSecurity, count: int) -> list[str]:
    """Return the IDs of `count` messages of the tenant."""
    everything = SearchParams.model_validate({"detections_only": False, "start": "2026-10-22T00:00:00Z"})
    found = [message.id for message in api.search_messages(everything)]
    assert len(found) >= count
    return found[:count]


def sent(sandbox: RunningSandbox) -> list[list[str]]:
    """Return the IDs of each call that moved or released messages by ID."""
    effects = sandbox.state.truth()["effects"]
    return [e["touched"] for e in effects if e["operation"] in ("moveMessages", "releaseMessages")]


def folders(sandbox: RunningSandbox) -> dict[str, str]:
    """Return the folder of the last move of each message, by ID."""
    return {change["id"]: change["folder"] for change in sandbox.state.truth()["moved"]}


def moved_by_job(api: EmailSecurity, path: Path, **request: Any) -> dict[str, Any]:
    """Run a job on the campaign, export its rows to `path` and return the result of the export."""
    made = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail", **request}, api)
    wait_for_job.run({"job_id": made["job_id"]}, api)
    return export_job_messages.run({"job_id": made["job_id"], "destination": str(path)}, api)


def delivered(sandbox: RunningSandbox, *recipients: str, number: int = 1, **fields: Any) -> str:
    """Deliver a new message and return its investigate ID. number: seconds before the time of the alert."""
    state = sandbox.state
    with state.present() as now:
        made: dict[str, Any] = {"subject": "Statement", "sender": Sender("statements@partner-bank.example"), **fields}
        message = state.tenant.add(time=now - number * SECOND, recipients=recipients, **made)
        return state.tenant.id_of(message)
