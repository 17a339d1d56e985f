"""The parameters and results that preview-job, create-job, create-move-job and release-job share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from actions.contract.action import ActionParams, Preview
from actions.shapes.approval_parameters import Approvals, Person
from connectors.objects.end_of_life import ACTION_LOG, EXPECTED_DISPOSITION, EndedParameter
from connectors.objects.job import ActionType, Destination
from connectors.objects.search import SearchParams
from remediation.guardrails.limits import Limits
from remediation.guardrails.proposed_job import JobCall


def _is_not_blank(key: str) -> str:
    if not key.strip():
        raise ValueError("is blank: it needs a character that is not white space")
    return key


class JobRequestParams(ActionParams):
    """The reason, the requester, and the limits of a job."""

    ended: ClassVar[Sequence[EndedParameter]] = (EXPECTED_DISPOSITION, ACTION_LOG)

    comment: str | None = Field(
        None, max_length=1000, description="The reason. Stored in the job's comment, after a tag."
    )
    max_messages: int | None = Field(
        None, ge=1, le=1_000_000, description="Refuse more messages than this, one for each mailbox."
    )
    max_recipients: int | None = Field(
        None, ge=1, le=1_000_000, description="Refuse more distinct recipients than this."
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
        description="Idempotency key, such as the ID of an alert or a case. Calls with the same key create one job. "
        "Compared in Unicode form NFC, without white space around it; case matters.",
    )
    requested_by: Person | None = Field(
        None, description="Requester: a login or an address. If CFES_REQUESTED_BY is set, any other name is refused."
    )


class PlannedJobParams(JobRequestParams):
    """The same for a job that is created, and how far it may depart from its plan."""

    max_drift: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="By how many percent the count may differ from the plan's. It only lowers the limit of plan, "
        "policy and folder: 0 for the two RecoverableItems folders, else 10.",
    )
    approvals: Approvals = Field(
        default_factory=list,
        max_length=10,
        description="Approvals of the plan: tokens of `cfes approve`, or its output. A rejection refuses the job.",
    )
    wait_follows: bool = Field(
        False,
        description="Whether wait-for-job follows at once with the same plan or limit. Otherwise, and with a policy, "
        "the action polls the new job for up to a minute, and cancels it if it discovers more than the limit.",
    )


class CreateJobParams(PlannedJobParams):
    """The same for a job whose search is given, or whose plan."""

    # A field's own schema can't express that one of the two is required.
    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["search_params"]}, {"required": ["plan"]}]})

    @classmethod
    def missing(cls, given: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of the required parameters that are missing. A plan has them all."""
        parts = [name for name in ("search_params", "destination") if name in cls.model_fields]
        return [name for name in parts if given.get("plan") is None and given.get(name) is None]

    search_params: SearchParams | None = Field(
        None, description="The search for the messages: all given criteria must match. Required without a plan."
    )
    plan: dict[str, Any] | None = Field(
        None, description="The result of preview-job. Its search is counted again, and must not have drifted."
    )


def call_of(p: CreateJobParams, action: ActionType, destination: Destination | None = None) -> JobCall:
    """Return the job that these parameters ask for."""
    return planned_call(p, p.plan)._replace(action=action, destination=destination, search=p.search_params)


def planned_call(p: PlannedJobParams, plan: Mapping[str, Any] | None) -> JobCall:
    """Return the job of a plan, with the reason, the requester and the limits of these parameters."""
    return JobCall(
        action=None,
        destination=None,
        search=None,
        plan=plan,
        limits=Limits.among(vars(p)),
        max_drift=p.max_drift,
        requested_by=p.requested_by,
        approvals=p.approvals,
        key=p.idempotency_key,
        comment=p.comment,
        wait_follows=p.wait_follows,
    )


def preview_of(p: CreateJobParams, action: ActionType, destination: Destination | None = None) -> Preview:
    """Return the call of preview-job that counts the messages of this job. A plan is counted again by its search."""
    given = p.model_dump(mode="json", exclude_unset=True)
    if p.plan is not None:
        given["search_params"] = p.plan.get("search_params")
        destination = destination or p.plan.get("destination")
    elif p.search_params is not None:
        given["search_params"] = p.search_params.request()
    return Preview("preview-job", {**given, "action": action, "destination": destination})


def verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if the job exceeded its discovery limit, or had ended before this call and left messages."""
    limit, reused = result["discovery_limit"], result["reused"]
    leaves_messages = reused is not None and reused["ended"] and reused["remaining"] != 0
    return 8 if (limit is not None and limit["tripped"]) or leaves_messages else 0
