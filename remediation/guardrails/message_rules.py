"""What must hold before messages that are named one by one are changed. Each check refuses as a whole, nothing sent.

An explicit list of IDs is the plan: it acts on exactly these messages, so the policy's `plan_needed` asks for nothing
more here. Its hash binds approvals to the list; a dry run shows it, and no plan document is handed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, ActionType, Destination, Reach, delivers
from connectors.objects.search import Disposition
from core.errors import (
    MaliciousRelease,
    PackError,
    PlanNeeded,
    PolicyRefused,
    ProtectedRefused,
    TooManyMessages,
    some_of,
)
from core.quantity import counted
from core.search_words import MALICIOUS
from remediation.guardrails import budgets
from remediation.guardrails.approvals.needed import Need, need_of
from remediation.guardrails.limits import override_hint
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.survey import Numbers

if TYPE_CHECKING:
    from remediation.guardrails.approvals.token import ReadToken

NARROW = "Nothing was changed. Name fewer messages, or only those that are allowed."
UNKNOWN_REFUSED = "Nothing was changed. Leave out the messages that the message search can't find."


@dataclass(frozen=True)
class Change:
    """What is done to each message. destination: the folder of a MOVE; None for a RELEASE."""

    action: ActionType
    destination: Destination | None = None

    @property
    def delivers(self) -> bool:
        """Whether messages come into users' Inbox by it."""
        return delivers(self.action, self.destination)


@dataclass(frozen=True)
class NamedMessage:
    """A message by its investigate ID, and what is known of it; None is not known.

    message_id: RFC 5322. recipients: the mailboxes that hold it. senders: header and envelope. verdict: disposition,
    one that this version does not know is not known.
    """

    id: str
    message_id: str | None = None
    recipients: tuple[str, ...] | None = None
    senders: tuple[str, ...] | None = None
    verdict: Disposition | None = None


@dataclass(frozen=True)
class Allowance:
    """What the caller allows, who asks, and the approvals that were given."""

    max_messages: int | None = None
    allow_irreversible: bool = False
    allow_malicious: bool = False
    requested_by: str | None = None
    approvals: Sequence[str] = ()


def plan_hash(account_id: str, change: Change, ids: Collection[str]) -> str:
    """SHA-256 (hex) over canonical JSON of account, action, destination and the distinct IDs, sorted."""
    content = {
        "account_id": account_id.lower(),
        "action": change.action,
        "destination": change.destination,
        "ids": sorted(set(ids)),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"cfes named messages\0{canonical}".encode()).hexdigest()


def check_request(api: EmailSecurity, change: Change, count: int, allowed: Allowance) -> None:
    """What needs no look at the messages. Raises: TooManyMessages, PolicyRefused, PlanNeeded."""
    if allowed.max_messages is not None and count > allowed.max_messages:
        raise TooManyMessages(
            f"{counted(count, 'message is', 'messages are')} named, max_messages is {allowed.max_messages}", help=NARROW
        )
    most = policy_of(api).max_messages
    if most is not None and count > most:
        raise PolicyRefused(f"{counted(count, 'message is', 'messages are')} named, the policy allows {most}")
    api.check_destination(change.destination)
    if change.destination in IRREVERSIBLE_DESTINATIONS and not allowed.allow_irreversible:
        raise PlanNeeded(
            f"this pack can't undo a move to {change.destination}. {recovery_from(change.destination)}",
            help="Nothing was changed. Make a dry run and check its messages. "
            + override_hint(api, "allow_irreversible"),
        )


def find_unknown(
    api: EmailSecurity, change: Change, messages: Iterable[NamedMessage], allowed: Allowance
) -> list[NamedMessage]:
    """The messages of which something is not known that `check_messages` asks for."""
    policy = policy_of(api)
    verdicts = change.delivers and not allowed.allow_malicious
    senders = bool(policy.protected_senders)
    return [
        message
        for message in messages
        if (verdicts and message.verdict is None)
        or (policy.counts and message.recipients is None)
        or (senders and message.senders is None)
    ]


def check_messages(api: EmailSecurity, change: Change, messages: Collection[NamedMessage], allowed: Allowance) -> None:
    """What depends on the messages themselves; what could not be found out refuses.

    Raises: MaliciousRelease, ProtectedRefused, PolicyRefused.
    """
    if change.delivers and not allowed.allow_malicious:
        _check_verdicts(api, messages)
    _check_protected(api, messages)
    _check_numbers(api, messages)


