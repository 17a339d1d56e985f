"""A mail as the tenant keeps it: small, because there can be 200,000. The API's long form is made when asked for."""

from dataclasses import dataclass, field
from typing import Final

from sandbox.clock import Instant

CLEAN: Final = "NONE"
DELIVERED: Final = "delivered"
MOVED: Final = "moved"
QUARANTINED: Final = "quarantined"

RELEASED: Final = "QUARANTINE_RELEASE"
"""What the action log calls a release."""


@dataclass(slots=True, eq=False)
class Sender:
    """Who sends, from where, and what the checks say of it. One object serves all mails of a sender."""

    address: str
    name: str = ""
    helo_ip: str = "192.0.2.25"
    envelope_from: str = ""
    reply_to: str | None = None
    spf: str = "pass"
    dkim: str = "pass"
    dmarc: str = "pass"
    reasons: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    domain: str = field(init=False)

    def __post_init__(self) -> None:
        self.domain = self.address.rpartition("@")[2].casefold()
        self.envelope_from = self.envelope_from or self.address


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail. Hashes in lower-case hexadecimal."""

    name: str
    content_type: str
    md5: str
    sha1: str
    sha256: str


@dataclass(slots=True)
class Copy:
    """One recipient's copy, once something happened to it after delivery."""

    status: str
    folder: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One attempt to do something to a mail after delivery: MOVE, QUARANTINE_RELEASE or PREVIEW.

    `folder` is the one aimed at. The API shows neither the recipient nor the job. `reason` is empty for a success.
    """

    at: Instant
    operation: str
    recipient: str | None
    folder: str | None
    requested_by: str
    reason: str = ""
    started_at: Instant | None = None

    @property
    def success(self) -> bool:
        return not self.reason


@dataclass(slots=True, eq=False, kw_only=True)
class Message:
    """One mail.

    `recipients` are the tenant's own (the API's client_recipients); `to` is the header, if it differs. `number` is its
    place in the tenant. `status` is that of copies nothing has happened to yet. `postfix_id`, `message_id` and
    `alert_id` are None where they follow from the number.
    """

    number: int
    time: Instant
    sender: Sender
    subject: str
    recipients: tuple[str, ...]
    disposition: str = CLEAN
    status: str = DELIVERED
    links: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    submission: bool = False
    to: tuple[str, ...] | None = None
    postfix_id: str | None = None
    message_id: str | None = None
    alert_id: str | None = None
    copies: dict[str, Copy] | None = None
    log: list[LogEntry] | None = None

    def copy_of(self, recipient: str) -> Copy:
        """The state of one recipient's copy."""
        changed = self.copies.get(recipient) if self.copies else None
        return changed or Copy(self.status, "Inbox")

    def statuses(self) -> list[str]:
        """The delivery statuses of all copies, each once, in alphabetical order."""
        if not self.copies:
            return [self.status]
        return sorted({self.copy_of(recipient).status for recipient in self.recipients})

    def is_quarantined(self) -> bool:
        return QUARANTINED in self.statuses()

    def record(self, entry: LogEntry, status: str) -> None:
        """Note what was done to one recipient's copy."""
        self.copies = self.copies or {}
        self.copies[entry.recipient or ""] = Copy(status, entry.folder or "")
        self.note(entry)

    def note(self, entry: LogEntry) -> None:
        """Add to the log what left every copy as it was: an attempt that failed, or a preview."""
        self.log = self.log or []
        self.log.append(entry)

    def operations(self) -> set[str]:
        """The operations that were carried out after delivery."""
        return {entry.operation for entry in self.log or () if entry.success}

    def link_domains(self) -> set[str]:
        return {link.partition("://")[2].partition("/")[0].partition(":")[0].casefold() for link in self.links}
