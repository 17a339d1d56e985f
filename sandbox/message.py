"""A mail in the tenant's compact form, because there can be 200,000. The API's long form is created on request."""

from dataclasses import dataclass, field
from typing import Final

from sandbox.clock import Instant

CLEAN: Final = "NONE"
DELIVERED: Final = "delivered"
MOVED: Final = "moved"
QUARANTINED: Final = "quarantined"

RELEASED: Final = "QUARANTINE_RELEASE"
"""The operation of a release in the action log."""


@dataclass(slots=True, eq=False)
class Sender:
    """A sender, with its server and the results of the sender checks. All mails of a sender share one object."""

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
    """A file in a mail, with hashes in lower-case hexadecimal."""

    name: str
    content_type: str
    md5: str
    sha1: str
    sha256: str


@dataclass(slots=True)
class Copy:
    """The state of one recipient's copy that has changed after delivery."""

    status: str
    folder: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One attempt of an action after delivery: MOVE, QUARANTINE_RELEASE or PREVIEW.

    `folder` is the destination. `reason` is empty for success. The API shows neither the recipient nor the job.
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

    `recipients` are those of the tenant (client_recipients in the API); `to` is the header, if different. `number` is
    the index in the tenant. `status` is that of unchanged copies. `postfix_id`, `message_id` and `alert_id` are None if
    they are computed from the number.
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
        """Return the state of one recipient's copy."""
        changed = self.copies.get(recipient) if self.copies else None
        return changed or Copy(self.status, "Inbox")

    def statuses(self) -> list[str]:
        """Return the different delivery statuses of all copies, in alphabetical order."""
        if not self.copies:
            return [self.status]
        return sorted({self.copy_of(recipient).status for recipient in self.recipients})

    def is_quarantined(self) -> bool:
        return QUARANTINED in self.statuses()

    def record(self, entry: LogEntry, status: str) -> None:
        """Record a change of one recipient's copy."""
        self.copies = self.copies or {}
        self.copies[entry.recipient or ""] = Copy(status, entry.folder or "")
        self.note(entry)

    def note(self, entry: LogEntry) -> None:
        """Add an entry to the log that changed no copy: a failed attempt, or a preview."""
        self.log = self.log or []
        self.log.append(entry)

    def operations(self) -> set[str]:
        """Return the operations that succeeded after delivery."""
        return {entry.operation for entry in self.log or () if entry.success}

    def link_domains(self) -> set[str]:
        return {link.partition("://")[2].partition("/")[0].partition(":")[0].casefold() for link in self.links}
