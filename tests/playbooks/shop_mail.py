"""Mail of one sender with one recipient each, which the tests deliver, and a search that finds just this mail."""

from __future__ import annotations

from typing import Any

from actions import create_move_job, wait_for_job
from connectors.email_security import EmailSecurity
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered

SENDER = "billing@shop.example"
SEARCH = {"sender": SENDER, "start": "2026-11-20T00:00:00Z", "detections_only": False}

# A sandbox with little other mail, in which nothing fails at random.
SMALL = {"campaign_size": 10, "messages": 50, **SMOOTH}


def deliver(sandbox: RunningSandbox, *names: str, **fields: Any) -> list[str]:
    """Deliver a message a minute ago to NAME@corp.example for each name, and return the messages' IDs."""
    sender = {"sender": Sender(SENDER), "disposition": "SPAM"}
    return [delivered(sandbox, f"{name}@corp.example", number=60, **{**sender, **fields}) for name in names]


def let_fail(sandbox: RunningSandbox, *names: str) -> None:
    """Let each move fail for these recipients, and for no others."""
    mailboxes = sandbox.state.delivery.mailboxes
    mailboxes.clear()
    mailboxes.update({f"{name}@corp.example": "gone" for name in names})


def move(api: EmailSecurity, **request: Any) -> str:
    """Move the mail with a job, and return the job's ID once it has ended."""
    made = create_move_job.run({"search_params": SEARCH, "destination": "JunkEmail", **request}, api)
    job_id: str = made["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    return job_id
