"""What becomes of each field of a row, a job and a plan when names are replaced. What is not listed is replaced.

Source: the OpenAPI document's BulkJob, BulkJobMessage, MessageDetails and SearchParams; the plan is this pack's own.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# What a text in the field is taken for. The first five stay where they have that form, and only there.
Treatment = Literal[
    "id",  # letters, digits and a few marks, with a digit among them
    "time",  # RFC 3339, or the date of a mail's header
    "word",  # a status, a verdict, a folder of the service: no spaces, no digits
    "words",  # a text of a service: stays where it is made of harmless words, addresses in it replaced
    "folder",  # one of the five folders of the contract: a user's own may be called anything
    "address",
    "person",  # a login or an address
    "name",
    "subject",
    "domain",
    "scope",  # an address or a domain: what a search can be narrowed to
    "protected",  # a plan's "recipient ADDRESS", "sender ADDRESS"
    "message-id",
    "ip",
    "comment",  # with the pack's own stamp in front
    "hash",  # a SHA-256 over content: without a key, so that guesses at the content could be checked by it
    "other",
]
Fields: TypeAlias = "dict[str, Treatment | Fields]"

# An object whose keys are data: the treatment of each key stands under this name, its values are numbers.
KEYS = "*"

_SPENT: Fields = {
    "completed_at": "time",
    "operation": "word",
    "status": "word",
    "properties": {"folder": "folder", "requested_by": "person"},
}

_FINDING: Fields = {
    "attachment": "other",
    "detail": "other",
    "detection": "word",
    "field": "word",
    "name": "other",
    "portion": "word",
    "reason": "words",
    "score": "other",
    "value": "other",
}

MESSAGE: Fields = {
    "id": "id",
    "postfix_id": "id",
    "postfix_id_outbound": "id",
    "alert_id": "id",
    "message_id": "message-id",
    "subject": "subject",
    "from": "address",
    "from_name": "name",
    "to": "address",
    "to_name": "name",
    "replyto": "address",
    "envelope_from": "address",
    "envelope_to": "address",
    "client_recipients": "address",
    "sent_at": "time",
    "scanned_at": "time",
    "sent_date": "time",
    "ts": "time",
    "final_disposition": "word",
    "delivery_mode": "word",
    "delivery_status": "word",
    "detection_reasons": "words",
    "threat_categories": "word",
    "post_delivery_operations": "word",
    "is_quarantined": "other",
    "is_phish_submission": "other",
    "edf_hash": "id",
    "htmltext_structure_hash": "id",
    "smtp_helo_server_ip": "ip",
    "smtp_previous_hop_ip": "ip",
    "x_originating_ip": "ip",
    "action_log": _SPENT,
    "findings": _FINDING,
    "properties": {
        "allowlisted_pattern": "scope",
        "allowlisted_pattern_type": "word",
        "blocklisted_message": "other",
        "blocklisted_pattern": "scope",
        "whitelisted_pattern_type": "word",
    },
    "validation": {"comment": "words", "dkim": "word", "dmarc": "word", "spf": "word"},
}

_ACTION_PARAMS: Fields = {
    "type": "word",
    "destination": "folder",
    "client_recipient": "address",
    "expected_disposition": "word",
}

ROW: Fields = {
    "message_id": "id",
    "postfix_id": "id",
    "action_type": "word",
    "action_params": _ACTION_PARAMS,
    "status": "word",
    "status_message": "words",
    "retry_count": "other",
    "retry_after": "time",
    "created_at": "time",
    "processed_at": "time",
    "alert_id": "id",
    "email_message_id": "message-id",
    "message": MESSAGE,
}

SEARCH_PARAMS: Fields = {
    "action_log": "other",
    "alert_id": "id",
    "delivery_status": "word",
    "detections_only": "other",
    "domain": "domain",
    "end": "time",
    "exact_subject": "subject",
    "final_disposition": "word",
    "message_action": "word",
    "message_id": "message-id",
    "metric": "other",
    "query": "other",
    "recipient": "scope",
    "sender": "scope",
    "smtp_helo_ip": "ip",
    "start": "time",
    "subject": "subject",
    "submissions": "other",
}

JOB: Fields = {
    "job_id": "id",
    "action_type": "word",
    "action_params": _ACTION_PARAMS,
    "search_params": SEARCH_PARAMS,
    "status": "word",
    "status_message": "words",
    "comment": "comment",
    "created_at": "time",
    "started_at": "time",
    "completed_at": "time",
    "total_messages_discovered": "other",
    "messages_pending": "other",
    "messages_successful": "other",
    "messages_failed": "other",
    "messages_skipped": "other",
    "messages_cancelled": "other",
}

PLAN: Fields = {
    "version": "other",
    "plan_hash": "hash",
    "seal": "hash",
    "account_id": "id",
    "previewed_at": "time",
    "requested_by": "person",
    "requester_proved": "other",
    "action": "word",
    "destination": "folder",
    "search_params": SEARCH_PARAMS,
    "asked_search_params": SEARCH_PARAMS,
    "messages": "other",
    "distinct_messages": "other",
    "recipients": "other",
    "malicious": "other",
    "by_recipient_domain": {KEYS: "domain"},
    "by_disposition": {KEYS: "word"},
    "by_delivery_status": {KEYS: "word"},
    "by_sender": {KEYS: "scope"},
    "unproved": "other",
    "proved_clean": {KEYS: "scope"},
    "sample": {
        "id": "id",
        "from": "address",
        "subject": "subject",
        "recipients": "address",
        "final_disposition": "word",
        "scanned_at": "time",
    },
    "protected": "protected",
    "own_senders": "address",
    "parity": "word",
    "parity_notes": "words",
    "reversibility": {"reversible": "other", "how": "words"},
    "max_drift": "other",
    "cancel_if_discovered_over": "other",
    "approvals_needed": "other",
    "refusals": {"type": "word", "message": "words"},
    "warnings": "words",
}
