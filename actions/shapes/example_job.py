"""The search and the job in the actions' examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EXAMPLE_SEARCH = {
    "sender": "billing@invoice-portal.example",
    "start": "2026-11-13T15:32:35Z",
    "detections_only": False,
}

JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"


def example_job(**changes: Any) -> dict[str, Any]:
    """Return a MOVE job as the API describes it: ended, all but a few messages moved; with `changes`."""
    return {
        "job_id": JOB_ID,
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail"},
        "search_params": {"sender": "billing@invoice-portal.example"},
        "status": "COMPLETED",
        "created_at": "2026-11-20T16:02:35Z",
        "total_messages_discovered": 420,
        "messages_pending": 0,
        "messages_successful": 409,
        "messages_failed": 6,
        "messages_skipped": 5,
        "messages_cancelled": 0,
        **changes,
    }


def example_created(warnings: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """Return the result of a create. changes: to the new job."""
    nothing = {name: 0 for name in example_job() if "messages" in name}
    return {
        "job_id": JOB_ID,
        "status": "PENDING",
        "created": True,
        "reused": None,
        "job": example_job(status="PENDING", **nothing, **changes),
        "plan_hash": None,
        "requested_by": None,
        "approved_by": [],
        "duplicates": [],
        "cancel_if_discovered_over": None,
        "discovery_limit": None,
        "warnings": list(warnings),
    }
