"""Check that a plan fits the alert that it is for: that it finds the campaign, and little else.

The rules are those of a person who looks at a preview: is it this alert's search, is any of the mail our own, is most
of it harmful, could it be a real sender's. The guardrails of the job itself are elsewhere (remediation.guardrails).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connectors.objects.job import ActionType, Destination
from core.addresses import RelatedDomains, read_addresses
from core.quantity import counted
from core.verdict_counts import breakdown, clean_percent, has_criteria
from remediation.alerts.meaning import AlertMeaning
from remediation.guardrails.plans.plan import Plan


@dataclass(frozen=True)
class PlanLimits:
    """The limits of a plan. own_domains_given: whether the caller named any domains of the organization.

    max_clean_percent: of messages with a clean verdict; 100 also allows clean messages of proved senders.
    """

    max_messages: int
    max_clean_percent: int
    own_domains_given: bool
    allow_own_senders: bool
    allow_malicious: bool
    allow_unproved: bool


class Finding(NamedTuple):
    """A rule that the plan breaks. rule: its name. reason: sentences for a person."""

    rule: str
    reason: str


NOTHING = "nothing_found"


def first_finding(
    plan: Plan, alert: AlertMeaning, action: ActionType, destination: Destination | None, limits: PlanLimits
) -> Finding | None:
    """Return the first rule that a plan breaks, or None. NOTHING is the rule of a plan that has nothing to change."""
    rules = _of_move if action == "MOVE" else _of_release
    common = _of_every_plan(plan, alert, action, destination, limits)
    return next((finding for finding in (*common, *rules(plan, alert, limits)) if finding is not None), None)


def _of_every_plan(
    plan: Plan, alert: AlertMeaning, action: ActionType, destination: Destination | None, limits: PlanLimits
) -> Iterator[Finding | None]:
    messages = plan.messages
    if messages is None or messages > limits.max_messages:
        number = "an unknown number of messages" if messages is None else counted(messages, "message")
        yield too_many(number, limits.max_messages)
    criteria = alert.search.criteria if alert.search is not None else {}
    fits = plan.action == action and plan.destination == destination
    if not fits or alert.search is None or not has_criteria(plan.search_params, criteria):
        wanted = alert.search.description if alert.search is not None else f"sender {alert.sender!r}"
        what = (
            f"move messages with {wanted} to {destination}" if action == "MOVE" else f"release messages with {wanted}"
        )
        yield Finding(
            "of_this_alert",
            f"The given plan does not {what}. Nothing was changed. Give the plan for this alert, with the same "
            "destination and search_by as when the plan was made.",
        )


def too_many(found: str, most: int) -> Finding:
    """Return the finding for a search that finds more than the limit. found: the number, with the word message."""
    return Finding(
        "within_limit",
        f"The search finds {found}, one for each mailbox, and max_messages is {most}. Nothing was changed. If you "
        "expect that many, run the playbook again with a higher max_messages.",
    )


def _of_move(plan: Plan, alert: AlertMeaning, limits: PlanLimits) -> Iterator[Finding | None]:
    search = alert.search
    by, wanted = (search.by, search.description) if search is not None else ("sender", "")
    since = plan.search_params.get("start") or alert.since
    another = "Choose another search." if by is None else "Run the playbook again with another search_by."
    if plan.messages == 0 and by == "sender":
        yield Finding(
            NOTHING, f"There is nothing to move: the search found no message of {alert.sender} since {since}."
        )
    if plan.messages == 0:
        yield Finding(
            "found",
            f"The search found no message with {wanted} since {since}, not even the alert's own. Nothing was changed. "
            f"{another}",
        )
    own = plan.own_senders or ([str(alert.sender)] if _may_be_own(plan, alert, limits) else [])
    if own and not limits.allow_own_senders:
        yield Finding(
            "external_only",
            f"A sender may be your own: {', '.join(own)}. The messages found went to "
            f"{', '.join(plan.by_recipient_domain)}. Nothing was changed. Check the messages with cfes "
            "search-messages. If all of them are the attacker's, run the playbook again with allow_own_senders=true.",
        )
    percent = clean_percent(plan.by_disposition)
    real = f"Real senders' mail may also match the search ({wanted})."
    add = "If all of the messages are the attacker's, add max_clean_percent=100."
    if percent > limits.max_clean_percent:
        yield Finding(
            "mostly_harmful",
            f"Of {counted(plan.messages or 0, 'message')}, {percent:.0f} percent have a clean verdict, and "
            f"max_clean_percent is {limits.max_clean_percent}. By verdict: {breakdown(plan.by_disposition)}. {real} "
            f"Nothing was changed. {another} {add}",
        )
    # The percentage alone is not enough: an attacker can lower it by sending more forged mail.
    # A search by given criteria may have other senders, so that the proof of the alert's sender proves nothing.
    proved = alert.sender_proved == "yes" and by is not None
    if limits.max_clean_percent < 100 and not proved and plan.proved_clean:
        why = f"Nothing proves the sender {alert.sender}" if by is not None else "The search is not by a proved sender"
        yield Finding(
            "real_senders",
            f"{why}, and the search also finds clean messages of senders that DMARC or SPF proves: "
            f"{breakdown(plan.proved_clean)}. Real senders' mail matches the search ({wanted}). Nothing was changed. "
            f"{another} {add}",
        )


def _may_be_own(plan: Plan, alert: AlertMeaning, limits: PlanLimits) -> bool:
    """Return whether the alert's sender may be in a domain of the recipients found.

    The alert's envelope may not name an alias domain. The recipients show more of the organization's domains.
    """
    if not limits.own_domains_given and not plan.recipients:
        return True
    return alert.sender_domain is not None and _readable(plan.by_recipient_domain).relates(alert.sender_domain)


def _readable(domains: Sequence[str] | Mapping[str, int]) -> RelatedDomains:
    """Return the domains that can be read. The others come from recipients' addresses, not from a safety list."""
    found = RelatedDomains()
    for name in domains:
        try:
            found.add(read_addresses(f"x@{name}")[0].domain)
        except (ValueError, IndexError):
            continue
    return found


def _of_release(plan: Plan, alert: AlertMeaning, limits: PlanLimits) -> Iterator[Finding | None]:
    if plan.messages == 0:
        since = plan.search_params.get("start") or alert.since
        yield Finding(
            NOTHING, f"There is nothing to release: quarantine has no message of {alert.sender} since {since}."
        )
    if plan.malicious != 0 and not limits.allow_malicious:
        yield Finding(
            "harmless",
            "Some of the messages have the verdict MALICIOUS or MALICIOUS-BEC. Nothing was changed. Check them one by "
            "one. To release all of them, run the playbook again with allow_malicious=true.",
        )
    imitated = plan.by_disposition.get("SPOOF", 0)
    if (imitated or plan.unproved != 0) and not limits.allow_unproved:
        unproved = plan.unproved or 0
        yield Finding(
            "not_imitated",
            f"{counted(imitated, 'message has', 'messages have')} the verdict SPOOF, and "
            f"{counted(unproved, 'has', 'have')} a sender that neither DMARC nor SPF proves. Somebody else may have "
            "sent these messages in this sender's name. Nothing was changed. Release single messages by their IDs with "
            "cfes release-messages. To release all of them, run the playbook again with search_by=subject or "
            "search_by=sender.",
        )
