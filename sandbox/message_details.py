"""Creates the API's long form of a message (`MessageDetails`) from the tenant's compact form."""

from typing import Any, Final

from sandbox.clock import SECOND, Instant, iso, iso_seconds
from sandbox.end_of_life import NOVEMBER
from sandbox.identifiers import draw
from sandbox.message import CLEAN, Message
from sandbox.tenant import Tenant
from sandbox.wording import person

_SCAN_TAKES: Final = 2 * SECOND


def message_details(tenant: Tenant, message: Message, now: Instant) -> dict[str, Any]:
    """Return a message as in a search and in the rows of a job, without removed fields."""
    sender = message.sender
    to = message.to or message.recipients
    postfix_id = tenant.postfix_id_of(message)
    detected = message.disposition != CLEAN
    structure = draw(sender.address, message.subject[:40]).hex()
    return {
        "id": tenant.id_of(message),
        "postfix_id": postfix_id,
        "postfix_id_outbound": None,
        "alert_id": tenant.alert_id_of(message),
        "message_id": tenant.message_id_of(message),
        "subject": message.subject,
        "from": sender.address,
        "from_name": sender.name,
        "to": list(to),
        "to_name": [person(address) for address in to],
        "replyto": sender.reply_to,
        "envelope_from": sender.envelope_from,
        "envelope_to": list(message.recipients),
        "client_recipients": list(message.recipients),
        "sent_at": iso(message.time - _SCAN_TAKES),
        "scanned_at": iso(message.time),
        "sent_date": iso_seconds(message.time - _SCAN_TAKES),
        "final_disposition": message.disposition,
        "delivery_mode": "REVIEW_SUBMISSION" if message.submission else "API",
        "delivery_status": message.statuses(),
        "detection_reasons": list(sender.reasons) if detected else [],
        "threat_categories": list(sender.categories) if detected else None,
        "post_delivery_operations": sorted(message.operations()) or None,
        "is_quarantined": message.is_quarantined(),
        "is_phish_submission": message.submission,
        "edf_hash": structure[:16],
        "htmltext_structure_hash": structure[16:],
        "smtp_helo_server_ip": sender.helo_ip,
        "smtp_previous_hop_ip": None,
        "x_originating_ip": None,
        "properties": {
            "allowlisted_pattern": None,
            "allowlisted_pattern_type": None,
            "blocklisted_message": None,
            "blocklisted_pattern": None,
            "whitelisted_pattern_type": None,
        },
        "validation": {"comment": None, "dkim": sender.dkim, "dmarc": sender.dmarc, "spf": sender.spf},
        **(_ended_fields(message) if now < NOVEMBER else {}),
    }


def _ended_fields(message: Message) -> dict[str, Any]:
    """Return the fields that the API has removed in November 2026."""
    return {
        "ts": iso_seconds(message.time),
        "action_log": [
            {
                "completed_at": iso(entry.at),
                "completed_timestamp": iso_seconds(entry.at),
                "operation": entry.operation,
                "status": entry.reason or "OK",
                "properties": {"folder": entry.folder or "", "requested_by": entry.requested_by},
            }
            for entry in message.log or ()
        ],
        "findings": _findings(message) if message.disposition != CLEAN else None,
    }


def _findings(message: Message) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"detection": message.disposition, "portion": "BODY", "detail": None, "score": 10.0}
    links = [
        {**shared, "attachment": None, "field": "link", "name": "url", "reason": reason, "value": link}
        for reason, link in zip(message.sender.reasons, message.links, strict=False)
    ]
    files = [
        {
            **shared,
            "portion": "ATTACHMENT",
            "attachment": file.name,
            "field": "sha256",
            "name": "file",
            "reason": file.content_type,
            "value": file.sha256,
        }
        for file in message.attachments
    ]
    return links + files
