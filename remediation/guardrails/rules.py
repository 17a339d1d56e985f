"""The rules for changing messages, each written once: for a job's search and for named messages.

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

    narrow_help, limit_help, plan_help: None means the error's own help. limit_help: {} is the limit's parameter.
    """

    counted: str
    unit: tuple[str, str] = ("message", "messages")
    narrow_help: str | None = None
    limit_help: str | None = None
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

    requesters: who asks, and who asked for the plan. numbers: None if they are not known. complete: whether the
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
        destination, text = proposed.change.destination, proposed.wording.plan_help or PlanNeeded.default_help
        yield PlanNeeded(
            f"this pack can't undo a move to {destination}. {recovery_from(destination)}",
            help=f"{text} {override_hint(api, 'allow_irreversible')}",
        )


def limit_refusals(proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of numbers over the limits of the call."""
    for kind, text in _over(proposed, proposed.limits.max_messages, proposed.limits.max_recipients):
        name = "max_messages" if kind is TooManyMessages else "max_recipients"
        help_ = proposed.wording.limit_help
        yield kind(text.format(f"{name} is"), help=None if help_ is None else help_.format(name))


def policy_limit_refusals(api: EmailSecurity, proposed: ProposedChange) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of numbers over the limits of the policy."""
    policy = policy_of(api)
    for _, text in _over(proposed, policy.max_messages, policy.max_recipients):
        yield PolicyRefused(text.format("the policy allows"))


def _over(
    proposed: ProposedChange, most_messages: int | None, most_recipients: int | None
) -> Iterator[tuple[type[GuardrailRefusal], str]]:
    """Yield the error for each number over its limit, and a message with a place for the name of the limit."""
    wording, numbers = proposed.wording, proposed.numbers
    start = f"{wording.counted} {'' if proposed.complete else 'at least '}"
    if numbers is not None and most_messages is not None and numbers.messages > most_messages:
        yield TooManyMessages, f"{start}{counted(numbers.messages, *wording.unit)}, {{}} {most_messages}"
    if numbers is not None and most_recipients is not None and numbers.recipients > most_recipients:
        yield TooManyRecipients, f"{start}{counted(numbers.recipients, 'recipient')}, {{}} {most_recipients}"


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
    return MaliciousRelease(message, help=f"{narrow} {override_hint(api, 'allow_malicious')}")


def approvals_needed(api: EmailSecurity, proposed: ProposedChange) -> Need:
    """Return the approvals that the policy requires. Unknown numbers count as too many."""
    return need_of(policy_of(api), proposed.reach, proposed.requesters) if api.has_policy else Need()
