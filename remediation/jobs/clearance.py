"""Check the guardrails before a job is created. A refusal comes before anything is sent that changes anything.

`propose_job` runs on every call. `clear_job` counts, and runs only where a job would be created: an existing job is
reused, whatever its search would find now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, ActionType, BulkJobRequest, Destination
from connectors.objects.search import SearchParams
from core.errors import ParameterError, PlanDrifted, PlanNeeded, PlanRefused
from core.quantity import counted
from remediation.guardrails import budgets
from remediation.guardrails.accountability import check_reason, requester
from remediation.guardrails.approvals.spent import intent_of, reserve_approvals
from remediation.guardrails.change import Numbers
from remediation.guardrails.job_rules import (
    approvals_needed,
    needs_count,
    needs_plan,
    number_refusals,
    request_refusals,
)
from remediation.guardrails.plans.seal import check_seal
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.proposed_job import JobCall, ProposedJob
from remediation.guardrails.search_scope import scope_of
from remediation.guardrails.search_window import check_start, with_past_end, with_start
from remediation.guardrails.survey import Survey, survey
from remediation.jobs.creation import Clearance
from remediation.jobs.match import meaning
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan


def propose_job(api: EmailSecurity, call: JobCall) -> ProposedJob:
    """Return the job of the call's plan, or of its parameters. Raises: ParameterError, GuardrailRefusal."""
    api.check_writable()
    check_reason(api, call.comment)
    who, limits = requester(api, call.requested_by), call.limits.under_policy(api)
    if call.approvals and call.plan is None:
        raise ParameterError.at("/approvals", "need `plan`: pass the plan that they approve")
    warnings: list[str] = []
    if call.plan is not None:
        from remediation.guardrails.plans.check import recompute_plan  # noqa: PLC0415
        from remediation.guardrails.plans.plan import read_plan  # noqa: PLC0415 -- only where there is one

        given = read_plan(call.plan)
        warnings += check_seal(given, api.connection.plan_key, required=False)
        _check_plan(api, given, call)
        plan = recompute_plan(given, policy_of(api))
        request, asked = plan.request(), plan.asked()
    else:
        plan = None
        search, destination = call.search, call.destination
        if search is None:
            raise ParameterError.at("/search_params", "is required without a plan")
        if call.action is None:
            raise ParameterError.at("/plan", "is required")
        if call.action == "MOVE" and destination is None:
            raise ParameterError.at("/destination", "is required without a plan")
        asked = _request(call.action, destination, search)
        now = api.clock.now()
        check_start(search, now)
        if not limits.allow_open_window:
            search, started = with_start(search, now)
            search, ended = with_past_end(search, now)
            warnings += started + ended
        request = _request(call.action, destination, search)
    job = ProposedJob(request, asked, plan, limits, who, call.max_drift, call.approvals, warnings, call.key)
    for refusal in request_refusals(job, api, planned=plan is not None):
        raise refusal
    return job


def clear_job(api: EmailSecurity, job: ProposedJob, stamp: Stamp) -> Clearance:
    """Count the messages again, and check the limits that depend on the count. stamp: the job's tag.

    Raises: GuardrailRefusal, and what a search raises.
    """
    warnings: list[str] = []
    if job.plan is not None:
        job.plan.check_age(api.clock.now())
    found = _counted(api, job)
    numbers = None if found is None else found.numbers
    if found is not None:
        warnings += scope_of(job.request.search_params).notes
        for refusal in number_refusals(found, job, api):
            raise refusal
        _check_drift(job, found)
    if needs_plan(job, api, numbers):
        if job.plan is None:
            raise PlanNeeded("the policy requires a plan for this job")
        check_seal(job.plan, api.connection.plan_key, required=True)
    # A call without its approvals must not use up a budget.
    approved_by = _approved_by(api, job, numbers)
    messages = None if numbers is None else numbers.messages
    budgets.spend(api, budgets.intent_of(stamp), job.change, messages)
    return Clearance(warnings, approved_by, messages)


def refund_job(api: EmailSecurity, stamp: Stamp) -> None:
    """Remove from the budgets the messages that `clear_job` recorded for a job that was certainly not created."""
    budgets.refund(api, budgets.intent_of(stamp))


