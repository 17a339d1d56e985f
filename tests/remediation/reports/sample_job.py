"""A small job as the API describes it, and hostile text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

HOSTILE = (
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "[click](javascript:alert(1)) <img src=x onerror=alert(1)>",
    "invoice \u202egpj.exe\u202c done",
    "\x1b[31mred\x1b]0;title\x07 \x9b2J",
    "long" * 2500,
    "{{ 7*7 }} {% for x in y %} {# z #}",
    '=HYPERLINK("https://evil.example","Pay")',
    "a|b `tick` ``two`` \\| \\`",
    "line\r\n# heading\n\n- item\n| a | b |",
    "https://evil.example www.evil.example dana@evil.example @dana #1 :tada:",
    "zero\u200bwidth \u2028 \u0085 \x00 nul",
    "\ud800 lone surrogate",
    "</title></style><!-- -->]]>&lt;b&gt;&amp;",
    "marks" + "\u0301\u20dd\u0489" * 2000,
)


def json_text(item: dict[str, Any]) -> bytes:
    """Return a row's JSON text as in a page of the API."""
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def row(number: int, status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
    """Return a `BulkJobMessage`."""
    return {
        "message_id": f"00000000-0000-4000-8000-{number:012d}",
        "postfix_id": "4Njp3P0STMz2c02Q",
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": f"user{number}@corp.example"},
        "status": status,
        "status_message": None,
        "retry_count": 0,
        "created_at": "2026-11-20T15:40:00Z",
        "processed_at": "2026-11-20T15:40:10Z" if status in {"COMPLETED", "FAILED"} else None,
        "message": {
            "id": f"4Njp3P0STMz2c02Q-2026-11-20T10:00:00-{number}",
            "subject": "Overdue invoice {{ 7*7 }} for Dana",
            "from": "billing@invoice-portal.example",
            "to": ["dana@corp.example", "lee@corp.example"],
            "final_disposition": "MALICIOUS",
            "scanned_at": "2026-11-20T14:40:00Z",
            "validation": {"spf": "softfail"},
        },
        **fields,
    }


def job(rows: Iterable[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return the `BulkJob` of these rows."""
    counts = Counter(item["status"] for item in rows)
    return {
        "job_id": "7f6d1c0e-2f7b-4c55-9f0e-3f0f9f2f1a11",
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail"},
        "search_params": {"sender": "billing@invoice-portal.example"},
        "status": "COMPLETED",
        "created_at": "2026-11-20T15:40:00Z",
        "started_at": "2026-11-20T15:40:07Z",
        "completed_at": "2026-11-20T15:43:12Z",
        "total_messages_discovered": counts.total(),
        "messages_pending": counts["PENDING"],
        "messages_successful": counts["COMPLETED"],
        "messages_failed": counts["FAILED"],
        "messages_skipped": counts["SKIPPED"],
        "messages_cancelled": counts["CANCELLED"],
        **fields,
    }


def facts(rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return all facts of a job that has ended and was exported."""
    return {
        "title": "Phishing campaign purge",
        "generated_at": "2026-11-20T15:45:10Z",
        "pack_version": "0.1.0",
        "playbook": "phish-campaign-purge",
        "alert": {
            "id": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35",
            "from": "billing@invoice-portal.example",
            "subject": "Overdue invoice {{ 7*7 }} for Dana",
            "received": "2026-11-20T15:32:35Z",
        },
        "request": {
            "action": "MOVE",
            "destination": "JunkEmail",
            "search_params": {"sender": "billing@invoice-portal.example", "detections_only": False},
            "comment": "case 42",
        },
        "job": job(rows),
        "outcome": "partial",
        "export": {
            "written": len(rows),
            "complete": True,
            "expected": len(rows),
            "missing": 0,
            "counts_by_status": dict(Counter(item["status"] for item in rows)),
            "files": [
                {"path": "messages.ndjson", "format": "ndjson", "rows": len(rows), "bytes": 4096, "sha256": "ab" * 32}
            ],
        },
        "rows": rows,
        "warnings": ["expected_disposition does nothing and ends on 2026-12-01"],
        "timings": {"search": 1.31},
        **fields,
    }


def job_facts(status: str = "COMPLETED", action: str = "MOVE", **numbers: int) -> dict[str, Any]:
    """Return facts with a job of so many messages of each status."""
    rows = [row(0, name.upper()) for name, number in numbers.items() for _ in range(number)]
    return {"job": job(rows, status=status, action_type=action)}


def small_campaign() -> list[dict[str, Any]]:
    """Return ten messages: seven moved, two failed, one skipped."""
    return [
        *(row(number) for number in range(7)),
        row(7, "FAILED", status_message="Mailbox not found"),
        row(8, "FAILED", status_message="Mailbox not found"),
        row(9, "SKIPPED", status_message="Phish submission"),
    ]


def hostile_campaign() -> list[dict[str, Any]]:
    """Return a failed message for each hostile text, which is in every field from mail or the API."""
    return [
        row(
            number,
            "FAILED",
            status_message=text,
            action_params={"client_recipient": f"{text}@{text}"},
            message={"subject": text, "from": text, "to": [text], "final_disposition": text},
        )
        for number, text in enumerate(HOSTILE)
    ]
