"""Preview a bulk job: count its messages and recipients, list the refusals, and return a plan for the job.

Remote operation: GET /accounts/{account_id}/email-security/investigate, page by page; nothing is changed.
Pass the plan to create-move-job or release-job, which count again, and to wait-for-job, which cancels a job
that discovers more.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import READ, Action, ActionResult
from actions.contract.process import main
from actions.contract.result_size import fitting
from actions.shapes.example_job import EXAMPLE_SEARCH
from actions.shapes.example_plan import EXAMPLE_PLAN
from actions.shapes.job_request import JobRequestParams
from connectors.email_security import EmailSecurity
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, ActionType, BulkJobRequest, Destination
from connectors.objects.search import SearchParams
from core.errors import GuardrailRefusal, ParameterError, PlanRefused, TooManyMessages, UncountableSearch
from core.instants import format_instant
from core.quantity import counted
from remediation.guardrails.accountability import requester
from remediation.guardrails.approvals.needed import refusals_despite_approvals
from remediation.guardrails.job_rules import (
    approvals_needed,
    needs_count,
    needs_plan,
    number_refusals,
    request_refusals,
)
from remediation.guardrails.limits import Limits
from remediation.guardrails.plans.check import discovery_limit, smallest_drift
from remediation.guardrails.plans.plan import Parity, Plan, Refusal, new_plan, reversibility_of
from remediation.guardrails.plans.seal import remember, seal_plan
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.proposed_job import ProposedJob
from remediation.guardrails.search_scope import scope_of, search_warnings
from remediation.guardrails.search_window import pinned
from remediation.guardrails.survey import Survey, survey

# A plan goes through the state of a platform that bounds it, and can't be cut once it is sealed.
MOST_SAMPLE_BYTES = 100_000


class Params(JobRequestParams):
    action: ActionType = Field(description="MOVE for create-move-job, RELEASE for release-job.")
    search_params: SearchParams = Field(description="Which messages are meant; all criteria given must hold.")
    destination: Destination | None = Field(None, description="The folder to move to; for MOVE only, and required.")
    allow_irreversible: bool = Field(
        False, description="Allow RecoverableItemsDeletions and RecoverableItemsPurges without a plan."
    )
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC to be delivered."
    )
    limit: int = Field(
        200_000,
        ge=1,
        le=1_000_000,
        description="Refuse a search that finds more messages than this. The count is never an estimate.",
    )
    sample: int = Field(
        10, ge=0, le=100, description="How many of the messages found to show, as far as they fit into 100 kB."
    )


class Result(Plan, ActionResult):
    pass


def preview_job(p: Params, api: EmailSecurity) -> Result:
    if (p.action == "MOVE") != (p.destination is not None):
        message = "is required for MOVE" if p.action == "MOVE" else "is for MOVE only"
        raise ParameterError.at("/destination", message)
    now = api.clock.now()
    search, warnings = pinned(p.search_params, now)
    request = BulkJobRequest(action=p.action, destination=p.destination, search_params=search)
    limits = Limits.among(vars(p)).under_policy(api)
    job = ProposedJob(request, request, None, limits, requester(api, p.requested_by))
    refusals = list(request_refusals(job, api, planned=True))
    parity, notes = _parity(search)
    found = None if parity == "unknown" else _counted(p, search, api)
    if found is not None:
        refusals += number_refusals(found, job, api)
    else:
        refusals += _refusals_without_numbers(job, api)
    numbers = None if found is None else found.numbers
    needed = approvals_needed(job, api, numbers)
    refusals += refusals_despite_approvals(api, needed, job.requested_by)
    if api.connection.plan_key is None and needs_plan(job, api, numbers):
        refusals.append(
            PlanRefused(
                "the policy requires a sealed plan, and CFES_PLAN_KEY is not set, so this plan has no seal; set the "
                "key that `cfes policy init` made"
            )
        )
    drift = smallest_drift(p.destination, policy_of(api))
    facts = (found or Survey(policy_of(api))).facts()
    facts["sample"] = fitting(facts["sample"], MOST_SAMPLE_BYTES)
    if found is None:
        facts |= dict.fromkeys(("messages", "distinct_messages", "recipients", "malicious", "unproved"))
    plan = new_plan(
        {
            "account_id": api.connection.account_id,
            "previewed_at": format_instant(now),
            "requested_by": job.requested_by,
            "requester_proved": api.connection.requested_by is not None,
            "action": p.action,
            "destination": p.destination,
            "search_params": search.request(),
            "asked_search_params": p.search_params.request(),
            **facts,
            "parity": parity,
            "parity_notes": notes,
            "reversibility": reversibility_of(p.action, p.destination),
            "max_drift": drift,
            "cancel_if_discovered_over": discovery_limit(numbers.messages if numbers else None, drift, policy_of(api)),
            "approvals_needed": needed.count,
            "refusals": [Refusal(type=type(refusal).__name__, message=refusal.message) for refusal in refusals],
            "warnings": warnings
            + search_warnings(search)
            + _warnings(found)
            + ([f"the policy requires {needed}"] if needed else []),
        }
    )
    remember(plan.plan_hash)
    return Result.model_construct(**dict(seal_plan(plan, api.connection.plan_key)))


def _parity(search: SearchParams) -> tuple[Parity, list[str]]:
    """Return whether the message search finds the same messages as a job, and the criteria that it can't express."""
    scope = scope_of(search)
    if scope.uncountable:
        return "unknown", [f"{scope.uncountable}: the messages of a job can't be counted before"]
    return ("approximate", scope.notes) if scope.notes else ("exact", [])


def _counted(p: Params, search: SearchParams, api: EmailSecurity) -> Survey:
    found = survey(api, search, sample_size=p.sample, enough=lambda numbers: numbers.messages > p.limit)
    if not found.complete:
        raise TooManyMessages(
            f"the search finds more than {counted(p.limit, 'message')}: a plan must cover every message found",
            help="Nothing was changed. Narrow the search, or raise `limit`.",
        )
    return found


def _refusals_without_numbers(job: ProposedJob, api: EmailSecurity) -> list[GuardrailRefusal]:
    """Return the refusals of checks that need a count, where nothing can be counted."""
    refused: list[GuardrailRefusal] = []
    if needs_count(job, api):
        refused.append(
            UncountableSearch("a limit, a check or the policy needs a count, and the messages can't be counted")
        )
    if job.request.destination in IRREVERSIBLE_DESTINATIONS:
        refused.append(
            PlanRefused(f"a move to {job.request.destination} needs a plan with numbers: this pack can't undo it")
        )
    return refused


def _warnings(found: Survey | None) -> list[str]:
    if found is None:
        return ["the messages can't be counted: the plan binds the search and its window, not a number"]
    warnings = []
    if found.messages == 0:
        warnings.append("nothing was found: a job with this search would do nothing")
    if found.own_senders:
        named = ", ".join(found.own_senders[:3])
        warnings.append(f"senders may be the organization's own: {named}")
    return warnings


ACTION = Action(
    id="preview-job",
    title="Preview a bulk job and make a plan",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=preview_job,
    example_params={
        "action": "MOVE",
        "search_params": EXAMPLE_SEARCH,
        "destination": "JunkEmail",
        "sample": 1,
    },
    example_result=EXAMPLE_PLAN,
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
