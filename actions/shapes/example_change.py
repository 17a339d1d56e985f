"""The change of named messages in the actions' examples."""

from __future__ import annotations

from typing import Any

INVESTIGATE_ID = "4WtWkr6nlBz9sNH-2026-11-20T15:32:35-12345678"


def example_change(**changes: Any) -> dict[str, Any]:
    """Return the result for one message that was moved to JunkEmail for its one recipient; with `changes`."""
    return {
        "dry_run": False,
        "done": True,
        "plan_hash": "3d8fe2586f3e7dd1248c726916d88c197cc6968e6ea7770b1c9f3ce66bdb9ad3",
        "account_id": "023e105f4ecef8ad9ca31a8372d0c353",
        "action": "MOVE",
        "destination": "JunkEmail",
        "messages": 1,
        "ids": None,
        "recipients": 1,
        "requested_by": "ana@corp.example",
        "requester_proved": True,
        "found": None,
        "by_recipient_domain": {},
        "by_disposition": {},
        "by_sender": {},
        "sample": [],
        "refusals": [],
        "approvals_needed": 0,
        "approved_by": [],
        "duplicates": 0,
        "without_id": 0,
        "rows_without_id": [],
        "succeeded": 1,
        "already": 0,
        "failed": 0,
        "unknown": 0,
        "not_sent": 0,
        "unaccounted": [],
        "results": [example_row()],
        "warnings": [],
        "truncated": {},
        **changes,
    }


def example_found() -> dict[str, Any]:
    """Return the fields that a dry run has about the message."""
    return {
        "found": 1,
        "by_recipient_domain": {"corp.example": 1},
        "by_disposition": {"MALICIOUS": 1},
        "by_sender": {"billing@invoice-portal.example": 1},
        "sample": [
            {
                "id": INVESTIGATE_ID,
                "from": "billing@invoice-portal.example",
                "subject": "Overdue invoice for Dana",
                "recipients": ["dana@corp.example"],
                "final_disposition": "MALICIOUS",
                "scanned_at": "2026-11-20T15:32:35Z",
            }
        ],
    }


def example_row(**changes: Any) -> dict[str, Any]:
    """Return the service's row for one message and recipient; with `changes`."""
    return {
        "id": INVESTIGATE_ID,
        "message_id": "<20261120153235.4WtWkr6nlBz9sNH@invoice-portal.example>",
        "recipient": "dana@corp.example",
        "success": True,
        "status": "OK",
        "destination": "JunkEmail",
        "completed_at": "2026-11-20T16:10:02Z",
        **changes,
    }
