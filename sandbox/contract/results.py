"""What the API answers. These types are for the OpenAPI document; the answers themselves are built as plain JSON.

They are closed, so that a field that the document doesn't know is found out.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sandbox.contract.values import (
    DECEMBER,
    NOVEMBER,
    ActionType,
    AllowlistPatternType,
    Count,
    DeliveryMode,
    DeliveryStatus,
    Destination,
    Disposition,
    JobStatus,
    MessageAction,
    MessageStatus,
    Moment,
    UuidText,
    ValidationStatus,
    ends,
    maybe_absent,
)

Result = TypeVar("Result")


class Shape(BaseModel):
    """A JSON object without fields beyond those named."""

    model_config = ConfigDict(extra="forbid")


class Source(Shape):
    """Where in the request an error lies."""

    pointer: str


class Remark(Shape):
    """An entry of `errors` or `messages`."""

    code: int = Field(ge=1000)
    message: str
    documentation_url: str = maybe_absent()
    source: Source = maybe_absent()


class Failure(Shape):
    """A refusal."""

    success: Literal[False]
    errors: list[Remark] = Field(min_length=1)
    messages: list[Remark]
    result: None


class Success(Shape, Generic[Result]):
    """A good answer."""

    success: Literal[True]
    errors: list[Remark] = Field(max_length=0)
    messages: list[Remark]
    result: Result


class ResultInfo(Shape):
    """Where a list of the search, of jobs or of a job's rows stands. `page` and `total_count` always say 0."""

    count: Count = Field(description="Items on this page.")
    per_page: Count
    next: str | None = Field(description="Cursor of the next page (message search).")
    previous: str | None
    page: Literal[0] = ends(NOVEMBER, "Always 0.")
    total_count: Literal[0] = ends(NOVEMBER, "Always 0. Required by the contract although past its date.")


class Listed(Success[list[Result]], Generic[Result]):
    """One page of a list."""

    result_info: ResultInfo


class PlainResultInfo(Shape):
    """Where a list that pages by number stands: every field says what it means."""

    count: Count = Field(description="Items on this page.")
    page: Count
    per_page: Count
    total_count: Count


class Numbered(Success[list[Result]], Generic[Result]):
    """One page of a list that pages by number."""

    result_info: PlainResultInfo = maybe_absent()


class Underway(Success[Annotated[list[str], Field(max_length=0)]]):
    """A search whose result isn't there yet."""

    result_info: ResultInfo


class JobMove(Shape):
    """What a MOVE job does."""

    type: Literal["MOVE"]
    destination: Destination
    expected_disposition: Disposition | None = ends(DECEMBER, "Does nothing.")


class JobRelease(Shape):
    """What a RELEASE job does."""

    type: Literal["RELEASE"]


class EchoedSearchParams(Shape):
    """A job's search as it was asked for."""

    action_log: bool = ends(NOVEMBER, "Use listMessageActions.")
    detections_only: bool
    submissions: bool
    alert_id: str = maybe_absent()
    delivery_status: DeliveryStatus = maybe_absent()
    domain: str = maybe_absent()
    end: Moment = maybe_absent()
    exact_subject: str = maybe_absent()
    final_disposition: Disposition = maybe_absent()
    message_action: MessageAction = maybe_absent()
    message_id: str = maybe_absent()
    metric: str = maybe_absent()
    query: str = maybe_absent()
    recipient: str = maybe_absent()
    sender: str = maybe_absent()
    smtp_helo_ip: str = maybe_absent()
    start: Moment = maybe_absent()
    subject: str = maybe_absent()


class BulkJob(Shape):
    """A bulk action job."""

    job_id: UuidText
    action_type: ActionType
    action_params: Annotated[JobMove | JobRelease, Field(discriminator="type")]
    search_params: EchoedSearchParams
    status: JobStatus
    status_message: str | None
    comment: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    total_messages_discovered: Count = Field(description="pending + successful + failed + skipped + cancelled")
    messages_pending: Count
    messages_successful: Count
    messages_failed: Count
    messages_skipped: Count
    messages_cancelled: Count = Field(
        description="Rows cancelled before they were taken up, and rows whose attempt was in flight when the job ended."
    )


class DeletedJob(Shape):
    """The job that was deleted."""

    id: UuidText


class MessageMove(JobMove):
    """What a MOVE job does to one copy."""

    client_recipient: str


class MessageRelease(JobRelease):
    """What a RELEASE job does to one copy."""

    client_recipient: str


class ActionLogProperties(Shape):
    """Where a message went, and who asked for it."""

    folder: str
    requested_by: str


