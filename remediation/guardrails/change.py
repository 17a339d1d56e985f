"""A change of messages, the named messages and their mailboxes, and the hash that binds approvals to both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, ActionType, Destination, delivers
from connectors.objects.search import Disposition


@dataclass(frozen=True)
class Change:
    """An action on messages. destination: the folder of a MOVE; None for a RELEASE."""

    action: ActionType
    destination: Destination | None = None

    @property
    def delivers(self) -> bool:
        """Whether it brings messages into users' Inbox."""
        return delivers(self.action, self.destination)

    @property
    def is_irreversible(self) -> bool:
        """Whether this pack can't undo it."""
        return self.destination in IRREVERSIBLE_DESTINATIONS


class Numbers(NamedTuple):
    """messages: one for each mailbox that holds one, as a job counts them. recipients: distinct ones."""

    messages: int
    recipients: int


@dataclass(frozen=True)
class NamedMessage:
    """A message by its investigate ID, and its known facts; None is not known.

    message_id: RFC 5322. recipients: the mailboxes that hold it. senders: header and envelope. verdict: disposition;
    None also for one that this version does not know.
    """

    id: str
    message_id: str | None = None
    recipients: tuple[str, ...] | None = None
    senders: tuple[str, ...] | None = None
    verdict: Disposition | None = None


def mailbox_of(address: str) -> str:
    """Return the address as it is compared: without white space around it, upper and lower case folded."""
    return address.strip().casefold()


def mailboxes_of(addresses: Iterable[str] | None) -> list[str]:
    """Return the addresses as they are compared, one for each that is given."""
    return [mailbox_of(address) for address in addresses or ()]


def plan_hash(account_id: str, change: Change, ids: Collection[str]) -> str:
    """Return the hash that names a change of these messages, for approvals and budgets.

    It is SHA-256 (hex) over canonical JSON of account, action, destination and the distinct IDs, sorted.
    """
    content = {
        "account_id": account_id.lower(),
        "action": change.action,
        "destination": change.destination,
        "ids": sorted(set(ids)),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"cfes named messages\0{canonical}".encode()).hexdigest()
