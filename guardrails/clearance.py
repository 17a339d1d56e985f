"""What must hold before a job is created: each check refuses as a whole, before anything is sent that changes anything.

`wanted` is asked first, on every call; `cleared` counts, and is asked only where a job would really be made: a job that
stands already is adopted, whatever its search would find by now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from connectors.email_security import EmailSecurity
from connectors.errors import (
    BroadSearchRefused,
    GuardrailRefusal,
    MaliciousRelease,
    ParameterError,
    PlanDrifted,
    PlanNeeded,
    PlanRefused,
    PolicyRefused,
    Problem,
    ProtectedRefused,
    TooManyMessages,
    TooManyRecipients,
    UncountableSearch,
)
from connectors.job import IRREVERSIBLE_DESTINATIONS, ActionType, BulkJobRequest, Destination, delivers
from connectors.job_creation import Clearance
from connectors.search import MALICIOUS, SearchParams
from connectors.stamp import Stamp
from guardrails.approvals_needed import Need, need_of
from guardrails.narrowing import is_visible, narrows
from guardrails.search_scope import scope_of
from guardrails.window import with_past_end, with_start

if TYPE_CHECKING:
    # Loaded where there is a plan, or something to count: a create without either starts without them.
    from guardrails.plan import Plan
    from guardrails.survey import Numbers, Survey


@dataclass(frozen=True)
class Limits:
    """What the caller sets: caps on what the search finds, and the guardrails that are overridden on purpose."""

    max_messages: int | None = None
    max_recipients: int | None = None
    allow_broad_search: bool = False
    allow_open_window: bool = False
    allow_irreversible: bool = False
    allow_malicious: bool = False

    def honoured(self, api: EmailSecurity) -> Limits:
        """Return the limits without the overrides that a policy is silent about."""
        if not api.has_policy:
            return self
        ignored = [name for name in OVERRIDES if name not in api.policy.overrides]
        return replace(self, **dict.fromkeys(ignored, False))


OVERRIDES = [limit.name for limit in fields(Limits) if limit.name.startswith("allow_")]


def override_hint(api: EmailSecurity, name: str) -> str:
    """Say how this override is used, or that the policy does not allow it."""
    if api.has_policy and name not in api.policy.overrides:
        return f"{name} has no effect: the policy (CFES_POLICY) does not name it in `overrides`."
    return f"Or set {name} to true."


@dataclass(frozen=True)
class Wanted:
    """A job that is wanted, after the checks that need no count.

    request: as it would be sent. asked: as the caller wrote it. key: the caller's idempotency key.
    """

    request: BulkJobRequest
    asked: BulkJobRequest
    plan: Plan | None
    limits: Limits
    requested_by: str | None = None
    max_drift: float | None = None
    approvals: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    key: str | None = None


def requester(api: EmailSecurity, given: str | None) -> str | None:
    """Who asks: what the environment says goes before a parameter. Raises: ParameterError where they differ."""
    known = api.connection.requested_by
    if known is not None and given is not None and given.casefold() != known.casefold():
        message = "is another person than CFES_REQUESTED_BY names"
        raise ParameterError(problems=[Problem(pointer="/requested_by", message=message)])
    return known or given


def wanted(
    api: EmailSecurity,
    *,
    action: ActionType,
    destination: Destination | None,
    search: SearchParams | None,
    plan: Mapping[str, Any] | None,
    limits: Limits,
    max_drift: float | None = None,
    requested_by: str | None = None,
    approvals: Sequence[str] = (),
    key: str | None = None,
    comment: str | None = None,
) -> Wanted:
    """The request, from the parameters or from the plan. Raises: ParameterError, GuardrailRefusal."""
    api.check_writable()
    check_reason(api, comment)
    who, limits = requester(api, requested_by), limits.honoured(api)
    if approvals and plan is None:
        raise ParameterError(problems=[Problem(pointer="/approvals", message="are for a plan: hand it over as plan")])
    warnings: list[str] = []
    if plan is not None:
        from guardrails.plan import read_plan  # noqa: PLC0415 -- only where there is one
        from guardrails.plan_check import recomputed  # noqa: PLC0415
        from guardrails.plan_seal import check_seal  # noqa: PLC0415

        given = read_plan(plan)
        warnings += check_seal(given, api.connection.plan_key, required=False)
        bound = recomputed(_of_plan(api, given, action, destination, search), api.policy)
        request, asked = bound.request(), bound.asked()
    else:
        bound = None
        if search is None:
            raise ParameterError(
                problems=[Problem(pointer="/search_params", message="is required where no plan is given")]
            )
        if action == "MOVE" and destination is None:
            raise ParameterError(
                problems=[Problem(pointer="/destination", message="is required where no plan is given")]
            )
        asked = _request(action, destination, search)
        if not limits.allow_open_window:
            now = api.clock.now()
            search, started = with_start(search, now)
            search, ended = with_past_end(search, now)
            warnings += started + ended
        request = _request(action, destination, search)
    job = Wanted(request, asked, bound, limits, who, max_drift, approvals, warnings, key)
    for refusal in refusals_of_request(job, api, planned=bound is not None):
        raise refusal
    return job


def cleared(api: EmailSecurity, job: Wanted, stamp: Stamp) -> Clearance:
    """Count again, and check what depends on the numbers. stamp: as the job will have it.

    Raises: GuardrailRefusal, and what a search raises.
    """
    warnings: list[str] = []
    if job.plan is not None:
        job.plan.check_age(api.clock.now())
    found = _counted(api, job)
    numbers = None if found is None else found.numbers
    if found is not None:
        warnings += scope_of(job.request.search_params).notes
        for refusal in refusals_of_numbers(found, job, api):
            raise refusal
        _check_drift(job, found)
    if asks_for_plan(job, api, numbers):
        if job.plan is None:
            raise PlanNeeded("the policy asks for a plan before this is done")
        from guardrails.plan_seal import check_seal  # noqa: PLC0415 -- only where there is a plan

        check_seal(job.plan, api.connection.plan_key, required=True)
    # A call without its approvals must not use up a budget.
    approved_by = _approved_by(api, job, numbers)
    if api.has_policy and api.policy.budgets:
        from guardrails.budgets import intent_of, spend  # noqa: PLC0415 -- brings SQLite, for policies with budgets

        spend(
            api,
            intent=intent_of(stamp),
            action=job.request.action,
            destination=job.request.destination,
            messages=None if numbers is None else numbers.messages,
            jobs=1,
        )
    return Clearance(warnings, approved_by, None if numbers is None else numbers.messages)


def discarded(api: EmailSecurity, stamp: Stamp) -> None:
    """Undo what `cleared` recorded for a job that was surely not made."""
    if api.has_policy and api.policy.budgets:
        from guardrails.budgets import intent_of, refund  # noqa: PLC0415 -- brings SQLite, for policies with budgets

        refund(api, intent_of(stamp))


def refusals_of_request(job: Wanted, api: EmailSecurity, *, planned: bool) -> Iterator[GuardrailRefusal]:
    """The guardrails that the request itself runs into, whatever it finds."""
    search, destination, limits = job.request.search_params, job.request.destination, job.limits
    own_domains = api.policy.own_domains if api.has_policy else ()
    if not limits.allow_broad_search and not narrows(search, own_domains):
        yield BroadSearchRefused(
            "search_params has no criterion that narrows the search to certain messages",
            help=f"{BroadSearchRefused.default_help} {override_hint(api, 'allow_broad_search')}",
        )
    if destination is not None and api.has_policy and not api.policy.allows_destination(destination):
        yield PolicyRefused(f"the policy does not allow messages to be moved to {destination}")
    if destination in IRREVERSIBLE_DESTINATIONS and not planned and not limits.allow_irreversible:
        yield PlanNeeded(
            f"what is moved to {destination} is out of the users' reach for good: that needs a plan",
            help=f"{PlanNeeded.default_help} {override_hint(api, 'allow_irreversible')}",
        )
    into_inbox = delivers(job.request.action, destination)
    if into_inbox and search.final_disposition in MALICIOUS and not limits.allow_malicious:
        yield MaliciousRelease(
            f"the search is for messages with the verdict {search.final_disposition}",
            help=f"{MaliciousRelease.default_help} {override_hint(api, 'allow_malicious')}",
        )


def refusals_of_numbers(found: Survey, job: Wanted, api: EmailSecurity) -> Iterator[GuardrailRefusal]:
    """The guardrails that the numbers run into: those of the call, then those of the policy."""
    limits, policy, (messages, recipients) = job.limits, api.policy, found.numbers
    at_least = "" if found.complete else "at least "
    finds_messages = f"the search finds {at_least}{messages} messages"
    finds_recipients = f"the search finds {at_least}{recipients} recipients"
    if limits.max_messages is not None and messages > limits.max_messages:
        yield TooManyMessages(f"{finds_messages}, max_messages is {limits.max_messages}")
    if limits.max_recipients is not None and recipients > limits.max_recipients:
        yield TooManyRecipients(f"{finds_recipients}, max_recipients is {limits.max_recipients}")
    if policy.max_messages is not None and messages > policy.max_messages:
        yield PolicyRefused(f"{finds_messages}, the policy allows {policy.max_messages}")
    if policy.max_recipients is not None and recipients > policy.max_recipients:
        yield PolicyRefused(f"{finds_recipients}, the policy allows {policy.max_recipients}")
    if found.protected:
        named = list(found.protected)
        more = "" if len(named) <= 5 else f" and {len(named) - 5} more"
        yield ProtectedRefused(f"the search reaches what the policy protects: {', '.join(named[:5])}{more}")
    asked_about_recipients = limits.max_recipients is not None or (
        api.has_policy and (policy.max_recipients is not None or bool(policy.protected_recipients))
    )
    if found.without_recipients and asked_about_recipients:
        yield UncountableSearch(f"the service names no recipients for {found.without_recipients} messages")
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
        yield MaliciousRelease(
            f"{found.malicious} of the messages found have the verdict MALICIOUS or MALICIOUS-BEC, and "
            f"{found.without_verdict} have no known verdict",
            help=f"{MaliciousRelease.default_help} {override_hint(api, 'allow_malicious')}",
        )


def approvals_needed(job: Wanted, api: EmailSecurity, numbers: Numbers | None) -> Need:
    """The approvals that the policy asks for: by the larger of the plan's numbers and today's."""
    if not api.has_policy:
        return Need()
    seen = [known for known in (numbers, job.plan.numbers if job.plan else None) if known is not None]
    messages = max((known.messages for known in seen), default=None)
    recipients = max((known.recipients for known in seen), default=None)
    planned_by = job.plan.requested_by if job.plan else None
    requesters = [name for name in (job.requested_by, planned_by) if name is not None]
    return need_of(api.policy, job.request.action, job.request.destination, messages, recipients, requesters)


def asks_for_plan(job: Wanted, api: EmailSecurity, numbers: Numbers | None) -> bool:
    """Whether the policy asks for a plan, or for approvals, which are given for one."""
    if not api.has_policy:
        return False
    known = numbers or (None, None)
    return api.policy.needs_plan(job.request.action, job.request.destination, *known) or bool(
        approvals_needed(job, api, numbers)
    )


def drift_allowed(job: Wanted) -> float:
    """Percent: the smaller of what the call says and what the plan allows (see guardrails.plan_check)."""
    if job.plan is None:
        return 0.0
    return job.plan.max_drift if job.max_drift is None else min(job.max_drift, job.plan.max_drift)


def check_reason(api: EmailSecurity, comment: str | None) -> None:
    """Raises: PolicyRefused where the policy asks for a reason and `comment` gives none."""
    if api.has_policy and api.policy.reason_needed and not is_visible(comment or ""):
        raise PolicyRefused(
            "the policy asks for a reason, and `comment` gives none",
            help="Nothing was changed. Say in `comment` why this is done.",
        )


def _of_plan(
    api: EmailSecurity, plan: Plan, action: ActionType, destination: Destination | None, search: SearchParams | None
) -> Plan:
    """The plan, if it is one for this call."""
    if plan.account_id != api.connection.account_id:
        raise PlanRefused(f"the plan is for another account, {plan.account_id}")
    if plan.action != action:
        raise PlanRefused(f"the plan is for a {plan.action}, not for a {action}")
    if destination is not None and destination != plan.destination:
        raise PlanRefused(f"the plan is for {plan.destination}, the destination that is given is {destination}")
    if search is not None and search.request() not in (plan.asked_search_params, plan.search_params):
        raise PlanRefused(
            "the plan is for another search than the search_params that are given",
            help="Nothing was changed. Leave search_params out: the plan has them; or make a plan for these.",
        )
    if plan.destination in IRREVERSIBLE_DESTINATIONS and plan.numbers is None:
        raise PlanRefused(
            f"the plan has no numbers, and what is moved to {plan.destination} can't be undone: it binds nothing"
        )
    return plan


def _request(action: ActionType, destination: Destination | None, search: SearchParams) -> BulkJobRequest:
    # The parts are checked already; to check them again would cost the model's building at every start of a process.
    return BulkJobRequest.model_construct(action=action, destination=destination, search_params=search)


def needs_count(job: Wanted, api: EmailSecurity) -> bool:
    """Whether anything that must hold depends on what the search finds."""
    limits = job.limits
    capped = limits.max_messages is not None or limits.max_recipients is not None
    may_reach_malicious = (
        delivers(job.request.action, job.request.destination)
        and not limits.allow_malicious
        and job.request.search_params.final_disposition is None
    )
    return capped or may_reach_malicious or (api.has_policy and api.policy.counts)


def _counted(api: EmailSecurity, job: Wanted) -> Survey | None:
    """The count, where anything depends on it. Raises: UncountableSearch where something does and none can be made."""
    planned = job.plan is not None and job.plan.numbers is not None
    if not planned and not needs_count(job, api):
        return None
    from guardrails.survey import survey  # noqa: PLC0415 -- only where something is counted

    return survey(api, job.request.search_params, enough=lambda numbers: _refuses_for_sure(api, job, numbers))


def _refuses_for_sure(api: EmailSecurity, job: Wanted, numbers: Numbers) -> bool:
    """Whether the count refuses whatever else is found: it is not gone on with for nothing."""
    # A drift names both numbers: the count continues until there is no doubt about its size.
    most = None if job.plan is None else job.plan.most_messages(drift_allowed(job))
    doubled = None if most is None else 2 * most + 1000
    ceilings = (job.limits.max_messages, api.policy.max_messages if api.has_policy else None, doubled)
    return any(ceiling is not None and numbers.messages > ceiling for ceiling in ceilings)


def _check_drift(job: Wanted, found: Survey) -> None:
    """Raises: PlanDrifted with both numbers."""
    now, percent = found.numbers, drift_allowed(job)
    if job.plan is None or not job.plan.has_drifted(now, percent):
        return
    at_least = "" if found.complete else "at least "
    raise PlanDrifted(
        f"the plan found {job.plan.messages} messages for {job.plan.recipients} recipients, the search finds {at_least}"
        f"{now.messages} for {now.recipients} now; a drift of {percent:g} percent is allowed"
    )


def _approved_by(api: EmailSecurity, job: Wanted, numbers: Numbers | None) -> list[str]:
    """Return who approved, after reserving the approvals for this job. Raises: PlanNeeded, ApprovalRefused."""
    needed = approvals_needed(job, api, numbers)
    if not needed and not job.approvals:
        return []
    if job.plan is None:
        raise PlanNeeded(f"the policy asks for {needed}, and approvals are given for a plan")
    from guardrails.approval import approvers  # noqa: PLC0415 -- only where somebody has to approve
    from guardrails.spent_approvals import intent_of, reserve_approvals  # noqa: PLC0415

    plan = job.plan
    read = approvers(
        api,
        needed,
        plan.plan_hash,
        job.approvals,
        requested_by=job.requested_by,
        planned_by=plan.requested_by,
        plan_proved=plan.requester_proved,
    )
    # After every other check of the approvals and numbers: reserved approvals count for this call alone.
    reserve_approvals(api, read, plan_hash=plan.plan_hash, intent=intent_of(plan.plan_hash, job.key or ""))
    return sorted({one.approver for one in read})
