"""The result of read-alert, for examples."""

from __future__ import annotations

from typing import Any

EXAMPLE_MEANING: dict[str, Any] = {
    "truncated": {},
    "id": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35",
    "sender": "billing@invoice-portal.example",
    "sender_domain": "invoice-portal.example",
    "received": "2026-11-20T15:32:35Z",
    "since": "2026-11-13T15:32:35Z",
    "subject": None,
    "disposition": "malicious",
    "origin": None,
    "own_domains": ["corp.example"],
    "outsider": "yes",
    "outsider_reason": "invoice-portal.example is not one of your domains (corp.example)",
    "sender_proved": "yes",
    "sender_proved_reason": "DMARC passed",
    "search": {
        "by": "sender",
        "criteria": {"sender": "billing@invoice-portal.example"},
        "search_params": {
            "sender": "billing@invoice-portal.example",
            "start": "2026-11-13T15:32:35Z",
            "detections_only": False,
        },
        "description": "sender 'billing@invoice-portal.example'",
    },
    "search_problem": None,
    "pivots": [
        {
            "by": "sender_domain",
            "search_params": {
                "sender": "invoice-portal.example",
                "start": "2026-11-13T15:32:35Z",
                "detections_only": False,
            },
        }
    ],
    "more_pivots": 0,
    "alerts": [],
}