def numbers_of(messages: Collection[NamedMessage]) -> Numbers | None:
    """Messages as a job counts them, a copy in each mailbox, and distinct recipients. None where one is not known."""
    copies = 0
    recipients: set[str] = set()
    for message in messages:
        if message.recipients is None:
            return None
        copies += max(1, len(message.recipients))
        recipients.update(address.strip().casefold() for address in message.recipients)
    return Numbers(copies, len(recipients))


@contextmanager
def within_budget(
    api: EmailSecurity, change: Change, messages: Collection[NamedMessage], intent: str
) -> Iterator[None]:
    """Check the policy's budgets and record the change, before it is made in this context.

    One that surely was not made is not recorded. Raises: PolicyRefused.
    """
    if not messages:
        yield
        return
    known = numbers_of(messages)
    count = None if known is None else known.messages
    at = budgets.spend(api, intent=intent, action=change.action, destination=change.destination, messages=count, jobs=1)
    try:
        yield
    except PackError as failure:
        if at is not None and failure.surely_not_applied:
            budgets.refund(api, intent, at)
        raise


def approvals_needed(
    api: EmailSecurity, change: Change, messages: Collection[NamedMessage], requested_by: str | None
) -> Need:
    """Return the approvals that the policy asks for. A number that is not known counts as too many."""
    if not api.has_policy or not messages:
        return Need()
    requesters = [] if requested_by is None else [requested_by]
    reach = Reach(change.action, change.destination, *(numbers_of(messages) or (None, None)))
    return need_of(policy_of(api), reach, requesters)


def approved_by(api: EmailSecurity, needed: Need, plan: str, allowed: Allowance) -> list[ReadToken]:
    """Return the approvals of the plan with this hash. Raises: ApprovalRefused."""
    if not needed and not allowed.approvals:
        return []
    from remediation.guardrails.approvals.approval import require_approvals  # noqa: PLC0415 -- only where somebody has to approve

    return require_approvals(api, needed, plan, allowed.approvals, requesters=[allowed.requested_by])


def _check_verdicts(api: EmailSecurity, messages: Iterable[NamedMessage]) -> None:
    malicious = [message.id for message in messages if message.verdict in MALICIOUS]
    unknown = [message.id for message in messages if message.verdict is None]
    if not malicious and not unknown:
        return
    found = []
    if malicious:
        found.append(
            f"{counted(len(malicious), 'message has', 'messages have')} the verdict MALICIOUS or MALICIOUS-BEC "
            f"({some_of(malicious)})"
        )
    if unknown:
        found.append(
            f"the verdict on {counted(len(unknown), 'message')} could not be found out and counts as malicious "
            f"({some_of(unknown)})"
        )
    raise MaliciousRelease(
        "; ".join(found),
        help="Nothing was delivered. Name only the messages that were wrongly held. "
        + override_hint(api, "allow_malicious"),
    )


def _check_protected(api: EmailSecurity, messages: Iterable[NamedMessage]) -> None:
    policy, unknown = policy_of(api), []
    named: dict[str, None] = {}
    for message in messages:
        if policy.protected_recipients:
            hit = [address for address in message.recipients or () if policy.protects_recipient(address)]
            named.update({f"recipient {address}": None for address in hit})
        if policy.protected_senders:
            hit = [address for address in message.senders or () if policy.protects_sender(address)]
            named.update({f"sender {address}": None for address in hit})
        if (policy.protected_recipients and message.recipients is None) or (
            policy.protected_senders and message.senders is None
        ):
            unknown.append(message.id)
    if named:
        raise ProtectedRefused(f"the messages reach what the policy protects: {some_of(list(named))}", help=NARROW)
    if unknown:
        raise ProtectedRefused(
            f"of {counted(len(unknown), 'message')} it could not be found out whether the policy protects their "
            f"recipients or senders ({some_of(unknown)})",
            help=UNKNOWN_REFUSED,
        )


def _check_numbers(api: EmailSecurity, messages: Collection[NamedMessage]) -> None:
    policy = policy_of(api)
    if policy.max_messages is None and policy.max_recipients is None:
        return
    numbers = numbers_of(messages)
    if numbers is None:
        raise PolicyRefused(
            "the policy limits messages or recipients, and of some messages the recipients could not be found out",
            help=UNKNOWN_REFUSED,
        )
    if policy.max_messages is not None and numbers.messages > policy.max_messages:
        raise PolicyRefused(
            f"the messages are {numbers.messages} with a copy in each mailbox counted, the policy allows "
            f"{policy.max_messages}"
        )
    if policy.max_recipients is not None and numbers.recipients > policy.max_recipients:
        raise PolicyRefused(
            f"the messages have {counted(numbers.recipients, 'recipient')}, the policy allows {policy.max_recipients}"
        )
