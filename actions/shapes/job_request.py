"""What preview-job, create-move-job and release-job share: which messages are meant, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field

from actions.contract.action import ActionParams, ActionResult, Preview
from actions.contract.streams import record
from actions.shapes.approval_parameters import Approvals, Person
from connectors.email_security import EmailSecurity
from connectors.objects.end_of_life import ACTION_LOG, EXPECTED_DISPOSITION, EndedParameter
from connectors.objects.job import BEFORE_PROCESSING, ActionType, BulkJob, Destination
from connectors.objects.search import SearchParams
from core.errors import ANOTHER_JOB, ApprovalRefused
from core.quantity import counted
from remediation.guardrails.approvals.spent import spend_approvals
from remediation.guardrails.limits import Limits
from remediation.guardrails.proposed_job import JobCall
from remediation.guardrails.search_scope import scope_of
from remediation.jobs.clearance import clear_job, propose_job, refund_job
from remediation.jobs.creation import Intent, create_job_once
from remediation.jobs.discovery_limit import DiscoveryLimit, DiscoveryWatch, Tripwire, smallest
from remediation.jobs.reused_job import ReusedJob, describe_reused_job, leaves_messages
from remediation.stamp import Stamp

# There are two ways to say which messages are meant: a field's own schema can't say that one of them is required.
PLAN_OR_SEARCH: dict[str, Any] = {"anyOf": [{"required": ["search_params"]}, {"required": ["plan"]}]}


def _is_not_blank(key: str) -> str:
    if not key.strip():
        raise ValueError("is blank: a key of white space names nothing")
    return key


class JobRequestParams(ActionParams):
    """Why, who asks, and what must hold before a job is created."""

    ended: ClassVar[Sequence[EndedParameter]] = (EXPECTED_DISPOSITION, ACTION_LOG)

    comment: str | None = Field(
        None, max_length=1000, description="Why the job is run; kept with the job, behind a stamp."
    )
    max_messages: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Refuse where a message search finds more than this many messages (one for each mailbox).",
    )
    max_recipients: int | None = Field(
        None, ge=1, le=1_000_000, description="Refuse where a message search finds more distinct recipients than this."
    )
    allow_broad_search: bool = Field(
        False, description="Allow search_params without a criterion that narrows the search to certain messages."
    )
    allow_open_window: bool = Field(
        False, description="Send a search without start as it is, instead of pinning it to the last 30 days."
    )
    idempotency_key: Annotated[str, AfterValidator(_is_not_blank)] | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="The intent's own ID, an alert's or a case's: any number of calls with it make one job. "
        "Compared in Unicode form NFC, without white space around it; upper and lower case differ.",
    )
    requested_by: Person | None = Field(
        None, description="Who asks: a login or an address. Where CFES_REQUESTED_BY is set, another name is refused."
    )


class CreateJobParams(JobRequestParams):
    """The same for a job that is created: its search, or the plan that has one."""

    @classmethod
    def missing(cls, given: Mapping[str, Any]) -> Sequence[str]:
        """Without a plan the job's parts are required."""
        parts = [name for name in ("search_params", "destination") if name in cls.model_fields]
        return [name for name in parts if given.get("plan") is None and given.get(name) is None]

    search_params: SearchParams | None = Field(
        None, description="Which messages are meant; all criteria given must hold. Required where no plan is given."
    )
    plan: dict[str, Any] | None = Field(
        None, description="The result of preview-job: its search is counted again, and must not have drifted."
    )
    max_drift: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="By how many percent the count may differ from the plan's. It can only lower what the plan, the "
        "policy and the folder allow: 0 for the two RecoverableItems folders, else 10.",
    )
    approvals: Approvals = Field(
        default_factory=list,
        max_length=10,
        description="Approvals of the plan: the tokens that `cfes approve` makes, or all that it prints. A rejection "
        "among them refuses.",
    )
    wait_follows: bool = Field(
        False,
        description="Set it where wait-for-job follows at once with the same plan or limit. Otherwise the action polls "
        "the new job until it has discovered its messages, for a minute at most, and cancels it over the limit. With "
        "a policy it always does.",
    )


