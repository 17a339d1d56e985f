"""The rules for a job: when its request or its numbers are refused, and when it needs a count, a plan or approvals.

preview-job shows every refusal; remediation.jobs.clearance raises the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from core.errors import BroadSearchRefused, GuardrailRefusal, UncountableSearch
from core.quantity import counted
from core.search_words import MALICIOUS
from remediation.guardrails import rules
from remediation.guardrails.approvals.needed import Need
from remediation.guardrails.change import Numbers
from remediation.guardrails.limits import override_hint
from remediation.guardrails.narrowing import narrows
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.proposed_job import ProposedJob
from remediation.guardrails.rules import Messages, ProposedChange

if TYPE_CHECKING:
    from remediation.guardrails.survey import Survey


def request_refusals(job: ProposedJob, api: EmailSecurity, *, planned: bool) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of the request itself, whatever it finds. planned: whether a plan allows a purge."""
    search, proposed = job.request.search_params, _proposed(job)
    own_domains = policy_of(api).own_domains if api.has_policy else ()
    if not job.limits.allow_broad_search and not narrows(search, own_domains):
        yield _broad_search(api, "no criterion in search_params narrows the search to certain messages")
    yield from rules.destination_refusals(api, proposed)
    if not planned:
        yield from rules.irreversible_refusals(api, proposed)
    if proposed.depends_on_verdicts and search.final_disposition in MALICIOUS:
        message = f"the search is for messages with the verdict {search.final_disposition}"
        yield rules.malicious_refusal(api, proposed, message)


def number_refusals(found: Survey, job: ProposedJob, api: EmailSecurity) -> Iterator[GuardrailRefusal]:
    """Yield the refusals of what the search finds: by the limits of the call, then by the policy."""
    limits, policy = job.limits, policy_of(api)
    proposed = replace(
        _proposed(job, found.numbers),
        complete=found.complete,
        protected=list(found.protected),
        malicious=Messages(found.malicious),
        without_verdict=Messages(found.without_verdict),
    )
    yield from rules.limit_refusals(proposed)
    yield from rules.policy_limit_refusals(api, proposed)
    yield from rules.protected_refusals(proposed)
    depends_on_recipients = limits.max_recipients is not None or (
        api.has_policy and (policy.max_recipients is not None or bool(policy.protected_recipients))
    )
    if found.without_recipients and depends_on_recipients:
        yield UncountableSearch(f"the service names no recipients for {counted(found.without_recipients, 'message')}")
    search = job.request.search_params
    own_domains = {*policy.own_domains, *found.by_recipient_domain.counts}
    if not limits.allow_broad_search and narrows(search) and not narrows(search, own_domains):
        yield _broad_search(api, "search_params narrows the search only to the recipients' own domain")
    yield from rules.verdict_refusals(api, proposed)


def approvals_needed(job: ProposedJob, api: EmailSecurity, numbers: Numbers | None) -> Need:
    """Return the approvals that the policy requires: by the larger of the plan's numbers and today's."""
    known = [one for one in (numbers, job.plan.numbers if job.plan else None) if one is not None]
    largest = Numbers(max(n.messages for n in known), max(n.recipients for n in known)) if known else None
    return rules.approvals_needed(api, _proposed(job, largest))


def needs_plan(job: ProposedJob, api: EmailSecurity, numbers: Numbers | None) -> bool:
    """Return whether the policy requires a plan, or for approvals, which are given for a plan."""
    if not api.has_policy:
        return False
    return policy_of(api).needs_plan(_proposed(job, numbers).reach) or bool(approvals_needed(job, api, numbers))


def needs_count(job: ProposedJob, api: EmailSecurity) -> bool:
    """Return whether any rule depends on what the search finds."""
    limited = job.limits.max_messages is not None or job.limits.max_recipients is not None
    may_be_malicious = job.request.search_params.final_disposition is None and _proposed(job).depends_on_verdicts
    return limited or may_be_malicious or (api.has_policy and policy_of(api).counts)


def _proposed(job: ProposedJob, numbers: Numbers | None = None) -> ProposedChange:
    planned_by = job.plan.requested_by if job.plan else None
    requesters = [name for name in (job.requested_by, planned_by) if name is not None]
    return ProposedChange(job.change, job.limits, requesters, numbers)


def _broad_search(api: EmailSecurity, message: str) -> BroadSearchRefused:
    text = f"{BroadSearchRefused.default_help} {override_hint(api, 'allow_broad_search')}"
    return BroadSearchRefused(message, help=text)
