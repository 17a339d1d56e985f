"""Read a record of the Logpush dataset email_security_alerts.

A sender of mail writes most of its fields, so each is read as data of any type and any length. Only the fields that
identify the alert are required.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core import instants
from core.addresses import read_one_address
from core.errors import ParameterError, Problem
from core.json_values import below, shown

LONGEST_ID = 400


@dataclass(frozen=True)
class Alert:
    """The fields of an alert that decide something.

    sender: the address in From, in lower case. received: RFC 3339 in UTC, whole seconds. disposition and origin: in
    lower case. envelope_sender: None if there is none that can be read. recipients: SMTPEnvelopeTo as written.
    dmarc, spf, dkim: in lower case, "" where the record has no result.
    """

    id: str
    sender: str
    sender_domain: str
    received: str
    subject: str | None
    disposition: str | None
    origin: str | None
    envelope_sender: str | None
    recipients: tuple[Any, ...]
    dmarc: str
    spf: str
    dkim: str
    attachments: tuple[Mapping[str, Any], ...]
    links: tuple[str, ...]

    @property
    def envelope_domain(self) -> str | None:
        return None if self.envelope_sender is None else read_one_address(self.envelope_sender)[1]


def parse_alert(record: Mapping[str, Any], pointer: str = "") -> Alert:
    """Return the alert in a Logpush record. pointer: where the record lies in the parameters.

    Raises: ParameterError that names each field that is missing or can't be read.
    """
    problems: list[Problem] = []

    def read(name: str, reader: Any) -> Any:
        try:
            return reader(record.get(name))
        except ValueError as error:
            problems.append(Problem(pointer=below(pointer, name), message=str(error)))
            return None

    alert_id, sender, received = (
        read("AlertID", read_alert_id),
        read("From", read_one_address),
        read("Timestamp", _received),
    )
    if problems:
        raise ParameterError(problems=problems)
    subject = record.get("Subject")
    return Alert(
        id=alert_id,
        sender=sender[0],
        sender_domain=sender[1],
        received=received,
        subject=subject if isinstance(subject, str) and subject.strip() else None,
        disposition=_word(record, "FinalDisposition")[:100] or None,
        origin=_word(record, "Origin")[:100] or None,
        envelope_sender=_envelope_sender(record),
        recipients=_recipients(record.get("SMTPEnvelopeTo")),
        dmarc=_word(record, "DMARCResult").strip()[:100],
        spf=_word(record, "SPFResult").strip()[:100],
        dkim=_word(record, "DKIMResult").strip()[:100],
        attachments=tuple(file for file in _items(record, "Attachments") if isinstance(file, Mapping)),
        links=tuple(link for link in _items(record, "Links") if isinstance(link, str)),
    )


def read_alert_id(value: object) -> str:
    """Return an AlertID. Raises: ValueError that completes "the AlertID …"."""
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError("is missing" if value is None else "must be a string that is not empty")
    if len(text) > LONGEST_ID:
        raise ValueError(f"is longer than {LONGEST_ID} characters")
    return text


def _received(value: object) -> str:
    if value is None:
        raise ValueError("is missing")
    return instants.whole_second(value)


def _envelope_sender(record: Mapping[str, Any]) -> str | None:
    try:
        return read_one_address(record.get("SMTPEnvelopeFrom"))[0]
    except ValueError:
        return None


def _recipients(value: object) -> tuple[Any, ...]:
    # A recipient that can't be read may hide one of the organization's domains, so a value of a wrong type is one.
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


def _word(record: Mapping[str, Any], name: str) -> str:
    """Return the value in lower case as written, "" if it is missing. A value of a wrong type equals no known word."""
    value = record.get(name)
    return "" if value is None else (value if isinstance(value, str) else shown(value)).lower()


def _items(record: Mapping[str, Any], name: str) -> Iterator[Any]:
    value = record.get(name)
    yield from value if isinstance(value, list) else ()
