"""The API's results for messages that are moved or released by ID: one outcome per row.

Sources: POST .../investigate/move and POST .../investigate/release (docs/reference/remote-api.md). Whether a
move's message_id is the investigate ID or the RFC 5322 Message-ID is not documented, and it may be null:
remediation.messages.rows finds out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import Field

from connectors.objects.api_object import ApiObject
from core.errors import OutcomeUnknown, UnexpectedAnswer

# The documented maximum of a move. For a release no maximum is documented; the pack uses the same.
MOST_IDS = 1000

CHECK_FIRST = "The change may have been made. Check, then run it again if needed: repeating a move or release is safe."

# The form is not documented; the only example is `4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678`.
INVESTIGATE_ID = r"^[0-9A-Za-z][0-9A-Za-z:._+-]{0,199}$"


class MoveRow(ApiObject):
    """The outcome for one message and recipient. status: a text from the API."""

    success: bool
    completed_at: str | None = None
    destination: str | None = None
    message_id: str | None = None
    operation: str | None = None
    recipient: str | None = None
    status: str | None = None


class ReleaseRow(ApiObject):
    """The outcome for one message: its recipients by result. Without any recipient, nothing was released."""

    id: str = Field(min_length=1)
    delivered: list[str] | None = None
    failed: list[str] | None = None
    undelivered: list[str] | None = None


Row = TypeVar("Row", MoveRow, ReleaseRow)


def check_ids(ids: Sequence[str]) -> list[str]:
    """Return the IDs of one call. Raises: ValueError if there are none, too many, or one is invalid."""
    if not 1 <= len(ids) <= MOST_IDS:
        raise ValueError(f"one call accepts 1 to {MOST_IDS} IDs, not {len(ids)}")
    if not all(re.fullmatch(INVESTIGATE_ID, one) for one in ids):
        raise ValueError("one of the IDs is not a valid investigate ID")
    return list(ids)


def read_rows(kind: type[Row], result: Any, ray_id: str | None) -> list[Row]:
    """Return the rows in the response to a write. Raises: OutcomeUnknown for an unreadable response."""
    if not isinstance(result, list):
        raise OutcomeUnknown("the response to the change: field result: is not a list", help=CHECK_FIRST, ray_id=ray_id)
    try:
        return [kind.read(row, "a row of the response to the change") for row in result]
    except UnexpectedAnswer as error:
        raise OutcomeUnknown(error.message, help=CHECK_FIRST, ray_id=ray_id) from None