class ActionLogEntry(Shape):
    """Something done to a message after delivery, as messages had it embedded."""

    completed_at: Moment
    completed_timestamp: str = ends(NOVEMBER, "Use completed_at.")
    operation: Literal["MOVE", "RELEASE", "RECLASSIFY", "SUBMISSION", "QUARANTINE_RELEASE", "PREVIEW"]
    status: str | None
    properties: ActionLogProperties


class MessageActionProperties(Shape):
    """What an action was about. Which of them an operation has is not documented."""

    folder: str | None
    requested_by: str | None
    requested_disposition: str | None
    service: str | None
    submission_id: str | None
    submission_type: str | None


class MessageActionEntry(Shape):
    """One attempt to do something to a message after delivery. It names no recipient and no job."""

    operation: Literal["PREVIEW", "QUARANTINE_RELEASE", "SUBMISSION", "MOVE"]
    started_at: Moment | None
    completed_at: Moment | None
    success: bool | None
    status: str | None
    properties: MessageActionProperties | None


class Preview(Shape):
    """A picture of a message's body."""

    screenshot: str = Field(description="PNG in base64.")


class Finding(Shape):
    """Why a message was detected."""

    attachment: str | None
    detail: str | None
    detection: Disposition | None
    field: str | None
    name: str | None
    portion: str | None
    reason: str | None
    score: float | None
    value: str | None


class MessageProperties(Shape):
    """How lists of allowed and blocked senders treated a message."""

    allowlisted_pattern: str | None
    allowlisted_pattern_type: AllowlistPatternType | None
    blocklisted_message: bool | None
    blocklisted_pattern: str | None
    whitelisted_pattern_type: AllowlistPatternType | None


class Validation(Shape):
    """What the sender's checks gave."""

    comment: str | None
    dkim: ValidationStatus | None
    dmarc: ValidationStatus | None
    spf: ValidationStatus | None


class MessageDetails(Shape):
    """A message."""

    id: str = Field(description="Investigate ID.", examples=["4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678"])
    postfix_id: str
    postfix_id_outbound: str | None
    alert_id: str | None
    message_id: str | None = Field(description="RFC 5322 Message-ID.")
    subject: str | None
    sender: str | None = Field(alias="from")
    from_name: str | None
    to: list[str] | None
    to_name: list[str] | None
    replyto: str | None
    envelope_from: str | None
    envelope_to: list[str] | None
    client_recipients: list[str]
    sent_at: Moment | None = Field(description="In UTC.")
    scanned_at: Moment | None = Field(description="In UTC.")
    ts: str = ends(NOVEMBER, "Use scanned_at.")
    sent_date: str | None
    final_disposition: Disposition | None
    delivery_mode: DeliveryMode | None
    delivery_status: list[DeliveryStatus] | None
    detection_reasons: list[str]
    threat_categories: list[str] | None
    post_delivery_operations: list[Literal["PREVIEW", "QUARANTINE_RELEASE", "SUBMISSION", "MOVE"]] | None
    is_quarantined: bool
    is_phish_submission: bool
    edf_hash: str | None
    htmltext_structure_hash: str | None
    smtp_helo_server_ip: str | None
    smtp_previous_hop_ip: str | None
    x_originating_ip: str | None
    action_log: list[ActionLogEntry] = ends(NOVEMBER, "Use listMessageActions.")
    findings: list[Finding] | None = ends(NOVEMBER, "Use the detections of a message.")
    properties: MessageProperties
    validation: Validation | None


class BulkJobMessage(Shape):
    """One message in one recipient's mailbox, as a job sees it."""

    message_id: UuidText = Field(description="Row identifier within the job, not the RFC 5322 Message-ID.")
    postfix_id: str
    alert_id: str | None
    email_message_id: str | None = Field(description="RFC 5322 Message-ID.")
    action_type: ActionType
    action_params: Annotated[MessageMove | MessageRelease, Field(discriminator="type")]
    status: MessageStatus
    status_message: str | None
    retry_count: Count
    retry_after: Moment | None = Field(description="When a failed action is tried again.")
    created_at: Moment
    processed_at: Moment | None
    message: MessageDetails = maybe_absent()


class MoveRow(Shape):
    """What became of one recipient's copy."""

    success: bool
    completed_at: Moment | None = Field(description="In UTC.")
    completed_timestamp: str = ends(NOVEMBER, "Use completed_at.")
    item_count: Count = ends(NOVEMBER, "No longer given.")
    destination: str | None
    message_id: str | None
    operation: str | None
    recipient: str | None
    status: str | None


class ReleaseRow(Shape):
    """What became of one message, its recipients by outcome."""

    id: str
    delivered: list[str] | None
    failed: list[str] | None
    undelivered: list[str] | None
    postfix_id: str = ends(NOVEMBER, "Use id.")


class TokenState(Shape):
    """A token that is good."""

    id: str
    status: Literal["active", "disabled", "expired"]
