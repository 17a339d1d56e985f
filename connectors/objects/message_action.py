"""The action log of a message: one entry for each attempt after delivery.

Source: GET .../investigate/{investigate_id}/action_log (docs/reference/remote-api.md). An entry names no
recipient and no job. A move that is retried has an entry for each attempt, so an early failure is not final.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from connectors.objects.api_object import ApiObject
from core.instants import parse_instant

LogOperation = Literal["PREVIEW", "QUARANTINE_RELEASE", "SUBMISSION", "MOVE"]

# One page holds 1,000 entries. A longer log counts as one that can't be read.
MOST_LOG_PAGES = 5

# Paths below investigate/ that are not the ID of a message.
FIXED_PATHS = frozenset({"bulk", "move", "preview", "release"})

# The `status` of a successful attempt that has no `success`.
_DONE = (None, "OK")


class MessageActionProperties(ApiObject):
    """The details of an action. Which of them an operation has is not documented."""

    folder: str | None = None
    requested_by: str | None = None
    requested_disposition: str | None = None
    service: str | None = None
    submission_id: str | None = None
    submission_type: str | None = None


class MessageAction(ApiObject):
    """One attempt. Only `operation` is always present. status: a text from the API."""

    operation: LogOperation | str = Field(min_length=1)
    started_at: str | None = None
    completed_at: str | None = None
    success: bool | None = None
    status: str | None = None
    properties: MessageActionProperties | None = None

    @property
    def carried_out(self) -> bool | None:
        """Return whether the attempt succeeded, or None if that is unknown or it still runs."""
        if self.success is not None:
            return self.success
        return True if self.completed_at is not None and self.status in _DONE else None

    @property
    def folder(self) -> str | None:
        """Return the destination folder of the attempt."""
        return None if self.properties is None else self.properties.folder

    def time(self) -> datetime:
        """Return the time of its end, else of its start. Raises: ValueError if neither is valid."""
        return parse_instant(self.started_at if self.completed_at is None else self.completed_at)


def is_last_page(info: Any, items: int, seen: int, asked: int) -> bool:
    """Return whether a page of a list with page numbers is the last one. info: `result_info`, or None.

    Unlike in the list of jobs, `total_count` and `per_page` are correct; any of them may be missing.
    """
    info = info if isinstance(info, Mapping) else {}
    total, per_page = info.get("total_count"), info.get("per_page")
    if isinstance(total, int) and seen and total >= seen:
        return seen >= total
    return items < (per_page if isinstance(per_page, int) and 0 < per_page < asked else asked)
