"""The plan in preview-job's example."""

from __future__ import annotations

from typing import Any

from actions.shapes.example_change import example_found
from actions.shapes.example_job import EXAMPLE_SEARCH

EXAMPLE_PLAN: dict[str, Any] = {
    "version": 1,
    "plan_hash": "954c945f2b69c97badd351d37d43e6d7caa7030e3d13f4ea710bfd4649163312",
    "seal": None,
    "account_id": "023e105f4ecef8ad9ca31a8372d0c353",
    "previewed_at": "2026-11-20T16:00:00Z",
    "requested_by": "dana@corp.example",
    "requester_proved": True,
    "action": "MOVE",
    "destination": "JunkEmail",
    "search_params": {**EXAMPLE_SEARCH, "end": "2026-11-20T16:00:00Z"},
    "asked_search_params": EXAMPLE_SEARCH,
    "messages": 420,
    "distinct_messages": 409,
    "recipients": 418,
    "malicious": 390,
    "by_recipient_domain": {"corp.example": 420},
    "by_disposition": {"MALICIOUS": 390, "NONE": 30},
    "by_delivery_status": {"delivered": 420},
    "by_sender": {"billing@invoice-portal.example": 420},
    "unproved": 420,
    "proved_clean": {},
    "sample": example_found()["sample"],
    "protected": [],
    "own_senders": [],
    "parity": "exact",
    "parity_notes": [],
    "reversibility": {
        "reversible": True,
        "how": "restore-messages moves them back to Inbox; the folder that each came from is not known.",
    },
    "max_drift": 10.0,
    "cancel_if_discovered_over": 462,
    "approvals_needed": 0,
    "refusals": [],
    "warnings": [],
}