def _check_plan(api: EmailSecurity, plan: Plan, call: JobCall) -> None:
    """Raises: PlanRefused if the plan is not for this call."""
    if plan.account_id.lower() != api.connection.account_id.lower():
        raise PlanRefused(f"the plan is for another account, {plan.account_id}")
    if call.action is not None and call.action != plan.action:
        raise PlanRefused(
            f"the plan is for a {plan.action}, not for a {call.action}",
            help="Nothing was changed. Use create-job, which does what the plan says, or create a new plan.",
        )
    if call.destination is not None and call.destination != plan.destination:
        raise PlanRefused(
            f"the plan is for {plan.destination}, but `destination` is {call.destination}",
            help="Nothing was changed. Leave out `destination` to use the plan's folder, or create a new plan.",
        )
    searches = (plan.asked_search_params, plan.search_params)
    if call.search is not None and meaning(call.search.request()) not in map(meaning, searches):
        raise PlanRefused(
            "the plan's search differs from `search_params`",
            help="Nothing was changed. Leave out search_params to use the plan's search, or run preview-job for yours.",
        )
    if plan.destination in IRREVERSIBLE_DESTINATIONS and plan.numbers is None:
        raise PlanRefused(
            f"a plan without counts can't limit the job, and this pack can't undo a move to {plan.destination}"
        )


def _request(action: ActionType, destination: Destination | None, search: SearchParams) -> BulkJobRequest:
    # The parts are checked already. A second check would build the model at every start of a process.
    return BulkJobRequest.model_construct(action=action, destination=destination, search_params=search)


def _counted(api: EmailSecurity, job: ProposedJob) -> Survey | None:
    """Return the count if a check depends on it. Raises: UncountableSearch if the search can't be counted."""
    planned = job.plan is not None and job.plan.numbers is not None
    if not planned and not needs_count(job, api):
        return None
    return survey(api, job.request.search_params, enough=lambda numbers: _refuses_for_sure(api, job, numbers))


def _refuses_for_sure(api: EmailSecurity, job: ProposedJob, numbers: Numbers) -> bool:
    """Return whether the numbers so far are enough to refuse, so that the count can stop."""
    # The message about a drift has both numbers: the count continues until the size of the drift is clear.
    most = None if job.plan is None else job.plan.most_messages(job.drift_allowed)
    doubled = None if most is None else 2 * most + 1000
    ceilings = (job.limits.max_messages, policy_of(api).max_messages if api.has_policy else None, doubled)
    return any(ceiling is not None and numbers.messages > ceiling for ceiling in ceilings)


def _check_drift(job: ProposedJob, found: Survey) -> None:
    """Raises: PlanDrifted with both numbers."""
    now, percent = found.numbers, job.drift_allowed
    if job.plan is None or not job.plan.has_drifted(now, percent):
        return
    at_least = "" if found.complete else "at least "
    raise PlanDrifted(
        f"the plan found {counted(job.plan.messages or 0, 'message')} for "
        f"{counted(job.plan.recipients or 0, 'recipient')}, but the search now finds {at_least}{now.messages} for "
        f"{now.recipients}; a drift of {percent:g} percent is allowed"
    )


def _approved_by(api: EmailSecurity, job: ProposedJob, numbers: Numbers | None) -> list[str]:
    """Reserve the approvals for this job, and return the approvers. Raises: PlanNeeded, ApprovalRefused."""
    needed = approvals_needed(job, api, numbers)
    if not needed and not job.approvals:
        return []
    if job.plan is None:
        raise PlanNeeded(f"the policy requires {needed}, and approvals need a plan")
    from remediation.guardrails.approvals.approval import GivenApprovals, require_approvals  # noqa: PLC0415 -- only where somebody has to approve

    plan = job.plan
    requesters = [job.requested_by, plan.requested_by]
    given = GivenApprovals(job.approvals, plan.plan_hash, requesters, plan_proved=plan.requester_proved)
    read = require_approvals(api, needed, given)
    # This comes last: reserved approvals count for this call alone.
    reserve_approvals(api, read, plan_hash=plan.plan_hash, intent=intent_of(plan.plan_hash, job.key or ""))
    return sorted({one.approver for one in read})
