"""What the API says of messages that were moved or released by their IDs: one row, one outcome.

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

# The move's documented maximum. For a release none is documented: the same bound is ours.
MOST_IDS = 1000

LOOK_FIRST = "Look before you run it again. To move or release the same messages once more is safe."

# The form is not documented, only shown: `4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678`. No path, no white space.
INVESTIGATE_ID = r"^[0-9A-Za-z][0-9A-Za-z:._+-]{0,199}$"


class MoveRow(ApiObject):
    """One message for one recipient. status: the service's own words."""

    success: bool
    completed_at: str | None = None
    destination: str | None = None
    message_id: str | None = None
    operation: str | None = None
    recipient: str | None = None
    status: str | None = None


class ReleaseRow(ApiObject):
    """One message, its recipients by outcome. No recipient at all: nothing was released."""

    id: str = Field(min_length=1)
    delivered: list[str] | None = None
    failed: list[str] | None = None
    undelivered: list[str] | None = None


Row = TypeVar("Row", MoveRow, ReleaseRow)


def checked_ids(ids: Sequence[str]) -> list[str]:
    """The IDs of one call. Raises: ValueError where there are none, too many, or one that is none."""
    if not 1 <= len(ids) <= MOST_IDS:
        raise ValueError(f"one call takes 1 to {MOST_IDS} IDs, not {len(ids)}")
    if not all(re.fullmatch(INVESTIGATE_ID, one) for one in ids):
        raise ValueError("one of the IDs is no investigate ID")
    return list(ids)


def rows_written(kind: type[Row], result: Any, ray_id: str | None) -> list[Row]:
    """The rows that a write answered with. Raises: OutcomeUnknown: an answer that can't be read leaves it open."""
    if not isinstance(result, list):
        raise OutcomeUnknown("the answer to the change: field result: is no list", help=LOOK_FIRST, ray_id=ray_id)
    try:
        return [kind.read(row, "a row of the answer to the change") for row in result]
    except UnexpectedAnswer as error:
        raise OutcomeUnknown(error.message, help=LOOK_FIRST, ray_id=ray_id) from None
