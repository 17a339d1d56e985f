"""Recompute the parts of a plan that follow from its search: anybody can edit the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import PlanRefused
from remediation.guardrails.plans.plan import Plan, allowed_over, default_drift, reversibility_of
from remediation.guardrails.search_scope import scope_of
from remediation.guardrails.search_window import pinned

if TYPE_CHECKING:
    from connectors.objects.job import Destination
    from remediation.guardrails.policy.policy import Policy


def recompute_plan(plan: Plan, policy: Policy) -> Plan:
    """Return the plan with its reversibility, drift and discovery limit computed from its search and numbers.

    The file's own drift and limit count where they are smaller. The plan keeps its hash, which names it.
    Raises: PlanRefused if the pinned search does not follow from the asked search, or if numbers are missing
    that can be counted.
    """
    _check_window(plan)
    _check_numbers(plan)
    drift = smallest_drift(plan.destination, policy, plan.max_drift)
    return plan.model_copy(
        update={
            "reversibility": reversibility_of(plan.action, plan.destination),
            "max_drift": drift,
            "cancel_if_discovered_over": discovery_limit(plan.messages, drift, policy, plan.cancel_if_discovered_over),
        }
    )


def smallest_drift(destination: Destination | None, policy: Policy, *claimed: float | None) -> float:
    """Return the percent by which a count may differ: the smallest of folder, policy and the claimed ones."""
    known = (default_drift(destination), policy.max_drift_percent, *claimed)
    return min(percent for percent in known if percent is not None)


def discovery_limit(messages: int | None, drift: float, policy: Policy, *claimed: int | None) -> int | None:
    """Return the most messages that a job may discover: the smallest of numbers, policy and the claimed ones."""
    if messages is None:
        return policy.max_messages
    known = (allowed_over(messages, drift), policy.max_messages, *claimed)
    return min(limit for limit in known if limit is not None)


def _check_window(plan: Plan) -> None:
    made = plan.made_at()
    asked, sent = plan.asked().search_params, plan.request().search_params
    if pinned(asked, made)[0].request() != sent.request():
        raise PlanRefused(
            "the plan's search_params do not follow from its asked_search_params: preview-job did not make this plan"
        )


def _check_numbers(plan: Plan) -> None:
    countable = scope_of(plan.request().search_params).uncountable is None
    numbers = (plan.messages, plan.distinct_messages, plan.recipients, plan.malicious)
    if countable == any(number is None for number in numbers) or (plan.parity == "unknown") == countable:
        raise PlanRefused(
            "the plan has no numbers, and its search can be counted"
            if countable
            else "the plan has numbers for a search that can't be counted"
        )
