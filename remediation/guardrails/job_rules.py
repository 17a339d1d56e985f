"""The rules for a job: what refuses its request or its numbers, what has to be counted, planned and approved first.

preview-job shows all that would refuse; remediation.jobs.clearance raises the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, Reach, delivers
from core.errors import (
    BroadSearchRefused,
    GuardrailRefusal,
    MaliciousRelease,
    PlanNeeded,
    PolicyRefused,
    ProtectedRefused,
    TooManyMessages,
    TooManyRecipients,
    UncountableSearch,
    some_of,
)
from core.quantity import counted
from core.search_words import MALICIOUS
from remediation.guardrails.approvals.needed import Need, need_of
from remediation.guardrails.limits import override_hint
from remediation.guardrails.narrowing import narrows
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.proposed_job import ProposedJob

if TYPE_CHECKING:
    from remediation.guardrails.survey import Numbers, Survey


def refusals_of_request(job: ProposedJob, api: EmailSecurity, *, planned: bool) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of the request itself, whatever it finds."""
    search, destination, limits = job.request.search_params, job.request.destination, job.limits
    own_domains = policy_of(api).own_domains if api.has_policy else ()
    if not limits.allow_broad_search and not narrows(search, own_domains):
        yield BroadSearchRefused(
            "search_params has no criterion that narrows the search to certain messages",
            help=f"{BroadSearchRefused.default_help} {override_hint(api, 'allow_broad_search')}",
        )
    if destination is not None and api.has_policy and not policy_of(api).allows_destination(destination):
        yield PolicyRefused(f"the policy does not allow messages to be moved to {destination}")
    if destination in IRREVERSIBLE_DESTINATIONS and not planned and not limits.allow_irreversible:
        yield PlanNeeded(
            f"moving messages to {destination} needs a plan: this pack can't undo it. {recovery_from(destination)}",
            help=f"{PlanNeeded.default_help} {override_hint(api, 'allow_irreversible')}",
        )
    into_inbox = delivers(job.request.action, destination)
    if into_inbox and search.final_disposition in MALICIOUS and not limits.allow_malicious:
        yield MaliciousRelease(
            f"the search is for messages with the verdict {search.final_disposition}",
            help=f"{MaliciousRelease.default_help} {override_hint(api, 'allow_malicious')}",
        )


def refusals_of_numbers(found: Survey, job: ProposedJob, api: EmailSecurity) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of the numbers: those of the call, then those of the policy."""
    limits, policy, (messages, recipients) = job.limits, policy_of(api), found.numbers
    at_least = "" if found.complete else "at least "
    finds_messages = f"the search finds {at_least}{counted(messages, 'message')}"
    finds_recipients = f"the search finds {at_least}{counted(recipients, 'recipient')}"
    if limits.max_messages is not None and messages > limits.max_messages:
        yield TooManyMessages(f"{finds_messages}, max_messages is {limits.max_messages}")
    if limits.max_recipients is not None and recipients > limits.max_recipients:
        yield TooManyRecipients(f"{finds_recipients}, max_recipients is {limits.max_recipients}")
    if policy.max_messages is not None and messages > policy.max_messages:
        yield PolicyRefused(f"{finds_messages}, the policy allows {policy.max_messages}")
    if policy.max_recipients is not None and recipients > policy.max_recipients:
        yield PolicyRefused(f"{finds_recipients}, the policy allows {policy.max_recipients}")
    if found.protected:
        yield ProtectedRefused(f"the search reaches what the policy protects: {some_of(list(found.protected))}")
    asked_about_recipients = limits.max_recipients is not None or (
        api.has_policy and (policy.max_recipients is not None or bool(policy.protected_recipients))
    )
    if found.without_recipients and asked_about_recipients:
        yield UncountableSearch(f"the service names no recipients for {counted(found.without_recipients, 'message')}")
    own_domains = {*policy.own_domains, *found.by_recipient_domain.counts}
    if (
        not limits.allow_broad_search
        and narrows(job.request.search_params)
        and not narrows(job.request.search_params, own_domains)
    ):
        yield BroadSearchRefused(
            "search_params narrows the search to nothing but the recipients' own domain",
            help=f"{BroadSearchRefused.default_help} {override_hint(api, 'allow_broad_search')}",
        )
    into_inbox = delivers(job.request.action, job.request.destination)
    if into_inbox and not limits.allow_malicious and found.malicious + found.without_verdict:
        unknown = f", and {found.without_verdict} have no known verdict" if found.without_verdict else ""
        yield MaliciousRelease(
            f"{found.malicious} of the messages found have the verdict MALICIOUS or MALICIOUS-BEC{unknown}",
            help=f"{MaliciousRelease.default_help} {override_hint(api, 'allow_malicious')}",
        )


def approvals_needed(job: ProposedJob, api: EmailSecurity, numbers: Numbers | None) -> Need:
    """Return the approvals that the policy asks for: by the larger of the plan's numbers and today's."""
    if not api.has_policy:
        return Need()
    seen = [known for known in (numbers, job.plan.numbers if job.plan else None) if known is not None]
    messages = max((known.messages for known in seen), default=None)
    recipients = max((known.recipients for known in seen), default=None)
    planned_by = job.plan.requested_by if job.plan else None
    requesters = [name for name in (job.requested_by, planned_by) if name is not None]
    reach = Reach(job.request.action, job.request.destination, messages, recipients)
    return need_of(policy_of(api), reach, requesters)


def asks_for_plan(job: ProposedJob, api: EmailSecurity, numbers: Numbers | None) -> bool:
    """Return whether the policy asks for a plan, or for approvals, which are given for one."""
    if not api.has_policy:
        return False
    reach = Reach(job.request.action, job.request.destination, *(numbers or (None, None)))
    return policy_of(api).needs_plan(reach) or bool(approvals_needed(job, api, numbers))


def needs_count(job: ProposedJob, api: EmailSecurity) -> bool:
    """Whether anything that must hold depends on what the search finds."""
    limits = job.limits
    capped = limits.max_messages is not None or limits.max_recipients is not None
    may_reach_malicious = (
        delivers(job.request.action, job.request.destination)
        and not limits.allow_malicious
        and job.request.search_params.final_disposition is None
    )
    return capped or may_reach_malicious or (api.has_policy and policy_of(api).counts)
