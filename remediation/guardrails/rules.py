"""The rules for changing messages, each written once: for a job's search and for messages that are named one by one.

A rule yields the refusals that a proposed change meets. job_rules and message_rules say in which order the rules apply,
and add the rules that only a search or only a list of messages can break.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connectors.objects.folders import recovery_from
from connectors.objects.job import Reach
from core.errors import (
    GuardrailRefusal,
    MaliciousRelease,
    PlanNeeded,
    PolicyRefused,
    ProtectedRefused,
    TooManyMessages,
    TooManyRecipients,
    some_of,
)
from core.quantity import counted
from remediation.guardrails.approvals.needed import Need, need_of
from remediation.guardrails.change import Change, Numbers
from remediation.guardrails.limits import Limits, override_hint
from remediation.guardrails.policy.gate import destination_refusal, policy_of

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity


@dataclass(frozen=True)
class Wording:
    """How a refusal describes the messages that were counted, and its help.

    narrow_help, plan_help: None takes the error's own help.
    """

    counted: str
    unit: tuple[str, str] = ("message", "messages")
    narrow_help: str | None = None
    plan_help: str | None = None


OF_SEARCH = Wording("the search finds")


@dataclass(frozen=True)
class Messages:
    """Some of the messages: how many, and their IDs where these are known."""

    count: int = 0
    ids: Sequence[str] = ()

    def have(self, fact: str) -> str:
        """Return a clause about them: `2 messages have no known verdict (ID, ID)`."""
        ids = f" ({some_of(self.ids)})" if self.ids else ""
        return f"{counted(self.count, 'message has', 'messages have')} {fact}{ids}"


NO_MESSAGES = Messages()


@dataclass(frozen=True)
class ProposedChange:
    """A change that the rules decide on, and the facts about its messages as far as they are known.

    requesters: who asks, and who asked for the plan. numbers: None where they are not known. complete: whether the
    numbers are the whole count; otherwise they are the least. protected: the recipients and senders found that the
    policy protects, as a person reads them. malicious, without_verdict: messages with such a verdict, or without one.
    """

    change: Change
    limits: Limits = field(default_factory=Limits)
    requesters: Sequence[str] = ()
    numbers: Numbers | None = None
    complete: bool = True
    protected: Sequence[str] = ()
    malicious: Messages = NO_MESSAGES
    without_verdict: Messages = NO_MESSAGES
    wording: Wording = OF_SEARCH

    @property
    def reach(self) -> Reach:
        """Return the change and its numbers for the policy's conditions."""
        return Reach(self.change.action, self.change.destination, *(self.numbers or (None, None)))

    @property
    def depends_on_verdicts(self) -> bool:
        """Whether malicious messages refuse it."""
        return self.change.delivers and not self.limits.allow_malicious


def destination_refusals(api: EmailSecurity, proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusal of a folder that the policy does not list."""
    destination = proposed.change.destination
    if destination is not None and api.has_policy:
        refusal = destination_refusal(policy_of(api), destination)
        if refusal is not None:
            yield refusal


def irreversible_refusals(api: EmailSecurity, proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusal of a move that this pack can't undo."""
    if proposed.change.is_irreversible and not proposed.limits.allow_irreversible:
        destination = proposed.change.destination
        yield PlanNeeded(
            f"this pack can't undo a move to {destination}. {recovery_from(destination)}",
            help=_override_help(api, proposed.wording.plan_help or PlanNeeded.default_help, "allow_irreversible"),
        )


def limit_refusals(proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of numbers over the limits of the call."""
    limits, numbers = proposed.limits, proposed.numbers
    if numbers is None:
        return
    if limits.max_messages is not None and numbers.messages > limits.max_messages:
        yield TooManyMessages(
            f"{_messages(proposed, numbers)}, max_messages is {limits.max_messages}", help=proposed.wording.narrow_help
        )
    if limits.max_recipients is not None and numbers.recipients > limits.max_recipients:
        yield TooManyRecipients(
            f"{_recipients(proposed, numbers)}, max_recipients is {limits.max_recipients}",
            help=proposed.wording.narrow_help,
        )


def policy_limit_refusals(api: EmailSecurity, proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of numbers over the limits of the policy."""
    policy, numbers = policy_of(api), proposed.numbers
    if numbers is None:
        return
    if policy.max_messages is not None and numbers.messages > policy.max_messages:
        yield PolicyRefused(f"{_messages(proposed, numbers)}, the policy allows {policy.max_messages}")
    if policy.max_recipients is not None and numbers.recipients > policy.max_recipients:
        yield PolicyRefused(f"{_recipients(proposed, numbers)}, the policy allows {policy.max_recipients}")


def protected_refusals(proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusal of messages whose recipients or senders the policy protects."""
    if proposed.protected:
        yield ProtectedRefused(
            f"the policy protects {some_of(list(proposed.protected))}", help=proposed.wording.narrow_help
        )


def verdict_refusals(api: EmailSecurity, proposed: ProposedChange) -> Iterator[MaliciousRelease]:
    """Yield the refusal of malicious messages that would come into users' Inbox. An unknown verdict is malicious."""
    if not proposed.depends_on_verdicts:
        return
    found = []
    if proposed.malicious.count:
        found.append(proposed.malicious.have("the verdict MALICIOUS or MALICIOUS-BEC"))
    if proposed.without_verdict.count:
        found.append(proposed.without_verdict.have("no known verdict, which counts as malicious"))
    if found:
        yield malicious_refusal(api, proposed, "; ".join(found))


def malicious_refusal(api: EmailSecurity, proposed: ProposedChange, message: str) -> MaliciousRelease:
    """Return the refusal with this message."""
    narrow = proposed.wording.narrow_help or MaliciousRelease.default_help
    return MaliciousRelease(message, help=_override_help(api, narrow, "allow_malicious"))


def approvals_needed(api: EmailSecurity, proposed: ProposedChange) -> Need:
    """Return the approvals that the policy requires. Unknown numbers count as too many."""
    return need_of(policy_of(api), proposed.reach, proposed.requesters) if api.has_policy else Need()


def _override_help(api: EmailSecurity, text: str, override: str) -> str:
    return f"{text} {override_hint(api, override)}"


def _messages(proposed: ProposedChange, numbers: Numbers) -> str:
    return f"{proposed.wording.counted} {_least(proposed)}{counted(numbers.messages, *proposed.wording.unit)}"


def _recipients(proposed: ProposedChange, numbers: Numbers) -> str:
    return f"{proposed.wording.counted} {_least(proposed)}{counted(numbers.recipients, 'recipient')}"


def _least(proposed: ProposedChange) -> str:
    return "" if proposed.complete else "at least "
