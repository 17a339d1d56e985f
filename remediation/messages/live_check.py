"""What the service answers now about a plan, or about named messages, that somebody is asked to approve.

An approver reads a file that anybody can write. So everything that follows from its search or its IDs is asked again or
computed again here, and what the file says beside it is a claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from connectors.email_security import EmailSecurity
from core.quantity import counted
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.policy.policy import Policy
from remediation.guardrails.search_scope import scope_of
from remediation.guardrails.survey import Survey, survey
from remediation.messages.lookup import look_up
from remediation.messages.survey import SAMPLE_SIZE, survey_messages

# Beyond so many more than the plan has, the count says enough.
MOST_MORE = 10_000


def find_false_claims(plan: Plan, facts: Plan) -> list[str]:
    """Return what the file says of itself that is not so. facts: what remediation.guardrails.plans.check computes of
    it.
    """
    said = []
    if plan.reversibility.reversible != facts.reversibility.reversible:
        said.append(f"the file says that it can{'' if plan.reversibility.reversible else 'not'} be undone")
    if plan.max_drift > facts.max_drift:
        said.append(f"the file allows a drift of {plan.max_drift:g} percent, {facts.max_drift:g} percent is allowed")
    claimed, limit = plan.cancel_if_discovered_over, facts.cancel_if_discovered_over
    if limit is not None and claimed is None:
        said.append(f"the file has no discovery limit, {counted(limit, 'message')} is the limit")
    elif limit is not None and claimed is not None and claimed > limit:
        said.append(f"the file's discovery limit is {counted(claimed, 'message')}, {limit:,} is the limit")
    return said


def survey_plan(api: EmailSecurity, plan: Plan, policy: Policy) -> Survey | None:
    """Count what the plan's search finds now; None where the message search can't count it.

    policy: the approver's, whose own domains and protected people are looked for.
    Raises: what EmailSecurity.search_messages raises.
    """
    search = plan.request().search_params
    if scope_of(search).uncountable is not None:
        return None
    most = 2 * (plan.messages or 0) + MOST_MORE
    return survey(api, search, sample_size=SAMPLE_SIZE, policy=policy, enough=lambda numbers: numbers.messages > most)


def survey_ids(api: EmailSecurity, ids: Collection[str], policy: Policy) -> Survey:
    """Look up what the messages with these IDs are. policy: as survey_plan takes it.

    Raises: what EmailSecurity.search_messages raises.
    """
    return survey_messages(api, look_up(api, ids).values(), policy)


def drift_of(before: int | None, now: int) -> float | None:
    """Return by how many percent a number has changed; None where that can't be said."""
    if before is None or (before == 0 and now != 0):
        return None
    return 0.0 if before == now else 100 * (now - before) / before


def find_drift(plan: Plan, found: Survey | None, percent: float) -> list[str]:
    """Return what the service finds now that the plan does not allow."""
    if found is None:
        return []
    at_least = "" if found.complete else "at least "
    now = (
        f"the service finds {at_least}{counted(found.messages, 'message')} for "
        f"{counted(len(found.recipients), 'recipient')} now"
    )
    if plan.numbers is None:
        return [f"{now}, and the plan has no numbers"]
    if not plan.has_drifted(found.numbers, percent) and found.complete:
        return []
    return [
        f"{now}, the plan has {plan.numbers.messages:,} for {plan.numbers.recipients:,}; a drift of {percent:g} "
        "percent is allowed"
    ]


def find_differences(ids: Sequence[str], recipients: int | None, found: Survey) -> list[str]:
    """Return what the service shows of named messages that the file does not say. recipients: what the file says."""
    said = []
    missing = len(set(ids)) - found.distinct_messages
    if missing:
        said.append(
            f"the service does not show {missing:,} of {counted(len(set(ids)), 'message')}: what they are is not known"
        )
    elif recipients is not None and recipients != len(found.recipients):
        said.append(f"the messages have {counted(len(found.recipients), 'recipient')}, the file says {recipients:,}")
    return said
