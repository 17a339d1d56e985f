"""The rules for named messages. A refusal covers the whole list: nothing is sent.

A list of IDs is its own plan: it changes exactly these messages, so the policy's `plan_needed` requires nothing more.
Its hash binds approvals to the list. A dry run shows the hash; there is no plan document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from core.errors import GuardrailRefusal, PackError, PolicyRefused, ProtectedRefused
from core.search_words import MALICIOUS
from remediation.guardrails import budgets, rules
from remediation.guardrails.approvals.needed import Need
from remediation.guardrails.change import Change, NamedMessage, Numbers, mailboxes_of
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.rules import Messages, ProposedChange, Wording

if TYPE_CHECKING:
    from remediation.guardrails.policy.policy import Policy

NARROW = "Nothing was changed. Leave out the messages that are refused."
LEAVE_OUT_UNKNOWN = "Nothing was changed. Leave out the messages that the message search can't find."

NAMED = Wording(
    "the call names",
    narrow_help=NARROW,
    limit_help="Nothing was changed. Name fewer messages, or raise {} if you expect this number.",
    plan_help="Nothing was changed. Make a dry run and check its messages.",
)
LOOKED_UP = replace(NAMED, counted="the messages have", unit=("copy in a mailbox", "copies in mailboxes"))


def check_request(api: EmailSecurity, proposed: ProposedChange, count: int) -> None:
    """Check the request before any message is looked up. count: the named messages.

    Raises: TooManyMessages, PolicyRefused, PlanNeeded.
    """
    named = replace(proposed, numbers=Numbers(count, 0), wording=NAMED)
    for refusal in chain(
        rules.limit_refusals(named),
        rules.policy_limit_refusals(api, named),
        rules.destination_refusals(api, named),
        rules.irreversible_refusals(api, named),
    ):
        raise refusal


def find_unknown(api: EmailSecurity, proposed: ProposedChange, messages: Iterable[NamedMessage]) -> list[NamedMessage]:
    """Return the messages that lack a fact which `check_messages` depends on."""
    policy = policy_of(api)
    return [
        message
        for message in messages
        if (proposed.depends_on_verdicts and message.verdict is None)
        or (policy.counts and message.recipients is None)
        or (policy.protected_senders and message.senders is None)
    ]


def check_messages(api: EmailSecurity, proposed: ProposedChange, messages: Collection[NamedMessage]) -> None:
    """Check the facts about the messages. An unknown fact refuses.

    Raises: MaliciousRelease, ProtectedRefused, PolicyRefused.
    """
    policy = policy_of(api)
    protected = (policy.protected_among(one.recipients or (), one.senders or ()) for one in messages)
    found = replace(
        _with_numbers(proposed, messages),
        protected=list(dict.fromkeys(chain.from_iterable(protected))),
        malicious=_some(message.id for message in messages if message.verdict in MALICIOUS),
        without_verdict=_some(message.id for message in messages if message.verdict is None),
    )
    for refusal in chain(
        rules.verdict_refusals(api, found),
        rules.protected_refusals(found),
        _unknown_refusals(policy, found, messages),
        rules.policy_limit_refusals(api, found),
    ):
        raise refusal


def _with_numbers(proposed: ProposedChange, messages: Collection[NamedMessage]) -> ProposedChange:
    """Return the change with the numbers of these messages, as far as they are known."""
    return replace(proposed, numbers=numbers_of(messages), wording=LOOKED_UP)


def numbers_of(messages: Collection[NamedMessage]) -> Numbers | None:
    """Count the messages, one for each mailbox, and the distinct recipients. None if recipients are not known."""
    copies = 0
    recipients: set[str] = set()
    for message in messages:
        if message.recipients is None:
            return None
        copies += max(1, len(message.recipients))
        recipients.update(mailboxes_of(message.recipients))
    return Numbers(copies, len(recipients))


def approvals_needed(api: EmailSecurity, proposed: ProposedChange, messages: Collection[NamedMessage]) -> Need:
    """Return the approvals that the policy requires. Unknown numbers count as too many."""
    return rules.approvals_needed(api, _with_numbers(proposed, messages)) if messages else Need()


@contextmanager
def within_budget(
    api: EmailSecurity, change: Change, messages: Collection[NamedMessage], intent: str
) -> Iterator[None]:
    """Check the policy's budgets and record the change, before it is made in this context.

    The record is removed if certainly nothing was changed. Raises: PolicyRefused.
    """
    if not messages:
        yield
        return
    known = numbers_of(messages)
    at = budgets.spend(api, intent, change, None if known is None else known.messages)
    try:
        yield
    except PackError as failure:
        if at is not None and failure.certainly_not_applied:
            budgets.refund(api, intent, at)
        raise


def _unknown_refusals(
    policy: Policy, found: ProposedChange, messages: Iterable[NamedMessage]
) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of messages whose recipients or senders are not known, where the policy depends on them."""
    unknown = _some(
        message.id
        for message in messages
        if (policy.protected_recipients and message.recipients is None)
        or (policy.protected_senders and message.senders is None)
    )
    if unknown.count:
        yield ProtectedRefused(
            unknown.have("recipients or senders that are not known, and the policy may protect them"),
            help=LEAVE_OUT_UNKNOWN,
        )
    if found.numbers is None and (policy.max_messages is not None or policy.max_recipients is not None):
        yield PolicyRefused(
            "the policy limits messages or recipients, and the recipients of some messages are not known",
            help=LEAVE_OUT_UNKNOWN,
        )


def _some(ids: Iterable[str]) -> Messages:
    listed = list(ids)
    return Messages(len(listed), listed)
