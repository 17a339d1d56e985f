"""The mailboxes of one tenant: every mail that Email Security has seen, and what was done to it afterwards."""

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from sandbox import identifiers
from sandbox.clock import Instant
from sandbox.identifiers import Identifiers
from sandbox.message import CLEAN, DELIVERED, MOVED, RELEASED, Attachment, LogEntry, Message, Sender


def newest_first(messages: Iterable[Message]) -> list[Message]:
    """Sort by time and number, both descending."""
    # Twice by a number: a tenant's list is in the order of one already, and 200,000 pairs would take twice as long.
    return sorted(sorted(messages, key=attrgetter("number"), reverse=True), key=attrgetter("time"), reverse=True)


class Tenant:
    """All mail of an account, found by ID, sender and recipient without looking through all of it.

    A mail with a time still to come is there already and not to be seen yet: that is how late copies arrive.
    """

    def __init__(self, seed: int, domain: str = "corp.example") -> None:
        self.domain = domain
        self.identifiers = Identifiers(seed)
        self.messages: list[Message] = []
        # What searches found, by their criteria, until a mail is added.
        self.found: dict[object, list[Message]] = {}
        self._by_sender: dict[str, list[Message]] = defaultdict(list)
        self._by_recipient: dict[str, list[Message]] = defaultdict(list)
        self._by_named_id: dict[str, list[Message]] = defaultdict(list)

    def add(
        self,
        *,
        time: Instant,
        sender: Sender,
        subject: str,
        recipients: tuple[str, ...],
        disposition: str = CLEAN,
        status: str = DELIVERED,
        links: tuple[str, ...] = (),
        attachments: tuple[Attachment, ...] = (),
        submission: bool = False,
        to: tuple[str, ...] | None = None,
        postfix_id: str | None = None,
        message_id: str | None = None,
        alert_id: str | None = None,
    ) -> Message:
        """Put a mail into the recipients' mailboxes; from `time` on it can be found."""
        message = Message(
            number=len(self.messages),
            time=time,
            sender=sender,
            subject=subject,
            recipients=recipients,
            disposition=disposition,
            status=status,
            links=links,
            attachments=attachments,
            submission=submission,
            to=to,
            postfix_id=postfix_id,
            message_id=message_id,
            alert_id=alert_id,
        )
        self.messages.append(message)
        self.found.clear()
        self._by_sender[sender.address.casefold()].append(message)
        for recipient in recipients:
            self._by_recipient[recipient.casefold()].append(message)
        for named in {message_id, alert_id} - {None}:
            self._by_named_id[str(named)].append(message)
        return message

    # What the API calls a message by

    def postfix_id_of(self, message: Message) -> str:
        return message.postfix_id or self.identifiers.postfix_id(message.number)

    def id_of(self, message: Message) -> str:
        """The investigate ID."""
        return identifiers.investigate_id(self.postfix_id_of(message), message.time, message.number)

    def message_id_of(self, message: Message) -> str:
        """The RFC 5322 Message-ID."""
        if message.message_id is not None:
            return message.message_id
        return identifiers.rfc5322_message_id(self.postfix_id_of(message), message.time, message.sender.domain)

    def alert_id_of(self, message: Message) -> str | None:
        """The alert that the detection raised; None for mail that was found clean."""
        if message.alert_id is not None or message.disposition == CLEAN:
            return message.alert_id
        return identifiers.alert_id(self.postfix_id_of(message), message.time)

    # Looking up

    def by_id(self, investigate_id: str) -> Message | None:
        number = identifiers.number_of_investigate_id(investigate_id)
        if number is None or number >= len(self.messages) or self.id_of(self.messages[number]) != investigate_id:
            return None
        return self.messages[number]

    def by_message_id(self, message_id: str) -> list[Message]:
        """Mails with this Message-ID; the angle brackets may be missing."""
        name = f"<{message_id.strip('<>')}>"
        found = [*self._by_named_id.get(name, []), *self._by_named_id.get(name[1:-1], [])]
        postfix_id = name[1:].partition("@")[0].partition(".")[2]
        return found + [m for m in self._numbered(postfix_id) if self.message_id_of(m) == name]

    def by_alert_id(self, alert_id: str) -> list[Message]:
        found = list(self._by_named_id.get(alert_id, []))
        return found + [
            message
            for message in self._numbered(alert_id.partition("-")[0])
            if message.alert_id is None and self.alert_id_of(message) == alert_id
        ]

    def _numbered(self, postfix_id: str) -> list[Message]:
        number = self.identifiers.number_of_postfix_id(postfix_id)
        return [self.messages[number]] if number is not None and number < len(self.messages) else []

    def from_sender(self, address: str) -> list[Message]:
        return self._by_sender.get(address.casefold(), [])

    def sender_addresses(self) -> Iterable[str]:
        return self._by_sender.keys()

    def newest_first(self) -> list[Message]:
        """All mails, those that are still to come too."""
        if None not in self.found:
            self.found[None] = newest_first(self.messages)
        return self.found[None]

    def to_recipient(self, address: str) -> list[Message]:
        return self._by_recipient.get(address.casefold(), [])

    # What is done after delivery

    def move(self, message: Message, recipient: str, folder: str, at: Instant, requested_by: str) -> None:
        message.record(LogEntry(at, "MOVE", recipient, folder, requested_by), MOVED)

    def release(self, message: Message, recipient: str, at: Instant, requested_by: str) -> None:
        message.record(LogEntry(at, RELEASED, recipient, "Inbox", requested_by), DELIVERED)
