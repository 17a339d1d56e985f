"""The API's responses. These types are for the OpenAPI document; the responses themselves are built as plain JSON.

They forbid other fields, so that a test finds a field that the document lacks.
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
    """A JSON object without other fields."""

    model_config = ConfigDict(extra="forbid")


class Source(Shape):
    """The place of an error in the request."""

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
    """A successful response."""

    success: Literal[True]
    errors: list[Remark] = Field(max_length=0)
    messages: list[Remark]
    result: Result


class ResultInfo(Shape):
    """The paging of a search, of jobs or of a job's rows. `page` and `total_count` are always 0."""

    count: Count = Field(description="Items on this page.")
    per_page: Count
    next: str | None = Field(description="Cursor of the next page (message search).")
    previous: str | None
    page: Literal[0] = ends(NOVEMBER, "Always 0.")
    total_count: Literal[0] = ends(NOVEMBER, "Always 0. Required by the schema, although removed by its date.")


class Listed(Success[list[Result]], Generic[Result]):
    """A page of a list."""

    result_info: ResultInfo


class PlainResultInfo(Shape):
    """The paging of a list with page numbers, with all fields correct."""

    count: Count = Field(description="Items on this page.")
    page: Count
    per_page: Count
    total_count: Count


class Numbered(Success[list[Result]], Generic[Result]):
    """A page of a list with page numbers."""

    result_info: PlainResultInfo = maybe_absent()


class Underway(Success[Annotated[list[str], Field(max_length=0)]]):
    """A search without a result yet."""

    result_info: ResultInfo


class JobMove(Shape):
    """The action of a MOVE job."""

    type: Literal["MOVE"]
    destination: Destination
    expected_disposition: Disposition | None = ends(DECEMBER, "Does nothing.")


class JobRelease(Shape):
    """The action of a RELEASE job."""

    type: Literal["RELEASE"]


class EchoedSearchParams(Shape):
    """The search of a job as requested."""

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
        description="Rows cancelled before their attempt, and rows whose attempt was in progress when the job ended."
    )


class DeletedJob(Shape):
    """The deleted job."""

    id: UuidText


class MessageMove(JobMove):
    """The action of a MOVE job on one copy."""

    client_recipient: str


class MessageRelease(JobRelease):
    """The action of a RELEASE job on one copy."""

    client_recipient: str


class ActionLogProperties(Shape):
    """The destination of a message, and the requester."""

    folder: str
    requested_by: str


class ActionLogEntry(Shape):
    """An action on a message after delivery, as it was embedded in messages."""

    completed_at: Moment
    completed_timestamp: str = ends(NOVEMBER, "Use completed_at.")
    operation: Literal["MOVE", "RELEASE", "RECLASSIFY", "SUBMISSION", "QUARANTINE_RELEASE", "PREVIEW"]
    status: str | None
    properties: ActionLogProperties


class MessageActionProperties(Shape):
    """The details of an action. Which of them an operation has is not documented."""

    folder: str | None
    requested_by: str | None
    requested_disposition: str | None
    service: str | None
    submission_id: str | None
    submission_type: str | None


class MessageActionEntry(Shape):
    """One attempt of an action on a message after delivery. It names no recipient and no job."""

    operation: Literal["PREVIEW", "QUARANTINE_RELEASE", "SUBMISSION", "MOVE"]
    started_at: Moment | None
    completed_at: Moment | None
    success: bool | None
    status: str | None
    properties: MessageActionProperties | None


class Preview(Shape):
    """An image of the body of a message."""

    screenshot: str = Field(description="PNG in base64.")


class Finding(Shape):
    """A reason for the detection of a message."""

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
    """The effect of the lists of allowed and blocked senders on a message."""

    allowlisted_pattern: str | None
    allowlisted_pattern_type: AllowlistPatternType | None
    blocklisted_message: bool | None
    blocklisted_pattern: str | None
    whitelisted_pattern_type: AllowlistPatternType | None


class Validation(Shape):
    """The results of the sender checks."""

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
    """A row of a job: one message in one recipient's mailbox."""

    message_id: UuidText = Field(description="Row identifier within the job, not the RFC 5322 Message-ID.")
    postfix_id: str
    alert_id: str | None
    email_message_id: str | None = Field(description="RFC 5322 Message-ID.")
    action_type: ActionType
    action_params: Annotated[MessageMove | MessageRelease, Field(discriminator="type")]
    status: MessageStatus
    status_message: str | None
    retry_count: Count
    retry_after: Moment | None = Field(description="Time of the next attempt of a failed action.")
    created_at: Moment
    processed_at: Moment | None
    message: MessageDetails = maybe_absent()


class MoveRow(Shape):
    """The outcome for one recipient's copy."""

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
    """The outcome for one message: its recipients by result."""

    id: str
    delivered: list[str] | None
    failed: list[str] | None
    undelivered: list[str] | None
    postfix_id: str = ends(NOVEMBER, "Use id.")


class TokenState(Shape):
    """The status of a token."""

    id: str
    status: Literal["active", "disabled", "expired"]