class Twin(ActionResult):
    """A later job of the same intent. processed: what it was through with before it was cancelled."""

    job_id: str
    status: str
    discovered: int
    processed: int


class JobRequestResult(ActionResult):
    """The job, and whether this call made it."""

    job_id: str = Field(description="The job's UUID.")
    status: str = Field(description="The job's status.")
    created: bool = Field(description="False where a job for this request existed already.")
    reused: ReusedJob | None = Field(description="Where created is false: what that job left. Null for a new job.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    plan_hash: str | None = Field(description="The plan, if the job was made from it; else null.")
    requested_by: str | None = Field(
        description="Who asked, as the job's stamp says, or null. Claimed, unless CFES_PLAN_KEY is set."
    )
    approved_by: list[str] = Field(
        description="Who approved, as the job's stamp says. Claimed, unless CFES_PLAN_KEY is set."
    )
    twins: list[Twin] = Field(description="Later jobs of the same intent: cancelled, unless they had ended.")
    tripwire: Tripwire | None = Field(
        description="The limit on what the job may discover, as far as this call saw; null where there is none, or "
        "wait_follows is set and no policy."
    )
    warnings: list[str] = Field(description="What a person should know.")


R = TypeVar("R", bound=JobRequestResult)


def request_job(
    p: CreateJobParams,
    api: EmailSecurity,
    result: type[R],
    action: ActionType,
    destination: Destination | None = None,
    *,
    allow_irreversible: bool = False,
    allow_malicious: bool = False,
) -> R:
    """Check the guardrails, then make sure that exactly one job exists."""
    limits = limits_of(p, allow_irreversible=allow_irreversible, allow_malicious=allow_malicious)
    call = JobCall(
        action=action,
        destination=destination,
        search=p.search_params,
        plan=p.plan,
        limits=limits,
        max_drift=p.max_drift,
        requested_by=p.requested_by,
        approvals=p.approvals,
        key=p.idempotency_key,
        comment=p.comment,
    )
    job = propose_job(api, call)
    plan_hash = job.plan.plan_hash if job.plan is not None else None
    intent = Intent(
        request=job.request.model_copy(update={"comment": p.comment}),
        idempotency_key=p.idempotency_key,
        asked=job.asked,
        plan_hash=plan_hash,
        requested_by=job.requested_by,
        planned_messages=job.plan.messages if job.plan is not None else None,
        finds_message=lambda search: _finds_message(api, search),
    )
    watch = DiscoveryWatch(api)

    def limit_of(state: BulkJob, stamp: Stamp, *, created: bool) -> DiscoveryLimit:
        of_plan = None
        if job.plan is not None and stamp.names_plan(job.plan.plan_hash):
            of_plan = job.plan.cancel_if_discovered_over
        return DiscoveryLimit(smallest(p.max_messages, of_plan)).under_policy(api, state, created=created)

    def meanwhile(state: BulkJob, stamp: Stamp, created: bool, seconds: float) -> None:
        # The process may end before the other workers' jobs were looked for: then the job is known already.
        record(changed=created, job_id=state.job_id)
        watch.watch(state, limit_of(state, stamp, created=created), created=created, seconds=seconds)

    made = create_job_once(
        api,
        intent,
        before_post=lambda stamp: clear_job(api, job, stamp),
        not_made=lambda stamp: refund_job(api, stamp),
        meanwhile=meanwhile,
    )
    # The job is watched for a while yet: whoever ends the process before that is told which job it is.
    record(changed=made.created, job_id=made.job.job_id)
    warnings = job.warnings + warnings_of(job.request.search_params)
    if job.plan is not None and p.approvals:
        warnings += mark_approvals_used(api, job.plan.plan_hash)
    if not made.created:
        warnings.append(f"a job for this request already exists ({made.job.job_id}): nothing new was created")
        if made.job.status in ("CANCELLED", "FAILED"):
            warnings.append(f"that job is {made.job.status}: for another one use {ANOTHER_JOB}")
    if plan_hash is not None and not made.stamp.names_plan(plan_hash):
        plan_hash = None
        warnings.append(
            "the job was not made from this plan, so its numbers do not bind it: wait for it without a plan"
        )
    state, tripwire = made.job, None
    # Under a policy nobody is believed to wait: a parameter would lift its limit.
    if api.has_policy or not p.wait_follows or watch.has_stopped(state):
        limit = limit_of(state, made.stamp, created=made.created)
        state, tripwire = watch.watch(state, limit, created=made.created)
        warnings += _discovery_warnings(state, tripwire)
    reused = None
    if not made.created:
        request = job.asked
        reused = describe_reused_job(api, state, request.action, request.destination, request.search_params)
    return result(
        job_id=state.job_id,
        status=state.status,
        created=made.created,
        reused=reused,
        job=state.document(),
        plan_hash=plan_hash,
        requested_by=made.stamp.requested_by or None,
        approved_by=list(made.stamp.approved_by),
        twins=[_twin(twin) for twin in made.twins],
        tripwire=tripwire,
        warnings=warnings + made.warnings,
    )


def _finds_message(api: EmailSecurity, search: SearchParams) -> bool | None:
    """Return whether the search finds any message; None where the message search can't express it."""
    from remediation.guardrails.survey import survey  # noqa: PLC0415 -- only where a job's window may have missed messages

    if scope_of(search).uncountable:
        return None
    return survey(api, search, enough=lambda numbers: numbers.messages > 0).messages > 0


def mark_approvals_used(api: EmailSecurity, plan_hash: str) -> list[str]:
    """Mark the approvals of what was done as used. Returns a warning where that can't be recorded."""
    try:
        spend_approvals(api, plan_hash)
    except ApprovalRefused as refusal:
        return [f"{refusal.message}: the approvals stay reserved for this call alone, and are not marked as used"]
    return []


def preview_of(p: CreateJobParams, action: ActionType, destination: Destination | None = None) -> Preview:
    """Return the call of preview-job that counts what this job would find. A plan is counted again, by its search."""
    given = p.model_dump(mode="json", exclude_unset=True)
    if p.plan is not None:
        given["search_params"] = p.plan.get("search_params")
        destination = destination or p.plan.get("destination")
    elif p.search_params is not None:
        given["search_params"] = p.search_params.request()
    return Preview("preview-job", {**given, "action": action, "destination": destination})


def _discovery_warnings(job: BulkJob, tripwire: Tripwire | None) -> list[str]:
    if tripwire is None:
        return []
    if tripwire.tripped:
        return [
            f"the job discovered {counted(tripwire.discovered, 'message')}, more than the {tripwire.limit} allowed: it "
            f"is {job.status}, {counted(tripwire.processed, 'was', 'were')} processed before that",
            *([] if job.cancelled_note is None else [job.cancelled_note]),
        ]
    if job.status in BEFORE_PROCESSING:
        return [
            f"the job is still {job.status}: pass it to wait-for-job, which cancels it if it discovers more than "
            f"{counted(tripwire.limit, 'message')}"
        ]
    return []


def verdict(result: Mapping[str, Any]) -> int:
    """Return 8 where the job was over its discovery limit, or ended before this call and left messages; else 0."""
    tripwire = result["tripwire"]
    return 8 if (tripwire is not None and tripwire["tripped"]) or leaves_messages(result) else 0


def limits_of(p: JobRequestParams, *, allow_irreversible: bool, allow_malicious: bool) -> Limits:
    """The caps and overrides among the parameters."""
    return Limits(
        max_messages=p.max_messages,
        max_recipients=p.max_recipients,
        allow_broad_search=p.allow_broad_search,
        allow_open_window=p.allow_open_window,
        allow_irreversible=allow_irreversible,
        allow_malicious=allow_malicious,
    )


def warnings_of(search: SearchParams) -> list[str]:
    """What the parameters themselves give reason to say."""
    warnings = []
    if search.detections_only is None:
        warnings.append("detections_only is not given: the API takes true, so mail with a clean verdict is not touched")
    if search.start is None:
        warnings.append("`start` is not given: how far back a job looks is not documented")
    return warnings


def _twin(job: BulkJob) -> Twin:
    return Twin(job_id=job.job_id, status=job.status, discovered=job.total_messages_discovered, processed=job.processed)
