"""Messages: the rows of a job, and the results of the message search."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connectors.objects.api_object import ApiObject
from connectors.objects.job import ActionType, Counter, Destination
from connectors.objects.search import DeliveryStatus, Disposition

# Only the older reference has DISCOVERING.
MessageStatus = Literal["PENDING", "DISCOVERING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]

DeliveryMode = Literal[
    "DIRECT",
    "BCC",
    "JOURNAL",
    "REVIEW_SUBMISSION",
    "DMARC_UNVERIFIED",
    "DMARC_FAILURE_REPORT",
    "DMARC_AGGREGATE_REPORT",
    "THREAT_INTEL_SUBMISSION",
    "SIMULATION_SUBMISSION",
    "API",
    "RETRO_SCAN",
]
PostDeliveryOperation = Literal["PREVIEW", "QUARANTINE_RELEASE", "SUBMISSION", "MOVE"]
ValidationResult = Literal["pass", "neutral", "fail", "error", "none"]


class MessageValidation(ApiObject):
    """The results of the sender checks."""

    comment: str | None = None
    dkim: ValidationResult | str | None = None
    dmarc: ValidationResult | str | None = None
    spf: ValidationResult | str | None = None


class MessageDetails(ApiObject):
    """A message of the search, or nested in a row of a job. Only `id` is required."""

    id: str = Field(min_length=1)
    postfix_id: str | None = None
    alert_id: str | None = None
    message_id: str | None = None
    subject: str | None = None
    from_: str | None = Field(None, alias="from")
    from_name: str | None = None
    to: list[str] | None = None
    to_name: list[str] | None = None
    replyto: str | None = None
    envelope_from: str | None = None
    envelope_to: list[str] | None = None
    client_recipients: list[str] | None = None
    sent_at: str | None = None
    scanned_at: str | None = None
    sent_date: str | None = None
    ts: str | None = None
    final_disposition: Disposition | str | None = None
    delivery_mode: DeliveryMode | str | None = None
    delivery_status: list[DeliveryStatus | str] | None = None
    detection_reasons: list[str] | None = None
    threat_categories: list[str] | None = None
    post_delivery_operations: list[PostDeliveryOperation | str] | None = None
    is_quarantined: bool | None = None
    is_phish_submission: bool | None = None
    edf_hash: str | None = None
    htmltext_structure_hash: str | None = None
    smtp_helo_server_ip: str | None = None
    smtp_previous_hop_ip: str | None = None
    x_originating_ip: str | None = None
    postfix_id_outbound: str | None = None
    action_log: list[dict[str, Any]] | None = None
    findings: list[dict[str, Any]] | None = None
    properties: dict[str, Any] | None = None
    validation: MessageValidation | None = None

    @property
    def copies(self) -> int:
        """Return the number of mailboxes with the message. A job has one row for each."""
        return max(1, len(self.client_recipients or ()))


def details_of(found: Any) -> list[MessageDetails] | None:
    """Return the messages of a search, or None if `found` is not a list. Raises: UnexpectedAnswer."""
    if not isinstance(found, list):
        return None
    return [MessageDetails.read(item, "a message that the search found") for item in found]


class MessageActionParams(ApiObject):
    """The action on a message for a recipient."""

    type: ActionType | str | None = None
    client_recipient: str | None = None
    destination: Destination | str | None = None
    expected_disposition: Disposition | str | None = None


class RowKey(ApiObject):
    """The required fields of a row. All other fields are passed on unchanged."""

    message_id: str = Field(min_length=1)
    status: str


class JobMessage(ApiObject):
    """A row of a job: one message for one recipient.

    `message_id` is the row's UUID; `email_message_id` is the RFC 5322 Message-ID.
    """

    message_id: str = Field(min_length=1)
    status: MessageStatus | str
    postfix_id: str | None = None
    action_type: ActionType | str | None = None
    action_params: MessageActionParams | None = None
    status_message: str | None = None
    retry_count: Counter | None = None
    retry_after: str | None = None
    created_at: str | None = None
    processed_at: str | None = None
    alert_id: str | None = None
    email_message_id: str | None = None
    message: MessageDetails | None = None
