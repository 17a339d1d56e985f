"""Request a job: check the guardrails, create or reuse the job, and watch its discovery limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from connectors.objects.job import BEFORE_PROCESSING, BulkJob
from core.errors import ANOTHER_JOB
from core.json_model import JsonModel
from core.quantity import counted
from remediation.guardrails.approvals.spent import mark_approvals_used
from remediation.guardrails.proposed_job import JobCall, ProposedJob
from remediation.guardrails.search_scope import search_warnings
from remediation.jobs.clearance import clear_job, propose_job, refund_job
from remediation.jobs.creation import JobRequest, create_job_once
from remediation.jobs.discovery_limit import DiscoveryLimit, DiscoveryWatch, LimitState, smallest
from remediation.jobs.reused_job import ReusedJob, describe_reused_job
from remediation.stamp import Stamp


class DuplicateJob(JsonModel):
    """A later job for the same request, which this call cancelled."""

    job_id: str = Field(description="The job's UUID.")
    status: str = Field(description="Its status after the cancel.")
    discovered: int = Field(description="Messages that it found.")
    processed: int = Field(description="Messages that it processed before it was cancelled.")


class RequestedJob(JsonModel):
    """The job, and whether this call made it."""

    job_id: str = Field(description="The job's UUID.")
    status: str = Field(description="The job's status.")
    created: bool = Field(description="False if a job for this request already existed.")
    reused: ReusedJob | None = Field(
        description="If `created` is false: the existing job, and the messages that it left. Null for a new job."
    )
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    plan_hash: str | None = Field(description="The hash of the plan, if the job was made from it; else null.")
    requested_by: str | None = Field(
        description="The requester in the job's tag, or null. Not proved unless CFES_PLAN_KEY is set."
    )
    approved_by: list[str] = Field(
        description="The approvers in the job's tag. Not proved unless CFES_PLAN_KEY is set."
    )
    duplicates: list[DuplicateJob] = Field(
        description="Later jobs for the same request: cancelled, unless they had ended."
    )
    cancel_if_discovered_over: int | None = Field(
        description="The limit for wait-for-job: max_messages, or the plan's if the job was made from it and that is "
        "smaller; null without a limit."
    )
    discovery_limit: LimitState | None = Field(
        description="The limit on the messages that the job may discover, and whether it was exceeded; null without a "
        "limit, or if wait_follows is set and there is no policy."
    )
    warnings: list[str] = Field(description="Warnings for a person.")


def request_job(api: EmailSecurity, call: JobCall, announce: Callable[..., None]) -> RequestedJob:
    """Check the guardrails, then create the job of the call or reuse the existing one.

    announce: is called with `changed` (whether this call created the job) and `job_id` as soon as the job is known: the
    process may end while the job is watched.

    Raises: ParameterError, GuardrailRefusal, and what remediation.jobs.creation.create_job_once raises.
    """
    job, watch = propose_job(api, call), DiscoveryWatch(api)

    def meanwhile(state: BulkJob, stamp: Stamp, created: bool, seconds: float) -> None:
        announce(changed=created, job_id=state.job_id)
        limit = _discovery_limit(call, job, stamp).under_policy(api, state, created=created)
        watch.watch(state, limit, created=created, seconds=seconds)

    job_request = JobRequest(
        request=job.request.model_copy(update={"comment": call.comment}),
        idempotency_key=call.key,
        asked=job.asked,
        plan_hash=None if job.plan is None else job.plan.plan_hash,
        requested_by=job.requested_by,
        planned_messages=None if job.plan is None else job.plan.messages,
    )
    made = create_job_once(
        api,
        job_request,
        before_post=lambda stamp: clear_job(api, job, stamp),
        not_made=lambda stamp: refund_job(api, stamp),
        meanwhile=meanwhile,
    )
    announce(changed=made.created, job_id=made.job.job_id)
    warnings = [*job.warnings, *search_warnings(job.request.search_params)]
    if job.plan is not None and call.approvals:
        warnings += mark_approvals_used(api, job.plan.plan_hash)
    state, limit_state, reused = made.job, None, None
    if not made.created:
        warnings.append(f"a job for this request already exists ({state.job_id}): nothing new was created")
        if state.status in ("CANCELLED", "FAILED"):
            warnings.append(f"that job is {state.status}: for another job use {ANOTHER_JOB}")
    plan_hash = job_request.plan_hash
    if plan_hash is not None and not made.stamp.names_plan(plan_hash):
        plan_hash = None
        warnings.append(
            "the job was not made from this plan, so the plan does not limit it: wait for it without a plan"
        )
    limit = _discovery_limit(call, job, made.stamp)
    # A policy's limit is always watched. `wait_follows` is only a promise: it must not lift that limit.
    if api.has_policy or not call.wait_follows or watch.has_stopped(state):
        watched = limit.under_policy(api, state, created=made.created)
        state, limit_state = watch.watch(state, watched, created=made.created)
        warnings += _discovery_warnings(state, limit_state)
    if not made.created:
        reused = describe_reused_job(api, state, job.asked)
    return RequestedJob(
        job_id=state.job_id,
        status=state.status,
        created=made.created,
        reused=reused,
        job=state.document(),
        plan_hash=plan_hash,
        requested_by=made.stamp.requested_by or None,
        approved_by=list(made.stamp.approved_by),
        duplicates=[
            DuplicateJob(
                job_id=one.job_id, status=one.status, discovered=one.total_messages_discovered, processed=one.processed
            )
            for one in made.duplicates
        ],
        cancel_if_discovered_over=limit.messages,
        discovery_limit=limit_state,
        warnings=[*warnings, *made.warnings, *_folder_warnings(state)],
    )


def _discovery_limit(call: JobCall, job: ProposedJob, stamp: Stamp) -> DiscoveryLimit:
    """Return the smaller of the call's limit and the plan's, where the job was made from the plan."""
    of_plan = None
    if job.plan is not None and stamp.names_plan(job.plan.plan_hash):
        of_plan = job.plan.cancel_if_discovered_over
    return DiscoveryLimit(smallest(call.limits.max_messages, of_plan))


def _folder_warnings(job: BulkJob) -> list[str]:
    destination = (job.document().get("action_params") or {}).get("destination")
    recovery = recovery_from(destination)
    if destination == "Inbox":
        return ["messages moved to Inbox are delivered to their users"]
    return [] if recovery is None else [recovery]


def _discovery_warnings(job: BulkJob, limit_state: LimitState | None) -> list[str]:
    if limit_state is None:
        return []
    if limit_state.tripped:
        return [limit_state.warning(job), *([] if job.cancelled_note is None else [job.cancelled_note])]
    if job.status in BEFORE_PROCESSING:
        return [
            f"the job is still {job.status}: pass it to wait-for-job, which cancels it if it discovers more than "
            f"{counted(limit_state.limit, 'message')}"
        ]
    return []
