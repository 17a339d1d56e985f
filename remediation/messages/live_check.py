"""Compares a plan, or a list of named messages, with the service's answers before somebody approves it.

Anybody can write the file that an approver reads. So everything that follows from its search or its IDs is asked or
computed again here. The rest of the file is a claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from connectors.email_security import EmailSecurity
from core.quantity import counted
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.policy.policy import Policy
from remediation.guardrails.search_scope import scope_of
from remediation.guardrails.survey import SAMPLE_SIZE, Survey, survey, survey_messages
from remediation.messages.lookup import look_up

# Beyond so many more messages than the plan has, the count stops.
MOST_MORE = 10_000


def find_false_claims(plan: Plan, facts: Plan) -> list[str]:
    """Return the false claims of the file. facts: the plan as remediation.guardrails.plans.check computes it."""
    problems = []
    if plan.reversibility.reversible != facts.reversibility.reversible:
        problems.append(f"the file claims that it can{'' if plan.reversibility.reversible else 'not'} be undone")
    if plan.max_drift > facts.max_drift:
        problems.append(
            f"the file allows a drift of {plan.max_drift:g} percent, {facts.max_drift:g} percent is allowed"
        )
    claimed, limit = plan.cancel_if_discovered_over, facts.cancel_if_discovered_over
    if limit is not None and claimed is None:
        problems.append(f"the file has no discovery limit, the limit is {counted(limit, 'message')}")
    elif limit is not None and claimed is not None and claimed > limit:
        problems.append(f"the file's discovery limit is {counted(claimed, 'message')}, the limit is {limit:,}")
    return problems


def survey_plan(api: EmailSecurity, plan: Plan, policy: Policy) -> Survey | None:
    """Count the messages that the plan's search finds now. Returns None if they can't be counted.

    policy: the approver's policy, with the own domains and protected people to look for.
    Raises: what EmailSecurity.search_messages raises.
    """
    search = plan.request().search_params
    if scope_of(search).uncountable is not None:
        return None
    most = 2 * (plan.messages or 0) + MOST_MORE
    return survey(api, search, sample_size=SAMPLE_SIZE, policy=policy, enough=lambda numbers: numbers.messages > most)


def survey_ids(api: EmailSecurity, ids: Collection[str], policy: Policy) -> Survey:
    """Look up the messages with these IDs, and count them. policy: as in survey_plan.

    Raises: what EmailSecurity.search_messages raises.
    """
    return survey_messages(policy, look_up(api, ids).values())


def drift_of(before: int | None, now: int) -> float | None:
    """Return by how many percent a number has changed; None if it was 0 or not known."""
    if before is None or (before == 0 and now != 0):
        return None
    return 0.0 if before == now else 100 * (now - before) / before


def find_drift(plan: Plan, found: Survey | None, percent: float) -> list[str]:
    """Return the findings of the service that the plan does not allow."""
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
    """Return how the service's answers about named messages differ from the file. recipients: the file's number."""
    problems = []
    missing = len(set(ids)) - found.distinct_messages
    if missing:
        problems.append(
            f"the service does not show {missing:,} of {counted(len(set(ids)), 'message')}: their sender, subject and "
            "verdict are not known"
        )
    elif recipients is not None and recipients != len(found.recipients):
        problems.append(f"the messages have {counted(len(found.recipients), 'recipient')}, the file has {recipients:,}")
    return problems
