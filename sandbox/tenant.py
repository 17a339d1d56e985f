"""The mailboxes of one tenant: every mail, with its later changes."""

from array import array
from bisect import bisect_right, insort_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from sandbox import identifiers
from sandbox.clock import Instant
from sandbox.identifiers import Identifiers
from sandbox.message import CLEAN, Message

# More new mails than this are sorted together with all others; fewer are inserted one by one.
_MOST_PUT_IN_PLACE = 1000


class Tenant:
    """All mail of an account, with indexes by ID, sender and recipient.

    A mail with a future time is stored but not visible before that time. Late copies arrive in this way.
    """

    def __init__(self, seed: int, domain: str = "corp.example") -> None:
        self.domain = domain
        self.identifiers = Identifiers(seed)
        self.messages: list[Message] = []
        # A cache of search results (numbers of mails) by criteria. Adding a mail clears it.
        self.found: dict[object, Sequence[int]] = {}
        self._newest_first = array("I")
        self._by_sender: dict[str, list[Message]] = defaultdict(list)
        self._by_recipient: dict[str, list[Message]] = defaultdict(list)
        self._by_named_id: dict[str, list[Message]] = defaultdict(list)

    def add(self, **fields: Any) -> Message:
        """Deliver a mail with these fields of `Message`. It is visible from its `time`."""
        message = Message(number=len(self.messages), **fields)
        self.messages.append(message)
        self.found.clear()
        self._by_sender[message.sender.address.casefold()].append(message)
        for recipient in message.recipients:
            self._by_recipient[recipient.casefold()].append(message)
        for named in {message.message_id, message.alert_id} - {None}:
            self._by_named_id[str(named)].append(message)
        return message

    # The IDs of a message

    def postfix_id_of(self, message: Message) -> str:
        return message.postfix_id or self.identifiers.postfix_id(message.number)

    def id_of(self, message: Message) -> str:
        """Return the investigate ID."""
        return identifiers.investigate_id(self.postfix_id_of(message), message.time, message.number)

    def message_id_of(self, message: Message) -> str:
        """Return the RFC 5322 Message-ID."""
        if message.message_id is not None:
            return message.message_id
        return identifiers.rfc5322_message_id(self.postfix_id_of(message), message.time, message.sender.domain)

    def alert_id_of(self, message: Message) -> str | None:
        """Return the alert ID of the detection, or None for clean mail."""
        if message.alert_id is not None or message.disposition == CLEAN:
            return message.alert_id
        return identifiers.alert_id(self.postfix_id_of(message), message.time)

    # Lookup

    def by_id(self, investigate_id: str) -> Message | None:
        number = identifiers.number_of_investigate_id(investigate_id)
        if number is None or number >= len(self.messages) or self.id_of(self.messages[number]) != investigate_id:
            return None
        return self.messages[number]

    def by_message_id(self, message_id: str) -> list[Message]:
        """Return the mails with this Message-ID. The angle brackets are optional."""
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

    def with_given_names(self) -> Iterable[Message]:
        """Return the mails with a given Message-ID or alert ID, which is not computed from the number."""
        return chain.from_iterable(self._by_named_id.values())

    def newest_first(self) -> Sequence[int]:
        """Return the numbers of all mails, including future ones, by time and number, both descending."""
        added = range(len(self._newest_first), len(self.messages))
        if len(added) > _MOST_PUT_IN_PLACE:
            times = [message.time for message in self.messages]
            numbers = reversed(range(len(times)))
            self._newest_first = array("I", sorted(numbers, key=times.__getitem__, reverse=True))
        else:
            for number in added:
                insort_left(self._newest_first, number, key=self._minus_time)
        return self._newest_first

    def in_order(self, messages: Iterable[Message]) -> Sequence[int]:
        """Return the numbers of these mails, newest first, each once."""
        numbers = [message.number for message in messages]
        if len(numbers) < len(self.messages) // 8:
            return sorted(set(numbers), key=lambda number: (self.messages[number].time, number), reverse=True)
        chosen = bytearray(len(self.messages))
        for number in numbers:
            chosen[number] = True
        return array("I", (number for number in self.newest_first() if chosen[number]))

    def between(self, start: Instant, end: Instant) -> list[Message]:
        """Return the mails from `start` on and before `end`."""
        order = self.newest_first()
        first, last = bisect_right(order, -end, key=self._minus_time), bisect_right(order, -start, key=self._minus_time)
        return [self.messages[number] for number in order[first:last]]

    def _minus_time(self, number: int) -> int:
        return -self.messages[number].time

    def to_recipient(self, address: str) -> list[Message]:
        return self._by_recipient.get(address.casefold(), [])
