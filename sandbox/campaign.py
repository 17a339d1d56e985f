"""Creates the phishing campaign of an alert: copies of the alert's message in other mailboxes.

The alert is a record of the Logpush dataset `email_security_alerts`.
"""

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.clock import SECOND, Instant, parse_instant
from sandbox.correspondence import mailbox_addresses
from sandbox.message import CLEAN, Attachment, Sender
from sandbox.tenant import Tenant
from sandbox.wording import person

START_AFTER_ALERT: Final = 30 * 60 * SECOND


class BadAlertError(ValueError):
    """The file is not a valid alert record; the message has the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The fields of an alert that the copies of its message share."""

    alert_id: str
    message_id: str
    time: Instant
    sender: Sender
    subject: str
    disposition: str
    to: tuple[str, ...]
    to_names: tuple[str, ...]
    envelope_to: tuple[str, ...]
    links: tuple[str, ...]
    attachments: tuple[Attachment, ...]


def read_alert(path: Path) -> Alert:
    """Return the first alert in a file: one JSON object, or one per line. Raises BadAlertError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise BadAlertError(f"{path}: {problem.strerror or problem}") from problem
    except UnicodeDecodeError as problem:
        raise BadAlertError(f"{path}: not UTF-8 text") from problem
    try:
        record, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError) as problem:
        raise BadAlertError(f"{path}: not a JSON object: {problem}") from problem
    return alert_from(record)


def alert_from(record: object) -> Alert:
    """Return an alert from its JSON. Raises BadAlertError that names a missing or invalid field."""
    if not isinstance(record, Mapping):
        raise BadAlertError("an alert must be a JSON object")
    disposition = _text(record, "FinalDisposition", "malicious").upper()
    sender = Sender(
        _text(record, "From"),
        _text(record, "FromName", ""),
        helo_ip=_text(record, "SMTPHeloServerIP", "203.0.113.1"),
        envelope_from=_text(record, "SMTPEnvelopeFrom", ""),
        reply_to=_text(record, "ReplyTo", "") or None,
        spf=_check(record, "SPFResult"),
        dkim=_check(record, "DKIMResult"),
        dmarc=_check(record, "DMARCResult"),
        reasons=_texts(record, "AlertReasons"),
        categories=_texts(record, "ThreatCategories"),
    )
    to = _texts(record, "To")
    return Alert(
        alert_id=_text(record, "AlertID"),
        message_id=_text(record, "MessageID"),
        time=_timestamp(record),
        sender=sender,
        subject=_text(record, "Subject", ""),
        disposition=CLEAN if disposition == "UNSET" else disposition,
        to=to,
        to_names=_texts(record, "ToName"),
        envelope_to=_texts(record, "SMTPEnvelopeTo") or to,
        links=_texts(record, "Links"),
        attachments=tuple(_attachment(item) for item in record.get("Attachments") or () if isinstance(item, Mapping)),
    )


def plant(tenant: Tenant, alert: Alert, *, seed: int, size: int, late: int = 0, late_every: float = 5.0) -> None:
    """Deliver the alert's message, and `size - 1` copies to other mailboxes, around the time of the alert.

    Most copies are detected, a tenth is not; a few are users' reports (phish submissions). `late` more copies arrive
    after the start, one every `late_every` seconds: a job finds them, but an earlier preview does not.
    """
    chance = random.Random(f"{seed}/campaign")  # noqa: S311 - a fixture that must be reproducible
    mailboxes = mailbox_addresses(max(size + late, 60), tenant.domain)
    own = tuple(address for address in alert.envelope_to if address.endswith("@" + tenant.domain)) or alert.envelope_to
    tenant.add(
        time=alert.time,
        sender=alert.sender,
        subject=alert.subject,
        recipients=own or (mailboxes[0],),
        to=alert.to or None,
        disposition=alert.disposition,
        links=alert.links,
        attachments=alert.attachments,
        postfix_id=alert.alert_id.partition("-")[0] or None,
        message_id=alert.message_id,
        alert_id=alert.alert_id,
    )
    others = [address for address in mailboxes if address not in own] or mailboxes
    start = alert.time + START_AFTER_ALERT
    for place in range(size - 1 + late):
        recipient = others[place % len(others)]
        recipients: tuple[str, ...] = (recipient,)
        if chance.random() < 0.04:
            recipients += tuple(a for a in chance.sample(others, min(2, len(others))) if a != recipient)
        fate = chance.random()
        arrives_late = place >= size - 1
        tenant.add(
            time=(
                start + round((place - size + 2) * late_every * SECOND)
                if arrives_late
                else alert.time + chance.randrange(-25 * 60, 25 * 60) * SECOND + chance.randrange(SECOND)
            ),
            sender=alert.sender,
            subject=_for_recipient(alert, recipient),
            recipients=recipients,
            disposition=CLEAN if fate < 0.10 and not arrives_late else "SUSPICIOUS" if fate < 0.15 else "MALICIOUS",
            # The value at the end of a link is another one in each copy.
            links=tuple(re.sub(r"=[^=]*\Z", f"={place + 2}", link) for link in alert.links),
            attachments=alert.attachments,
            submission=0.15 < fate < 0.165,
        )


def _for_recipient(alert: Alert, recipient: str) -> str:
    """Return the subject with the name of this recipient instead of the alert's recipient."""
    for name in alert.to_names:
        if name and name in alert.subject:
            return alert.subject.replace(name, person(recipient).split(" ")[0])
    return alert.subject


def _text(record: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = record.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise BadAlertError(f"the alert's {name} is {'missing' if value in (None, '') else 'not text'}")
    return value


def _texts(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = record.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadAlertError(f"the alert's {name} is not a list of texts")
    return tuple(value)


def _check(record: Mapping[str, Any], name: str) -> str:
    result = _text(record, name, "none").casefold()
    result = "fail" if result == "softfail" else result
    return result if result in ("pass", "neutral", "fail", "error", "none") else "none"


def _timestamp(record: Mapping[str, Any]) -> Instant:
    """Return the time of an alert. Logpush writes RFC 3339, or Unix time in seconds, milliseconds or nanoseconds."""
    value = record.get("Timestamp")
    try:
        if isinstance(value, str):
            return parse_instant(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**19:
            for limit, unit in ((10**11, SECOND), (10**14, 1000), (10**17, 1)):
                if value < limit:
                    return value * unit
            return value // 1000
    except ValueError as problem:
        raise BadAlertError(f"the alert's Timestamp {problem}") from problem
    raise BadAlertError("the alert's Timestamp is missing or not a valid time")


def _attachment(item: Mapping[str, Any]) -> Attachment:
    return Attachment(
        name=str(item.get("Name") or ""),
        content_type=str(item.get("ContentTypeComputed") or item.get("ContentTypeProvided") or ""),
        md5=str(item.get("Md5") or "").casefold(),
        sha1=str(item.get("Sha1") or "").casefold(),
        sha256=str(item.get("Sha256") or "").casefold(),
    )
