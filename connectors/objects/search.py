"""The search criteria of a job or a message search, with the field names of the API.

Unknown keys are refused: the API may ignore them, and a misspelled filter would then widen the search.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from core.instants import format_instant, parse_instant

Disposition = Literal[
    "MALICIOUS", "MALICIOUS-BEC", "SUSPICIOUS", "SPOOF", "SPAM", "BULK", "ENCRYPTED", "EXTERNAL", "UNKNOWN", "NONE"
]
DeliveryStatus = Literal[
    "delivered", "moved", "quarantined", "rejected", "deferred", "bounced", "queued", "move_failed"
]
MessageAction = Literal["PREVIEW", "QUARANTINE_RELEASED", "MOVED"]

Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

_LONGEST_CRITERION = 2000

# The default start of a message search (docs/reference/remote-api.md). For jobs none is documented.
LOOK_BACK = timedelta(days=30)


def _says_something(text: str) -> str:
    """Return the criterion. Refuse an empty one: the API may ignore it, which would widen the search."""
    if not text.strip() or len(text) > _LONGEST_CRITERION or re.search(r"[\x00\r\n]", text):
        raise ValueError(f"is empty, has a line break or NUL, or is longer than {_LONGEST_CRITERION} characters")
    return text


Criterion = Annotated[
    str,
    AfterValidator(_says_something),
    Field(json_schema_extra={"minLength": 1, "maxLength": _LONGEST_CRITERION, "pattern": r"^[^\x00\r\n]*$"}),
]

# White space around a name is not part of it, but the API may search for it.
Name = Annotated[Criterion, AfterValidator(str.strip)]

# A search without any of these matches every detection. remediation.guardrails.narrowing checks how narrow a value is.
NARROWING = (
    "alert_id",
    "domain",
    "exact_subject",
    "message_id",
    "query",
    "recipient",
    "sender",
    "smtp_helo_ip",
    "subject",
)

# The message search supports these six; a job supports all ten (see docs/reference/remote-api.md).
SEARCHABLE_DISPOSITIONS = ("MALICIOUS", "SUSPICIOUS", "SPOOF", "SPAM", "BULK", "NONE")

_DISPOSITIONS: dict[str, Disposition] = {name: name for name in get_args(Disposition)}


def verdict_of(text: str | None) -> Disposition | None:
    """Return the verdict that a text names, in any spelling, or None for an unknown one."""
    if text is None:
        return None
    # First the spelling of the API: the others cost a microsecond per message.
    return _DISPOSITIONS.get(text) or _DISPOSITIONS.get(re.sub(r"[\s_-]+", "-", text.strip().upper()))


class SearchParams(BaseModel):
    """The search criteria. A message must match all of them."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    alert_id: Name | None = Field(None, description="Alert ID of the detection.")
    delivery_status: DeliveryStatus | None = Field(None, description="Delivery status of the message.")
    detections_only: bool | None = Field(
        None,
        description="Only messages with a detection. The API's default is true: messages with a clean verdict are "
        "then not affected.",
    )
    domain: Name | None = Field(None, description="Sender domain, recipient domain, or a domain in a link.")
    end: Instant | None = Field(None, description="End of the search window, RFC 3339 with zone.")
    exact_subject: Criterion | None = Field(None, description="The exact subject line.")
    final_disposition: Disposition | None = Field(None, description="The verdict on the message.")
    message_action: MessageAction | None = Field(None, description="Action that was already taken on the message.")
    message_id: Name | None = Field(None, description="Message-ID header (RFC 5322).")
    metric: Name | None = Field(None, description="Metric name.")
    query: Criterion | None = Field(
        None,
        description="Space-separated terms, case-insensitive: sender, recipient, subject, attachment names and hashes, "
        "message ID.",
    )
    recipient: Name | None = Field(None, description="Recipient address or domain.")
    sender: Name | None = Field(None, description="Sender address or domain.")
    smtp_helo_ip: Name | None = Field(None, description="IP address of the SMTP HELO server.")
    start: Instant | None = Field(None, description="Start of the search window, RFC 3339 with zone.")
    subject: Criterion | None = Field(None, description="Keywords of the subject, in any order.")
    submissions: bool | None = Field(
        None, description="Search users' phish submissions instead of the original messages. Jobs only."
    )

    @model_validator(mode="after")
    def _window_runs_forward(self) -> Self:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError("start is after end: the window is empty")
        return self

    def request(self) -> dict[str, Any]:
        """Return the given criteria as the API expects them."""
        return self.model_dump(mode="json", exclude_none=True)
