"""The enumerations and formats of requests and responses."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, WithJsonSchema

from sandbox.clock import parse_instant

ActionType = Literal["MOVE", "RELEASE"]
Destination = Literal["Inbox", "JunkEmail", "DeletedItems", "RecoverableItemsDeletions", "RecoverableItemsPurges"]
Disposition = Literal[
    "MALICIOUS", "MALICIOUS-BEC", "SUSPICIOUS", "SPOOF", "SPAM", "BULK", "ENCRYPTED", "EXTERNAL", "UNKNOWN", "NONE"
]
SearchedDisposition = Literal["MALICIOUS", "SUSPICIOUS", "SPOOF", "SPAM", "BULK", "NONE"]
DeliveryStatus = Literal[
    "delivered", "moved", "quarantined", "rejected", "deferred", "bounced", "queued", "move_failed"
]
MessageAction = Literal["PREVIEW", "QUARANTINE_RELEASED", "MOVED"]
JobStatus = Literal["PENDING", "DISCOVERING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]
MessageStatus = Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]
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
ValidationStatus = Literal["pass", "neutral", "fail", "error", "none"]
AllowlistPatternType = Literal[
    "quarantine_release",
    "acceptable_sender",
    "allowed_sender",
    "allowed_recipient",
    "domain_similarity",
    "domain_recency",
    "managed_acceptable_sender",
    "outbound_ndr",
]


def _check_instant(text: str) -> str:
    parse_instant(text)
    return text


def _read_boolean(value: object) -> object:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError("must be true or false")


_DATE_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}

DateTimeText = Annotated[StrictStr, AfterValidator(_check_instant), WithJsonSchema(_DATE_TIME)]
"""A date-time in a request: RFC 3339 with a zone, kept as written."""

QueryBoolean = Annotated[bool, BeforeValidator(_read_boolean)]
"""A boolean in a query: only `true` or `false`."""

Moment = Annotated[str, WithJsonSchema(_DATE_TIME)]
"""A date-time in a response."""

UuidText = Annotated[
    str,
    Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", json_schema_extra={"format": "uuid"}),
]
Count = Annotated[int, Field(ge=0)]

# Only for the document: pydantic's own `deprecated` warns on each read, which here is by the server itself.
DEPRECATED: dict[str, Any] = {"deprecated": True}


NOVEMBER: Final = "2026-11-01T00:00:00Z"
DECEMBER: Final = "2026-12-01T00:00:00Z"


def maybe_absent(**described: Any) -> Any:
    """Return a field that may be missing but not null, without a default in the document."""
    return Field(default=None, json_schema_extra=_without_default, **described)


def ends(date: str, described: str, **more: Any) -> Any:
    """Return a field that may be missing, because the API removes it on a date."""

    def marked(schema: dict[str, Any]) -> None:
        _without_default(schema)
        schema |= {**DEPRECATED, "x-sunset": date}

    return Field(default=None, description=described, json_schema_extra=marked, **more)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
