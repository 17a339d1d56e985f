"""What the service answers now about a plan, or about named messages, that somebody is asked to approve.

An approver reads a file that anybody can write. So everything that follows from its search or its IDs is asked again or
computed again here, and what the file says beside it is a claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actions.message_lookup import look_up
from actions.named_message_survey import SAMPLE_SIZE, survey_messages
from connectors.email_security import EmailSecurity
from connectors.errors import PlanRefused
from connectors.search import parse_instant
from guardrails.plan import Plan, allowed_over, default_drift, reversibility_of
from guardrails.search_scope import scope_of
from guardrails.survey import Survey, survey
from guardrails.window import pinned

if TYPE_CHECKING:
    from connectors.policy import Policy

# Beyond so many more than the plan has, the count says enough.
MOST_MORE = 10_000


@dataclass(frozen=True)
class Computed:
    """What follows from a plan's search and numbers, whatever its file says.

    drift: percent by which the count may differ. limit: a job that discovers more is cancelled; None: no number known.
    """

    drift: float
    limit: int | None
    reversible: bool
    how: str


def computed(plan: Plan, policy: Policy) -> Computed:
    """Compute what the plan's file only claims.

    Raises: PlanRefused where its search is not what preview-job makes of the search that was asked for.
    """
    _check_search(plan)
    undo = reversibility_of(plan.action, plan.destination)
    known = (plan.max_drift, default_drift(plan.destination), policy.max_drift_percent)
    drift = min(percent for percent in known if percent is not None)
    limit = None if plan.messages is None else allowed_over(plan.messages, drift)
    return Computed(drift, limit, undo.reversible, undo.how)


def claims_refuted(plan: Plan, facts: Computed) -> list[str]:
    """What the file says of itself that is not so."""
    said = []
    if plan.reversibility.reversible != facts.reversible:
        said.append(f"the file says that it can{'' if plan.reversibility.reversible else 'not'} be undone")
    if plan.max_drift > facts.drift:
        said.append(f"the file allows a drift of {plan.max_drift:g} percent, {facts.drift:g} percent is allowed")
    if facts.limit is not None and plan.cancel_if_discovered_over is None:
        said.append(f"the file has no discovery limit, {facts.limit:,} messages is the limit")
    elif facts.limit is not None and (plan.cancel_if_discovered_over or 0) > facts.limit:
        said.append(
            f"the file's discovery limit is {plan.cancel_if_discovered_over:,} messages, {facts.limit:,} is the limit"
        )
    countable = scope_of(plan.request().search_params).uncountable is None
    if countable and plan.numbers is None:
        said.append("the file has no numbers, and its search can be counted")
    return said


def survey_plan(api: EmailSecurity, plan: Plan) -> Survey | None:
    """Count what the plan's search finds now; None where the message search can't count it.

    Raises: what EmailSecurity.search_messages raises.
    """
    search = plan.request().search_params
    if scope_of(search).uncountable is not None:
        return None
    most = 2 * (plan.messages or 0) + MOST_MORE
    return survey(api, search, sample_size=SAMPLE_SIZE, enough=lambda numbers: numbers.messages > most)


def survey_ids(api: EmailSecurity, ids: Collection[str]) -> Survey:
    """Look up what the messages with these IDs are. Raises: what EmailSecurity.search_messages raises."""
    return survey_messages(api, look_up(api, ids).values())


def drift_of(before: int | None, now: int) -> float | None:
    """By how many percent a number has changed; None where that can't be said."""
    if before is None or (before == 0 and now != 0):
        return None
    return 0.0 if before == now else 100 * (now - before) / before


def drifted(plan: Plan, found: Survey | None, facts: Computed) -> list[str]:
    """What the service finds now that the plan does not allow."""
    if found is None:
        return []
    at_least = "" if found.complete else "at least "
    now = f"the service finds {at_least}{found.messages:,} messages for {len(found.recipients):,} recipients now"
    if plan.numbers is None:
        return [f"{now}, and the plan has no numbers"]
    if not plan.has_drifted(found.numbers, facts.drift) and found.complete:
        return []
    return [
        f"{now}, the plan has {plan.numbers.messages:,} for {plan.numbers.recipients:,}; a drift of {facts.drift:g} "
        "percent is allowed"
    ]


def unlike(ids: Sequence[str], recipients: int | None, found: Survey) -> list[str]:
    """What the service shows of named messages that the file does not say. recipients: what the file says."""
    said = []
    missing = len(set(ids)) - found.distinct_messages
    if missing:
        said.append(f"the service does not show {missing:,} of {len(set(ids)):,} messages: what they are is not known")
    elif recipients is not None and recipients != len(found.recipients):
        said.append(f"the messages have {len(found.recipients):,} recipients, the file says {recipients:,}")
    return said


def _check_search(plan: Plan) -> None:
    """Raises: PlanRefused."""
    try:
        made = parse_instant(plan.previewed_at)
    except ValueError:
        raise PlanRefused("the plan's previewed_at is not a valid date-time") from None
    if pinned(plan.asked().search_params, made)[0].request() != plan.request().search_params.request():
        raise PlanRefused(
            "the plan's search_params do not follow from its asked_search_params: preview-job did not make this plan"
        )
