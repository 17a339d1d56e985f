"""What a job or a message search looks for: the reference's own fields, strict on the way out.

The API may ignore a key it does not know, and a misspelt filter then widens the search: unknown keys are refused.
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

# As far as the message search looks back by itself (docs/reference/remote-api.md); for jobs nothing is documented.
LOOK_BACK = timedelta(days=30)


def _says_something(text: str) -> str:
    """An empty criterion could be ignored by the API, which widens the search."""
    if not text.strip() or len(text) > _LONGEST_CRITERION or re.search(r"[\x00\r\n]", text):
        raise ValueError(f"is empty, has a line break or NUL, or is longer than {_LONGEST_CRITERION} characters")
    return text


Criterion = Annotated[
    str,
    AfterValidator(_says_something),
    Field(json_schema_extra={"minLength": 1, "maxLength": _LONGEST_CRITERION, "pattern": r"^[^\x00\r\n]*$"}),
]

# White space around a name says nothing, and a service may look for it all the same.
Name = Annotated[Criterion, AfterValidator(str.strip)]

# A search with none of these matches everything that was detected; remediation.guardrails.narrowing says how narrow a
# value is.
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

# The message search has these six; a job knows all ten (see docs/reference/remote-api.md).
SEARCHABLE_DISPOSITIONS = ("MALICIOUS", "SUSPICIOUS", "SPOOF", "SPAM", "BULK", "NONE")

_DISPOSITIONS: dict[str, Disposition] = {name: name for name in get_args(Disposition)}


def verdict_of(text: str | None) -> Disposition | None:
    """Return the verdict that a text names in any spelling; None for one that this version does not know."""
    if text is None:
        return None
    # As the API writes it; the other spellings cost a microsecond for each message.
    return _DISPOSITIONS.get(text) or _DISPOSITIONS.get(re.sub(r"[\s_-]+", "-", text.strip().upper()))


class SearchParams(BaseModel):
    """Which messages are meant. All criteria given must hold."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    alert_id: Name | None = Field(None, description="Alert ID of the detection.")
    delivery_status: DeliveryStatus | None = Field(None, description="Delivery status of the message.")
    detections_only: bool | None = Field(
        None,
        description="Only messages with a detection. The API takes true where it is not given: mail with a clean "
        "verdict is then never touched.",
    )
    domain: Name | None = Field(None, description="Sender domain, recipient domain, or a domain in a link.")
    end: Instant | None = Field(None, description="End of the search window, RFC 3339 with zone.")
    exact_subject: Criterion | None = Field(None, description="The whole subject line, exactly.")
    final_disposition: Disposition | None = Field(None, description="The verdict on the message.")
    message_action: MessageAction | None = Field(None, description="What was done to the message already.")
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
    start: Instant | None = Field(None, description="Beginning of the search window, RFC 3339 with zone.")
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
        """The criteria as the API takes them in a job: what is not given is left out."""
        return self.model_dump(mode="json", exclude_none=True)
