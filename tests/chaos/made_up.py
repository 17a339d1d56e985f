"""Results of operations that were never carried out, as a success of each has them."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx


def made_up(request: httpx.Request, operation: str, now: str, chance: random.Random) -> Any:
    """A result as the operation has it, of something that was never done."""
    if operation == "createBulkJob":
        asked = json.loads(request.content)
        params = {"type": asked["action"], "destination": asked.get("destination")}
        return {
            "job_id": _uuid(chance),
            "action_type": asked["action"],
            "action_params": params if asked["action"] == "MOVE" else {"type": "RELEASE"},
            "search_params": asked["search_params"],
            "status": "PENDING",
            "status_message": None,
            "comment": asked.get("comment"),
            "created_at": now,
            "started_at": None,
            "completed_at": None,
            "total_messages_discovered": 0,
            "messages_pending": 0,
            "messages_successful": 0,
            "messages_failed": 0,
            "messages_skipped": 0,
            "messages_cancelled": 0,
        }
    if operation in ("cancelBulkJob", "deleteBulkJob"):
        parts = request.url.path.split("/")
        job_id = parts[-2] if parts[-1] == "cancel" else parts[-1]
        return {"id": job_id} if operation == "deleteBulkJob" else {"job_id": job_id, "status": "CANCELLED"}
    asked = json.loads(request.content)
    if operation == "releaseMessages":
        return [{"id": one, "delivered": ["a@corp.example"], "failed": [], "undelivered": []} for one in asked["ids"]]
    return [
        {
            "success": True,
            "completed_at": now,
            "destination": asked["destination"],
            "message_id": one,
            "operation": "MOVE",
            "recipient": "a@corp.example",
            "status": "OK",
        }
        for one in asked["ids"]
    ]


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], "4" + digits[13:16], "a" + digits[17:20], digits[20:]))
