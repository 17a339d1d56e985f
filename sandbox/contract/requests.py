"""The bodies of requests. As in the API, unknown fields are ignored: a misspelled filter widens the search."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from sandbox.clock import Instant, parse_instant
from sandbox.contract.values import (
    DECEMBER,
    DEPRECATED,
    NOVEMBER,
    ActionType,
    DateTimeText,
    DeliveryStatus,
    Destination,
    Disposition,
    MessageAction,
    maybe_absent,
)
from sandbox.search import Criteria


class SearchParams(BaseModel):
    """The search of a job. Without criteria it finds every message with a detection."""

    action_log: StrictBool = Field(
        False, description="Use listMessageActions.", json_schema_extra={**DEPRECATED, "x-sunset": NOVEMBER}
    )
    alert_id: StrictStr | None = None
    delivery_status: DeliveryStatus | None = None
    detections_only: StrictBool = True
    domain: StrictStr | None = Field(None, description="Sender domain, recipient domain or a domain in a link.")
    end: DateTimeText = maybe_absent()
    exact_subject: StrictStr | None = Field(None, description="The whole subject line.")
    final_disposition: Disposition | None = None
    message_action: MessageAction | None = None
    message_id: StrictStr | None = None
    metric: StrictStr | None = Field(None, description="A filter here; in the search it aggregates.")
    query: StrictStr | None = None
    recipient: StrictStr | None = Field(None, description="Address or domain.")
    sender: StrictStr | None = Field(None, description="Address or domain.")
    smtp_helo_ip: StrictStr | None = None
    start: DateTimeText = maybe_absent()
    subject: StrictStr | None = Field(None, description="Keywords in any order.")
    submissions: StrictBool = Field(False, description="Search reclassification submissions instead of mail.")

    def criteria(self) -> Criteria:
        given = self.model_dump(exclude={"action_log", "start", "end"})
        return Criteria(start=_instant(self.start), end=_instant(self.end), **given)

    def view(self) -> dict[str, Any]:
        """Return the search as in the API's responses, except action_log: the given fields, and default booleans."""
        flags = {"detections_only": self.detections_only, "submissions": self.submissions}
        return {**self.model_dump(exclude={"action_log"}, exclude_unset=True, exclude_none=True), **flags}


def _instant(text: str | None) -> Instant | None:
    return parse_instant(text) if text else None


class BulkJobRequest(BaseModel):
    """A new job."""

    action: ActionType
    search_params: SearchParams
    comment: StrictStr | None = None
    destination: Destination = maybe_absent(description="Required when action is MOVE.")
    expected_disposition: Disposition | None = Field(
        None, description="Does nothing.", json_schema_extra={**DEPRECATED, "x-sunset": DECEMBER}
    )


class MoveOneRequest(BaseModel):
    """The destination of a message."""

    destination: Destination
    expected_disposition: Disposition | None = Field(
        None, description="Does nothing.", json_schema_extra={**DEPRECATED, "x-sunset": DECEMBER}
    )


class MoveRequest(MoveOneRequest):
    """Messages to move, by their investigate IDs."""

    ids: list[StrictStr] = Field(min_length=1, max_length=1000)
    postfix_ids: list[StrictStr] | None = Field(
        None, description="Ignored.", json_schema_extra={**DEPRECATED, "x-sunset": NOVEMBER}
    )


class ReleaseRequest(BaseModel):
    """Quarantined messages to release, by their investigate IDs."""

    ids: list[StrictStr] = Field(min_length=1)


class ClockRequest(BaseModel):
    """The seconds to advance the clock."""

    model_config = ConfigDict(extra="forbid")

    advance_seconds: float = Field(ge=0, le=366 * 86_400, allow_inf_nan=False)


class FileRequest(BaseModel):
    """An attachment. Without given hashes, it gets those of its name."""

    model_config = ConfigDict(extra="forbid")

    name: StrictStr
    sha256: StrictStr | None = None


class MailRequest(BaseModel):
    """A mail to deliver: a new mail, or (`like`) copies of an existing mail, one to each address in `to`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    to: list[StrictStr] = Field(min_length=1, max_length=10_000)
    like: StrictStr | None = Field(None, description="Investigate ID of the message to copy.")
    sender: StrictStr | None = Field(None, alias="from")
    from_name: StrictStr = ""
    subject: StrictStr | None = None
    disposition: Disposition | None = None
    delivery_status: DeliveryStatus | None = None
    submission: StrictBool = False
    links: list[StrictStr] = Field(default_factory=list)
    attachments: list[FileRequest] = Field(default_factory=list)
    message_id: StrictStr | None = None
    alert_id: StrictStr | None = None
    at: DateTimeText | None = None
    in_seconds: float | None = Field(None, ge=0, le=366 * 86_400, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_alternatives(self) -> "MailRequest":
        if self.like is None and self.sender is None:
            raise ValueError("needs from or like")
        if self.at is not None and self.in_seconds is not None:
            raise ValueError("accepts at or in_seconds, not both")
        return self


class MailboxRequest(BaseModel):
    """The provider's treatment of a mailbox: always ok, gone, or throttled; null means random."""

    model_config = ConfigDict(extra="forbid")

    address: StrictStr
    trouble: StrictStr | None = Field(pattern="^(ok|gone|throttled)$")
