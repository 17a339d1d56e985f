"""What preview-job, create-move-job and release-job share: which messages are meant, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field

from actions.contract.action import ActionParams, ActionResult, Preview
from actions.contract.streams import record
from actions.shapes.approval_parameters import Approvals, Person
from connectors.objects.end_of_life import ACTION_LOG, EXPECTED_DISPOSITION, EndedParameter
from connectors.objects.job import ActionType, BulkJob, Destination
from connectors.objects.search import SearchParams
from remediation.guardrails.limits import Limits
from remediation.guardrails.proposed_job import JobCall
from remediation.jobs.discovery_limit import Tripwire
from remediation.jobs.request import RequestedJob
from remediation.jobs.reused_job import ReusedJob, leaves_messages

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


class DuplicateJob(ActionResult):
    """A later job for the same request. processed: the messages that it processed before it was cancelled."""

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
    duplicates: list[DuplicateJob] = Field(
        description="Later jobs for the same request: cancelled, unless they had ended."
    )
    tripwire: Tripwire | None = Field(
        description="The limit on what the job may discover, as far as this call saw; null where there is none, or "
        "wait_follows is set and no policy."
    )
    warnings: list[str] = Field(description="What a person should know.")


R = TypeVar("R", bound=JobRequestResult)


def announce_job(created: bool, job_id: str) -> None:
    """Record the job for the end of the process, which may come before the action's own result."""
    record(changed=created, job_id=job_id)


def call_of(p: CreateJobParams, action: ActionType, destination: Destination | None, limits: Limits) -> JobCall:
    """Return the job that these parameters ask for."""
    return JobCall(
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
        wait_follows=p.wait_follows,
    )


def result_of(requested: RequestedJob, result: type[R]) -> R:
    """Return the result of an action that requested this job."""
    job, made = requested.job, requested.made
    return result(
        job_id=job.job_id,
        status=job.status,
        created=made.created,
        reused=requested.reused,
        job=job.document(),
        plan_hash=requested.plan_hash,
        requested_by=made.stamp.requested_by or None,
        approved_by=list(made.stamp.approved_by),
        duplicates=[_duplicate(one) for one in made.twins],
        tripwire=requested.tripwire,
        warnings=requested.warnings,
    )


def preview_of(p: CreateJobParams, action: ActionType, destination: Destination | None = None) -> Preview:
    """Return the call of preview-job that counts what this job would find. A plan is counted again, by its search."""
    given = p.model_dump(mode="json", exclude_unset=True)
    if p.plan is not None:
        given["search_params"] = p.plan.get("search_params")
        destination = destination or p.plan.get("destination")
    elif p.search_params is not None:
        given["search_params"] = p.search_params.request()
    return Preview("preview-job", {**given, "action": action, "destination": destination})


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


def _duplicate(job: BulkJob) -> DuplicateJob:
    return DuplicateJob(
        job_id=job.job_id, status=job.status, discovered=job.total_messages_discovered, processed=job.processed
    )
