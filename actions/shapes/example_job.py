"""The job in the actions' examples."""

from __future__ import annotations

from typing import Any

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


def example_new_job(**changes: Any) -> dict[str, Any]:
    """Return the same job just after it was created; with `changes`."""
    nothing = {name: 0 for name in example_job() if name.startswith("messages_")}
    return example_job(status="PENDING", total_messages_discovered=0, **{**nothing, **changes})
