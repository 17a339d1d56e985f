"""The treatment of each field of a row, a job and a plan when names are replaced. Unlisted fields are replaced too.

Source: the OpenAPI document's BulkJob, BulkJobMessage, MessageDetails and SearchParams. The plan is this pack's own.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# The kind of the field's text. A text of the first five kinds stays if it has the kind's form.
Treatment = Literal[
    "id",  # letters, digits and a few marks, with at least one digit
    "time",  # RFC 3339, or the date in a mail's header
    "word",  # a status, verdict or folder of the service: no spaces, no digits
    "words",  # a text of a service: stays if all its words are harmless, with its addresses replaced
    "folder",  # one of the five folders of the API; a user's own folder can have any name
    "address",
    "person",  # a login or an address
    "name",
    "subject",
    "domain",
    "scope",  # an address or a domain that narrows a search
    "protected",  # a plan's "recipient ADDRESS", "sender ADDRESS"
    "message-id",
    "ip",
    "comment",  # begins with the pack's own stamp
    "hash",  # a SHA-256 over content: without a key it would confirm guesses at the content
    "other",
]
Fields: TypeAlias = "dict[str, Treatment | Fields]"

# The treatment of all keys of an object whose keys are data and whose values are numbers.
KEYS = "*"


def _fields(names: dict[Treatment, str], **objects: Fields) -> Fields:
    """Return the treatment of each field. names: of the fields with a text, by treatment."""
    return {**{name: how for how, text in names.items() for name in text.split()}, **objects}


_ACTION = _fields(
    {"time": "completed_at", "word": "operation status"},
    properties=_fields({"folder": "folder", "person": "requested_by"}),
)

_FINDING = _fields(
    {"other": "attachment detail name score value", "word": "detection field portion", "words": "reason"},
)

_PROPERTIES = _fields(
    {
        "scope": "allowlisted_pattern blocklisted_pattern",
        "word": "allowlisted_pattern_type whitelisted_pattern_type",
        "other": "blocklisted_message",
    },
)

MESSAGE = _fields(
    {
        "id": "id postfix_id postfix_id_outbound alert_id edf_hash htmltext_structure_hash",
        "message-id": "message_id",
        "subject": "subject",
        "address": "from to replyto envelope_from envelope_to client_recipients",
        "name": "from_name to_name",
        "time": "sent_at scanned_at sent_date ts",
        "word": "final_disposition delivery_mode delivery_status threat_categories post_delivery_operations",
        "words": "detection_reasons",
        "other": "is_quarantined is_phish_submission",
        "ip": "smtp_helo_server_ip smtp_previous_hop_ip x_originating_ip",
    },
    action_log=_ACTION,
    findings=_FINDING,
    properties=_PROPERTIES,
    validation=_fields({"words": "comment", "word": "dkim dmarc spf"}),
)

_ACTION_PARAMS = _fields({"word": "type expected_disposition", "folder": "destination", "address": "client_recipient"})

ROW = _fields(
    {
        "id": "message_id postfix_id alert_id",
        "word": "action_type status",
        "words": "status_message",
        "other": "retry_count",
        "time": "retry_after created_at processed_at",
        "message-id": "email_message_id",
    },
    action_params=_ACTION_PARAMS,
    message=MESSAGE,
)

SEARCH_PARAMS = _fields(
    {
        "other": "action_log detections_only metric query submissions",
        "id": "alert_id",
        "word": "delivery_status final_disposition message_action",
        "domain": "domain",
        "time": "end start",
        "subject": "exact_subject subject",
        "message-id": "message_id",
        "scope": "recipient sender",
        "ip": "smtp_helo_ip",
    },
)

JOB = _fields(
    {
        "id": "job_id",
        "word": "action_type status",
        "words": "status_message",
        "comment": "comment",
        "time": "created_at started_at completed_at",
        "other": "total_messages_discovered messages_pending messages_successful messages_failed messages_skipped "
        "messages_cancelled",
    },
    action_params=_ACTION_PARAMS,
    search_params=SEARCH_PARAMS,
)

PLAN = _fields(
    {
        "other": "version requester_proved messages distinct_messages recipients malicious unproved max_drift "
        "cancel_if_discovered_over approvals_needed",
        "hash": "plan_hash seal",
        "id": "account_id",
        "time": "previewed_at",
        "person": "requested_by",
        "word": "action parity",
        "folder": "destination",
        "protected": "protected",
        "address": "own_senders",
        "words": "parity_notes warnings",
    },
    search_params=SEARCH_PARAMS,
    asked_search_params=SEARCH_PARAMS,
    by_recipient_domain={KEYS: "domain"},
    by_disposition={KEYS: "word"},
    by_delivery_status={KEYS: "word"},
    by_sender={KEYS: "scope"},
    proved_clean={KEYS: "scope"},
    sample=_fields(
        {
            "id": "id",
            "address": "from recipients",
            "subject": "subject",
            "word": "final_disposition",
            "time": "scanned_at",
        }
    ),
    reversibility=_fields({"other": "reversible", "words": "how"}),
    refusals=_fields({"word": "type", "words": "message"}),
)
