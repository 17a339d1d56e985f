"""What create-move-job and release-job share: parameters, guardrails, the one job that comes of it."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field

from actions.contract import ActionParams, ActionResult
from connectors.email_security import EmailSecurity
from connectors.errors import BroadSearchRefused, TooManyMessages, UncountableSearch
from connectors.job import ActionType, BulkJobRequest, Destination
from connectors.job_creation import create_job_once
from connectors.search import DEPRECATED, Disposition, SearchParams
from guardrails.search_scope import scope_of


class JobRequestParams(ActionParams):
    """Which messages, why, and what must hold before a job is created."""

    search_params: SearchParams = Field(description="Which messages are meant; all criteria given must hold.")
    comment: str | None = Field(
        None, max_length=1000, description="Why the job is run; kept with the job, behind a stamp."
    )
    max_messages: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Refuse where a message search finds more than this many messages (one for each mailbox).",
    )
    allow_broad_search: bool = Field(
        False, description="Allow search_params without a criterion that narrows the search to certain messages."
    )
    idempotency_key: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="The intent's own ID, an alert's or a case's: any number of calls with it make one job.",
    )
    expected_disposition: Disposition | None = Field(
        None,
        json_schema_extra=DEPRECATED,
        description="Does nothing and ends on 2026-12-01: taken, warned about, not sent.",
    )


class JobRequestResult(ActionResult):
    """The job, and whether this call made it."""

    job_id: str = Field(description="The job's UUID.")
    status: str = Field(description="The job's status.")
    created: bool = Field(description="False where a job with the same idempotency_key stood already.")
    job: dict[str, Any] = Field(description="The job as the API describes it.")
    warnings: list[str] = Field(description="What a person should know.")


R = TypeVar("R", bound=JobRequestResult)


def request_job(
    p: JobRequestParams,
    api: EmailSecurity,
    result: type[R],
    action: ActionType,
    destination: Destination | None = None,
) -> R:
    """Check the guardrails, then make sure that exactly one job stands."""
    if not p.search_params.is_narrow() and not p.allow_broad_search:
        raise BroadSearchRefused("search_params has no criterion that narrows the search to certain messages")
    warnings = _warnings(p)
    # Its parts are checked already; to check them again would cost the model's building at every start of a process.
    request = BulkJobRequest.model_construct(
        action=action, destination=destination, comment=p.comment, search_params=p.search_params
    )

    def refuse_over_cap() -> list[str]:
        """Asked only before a POST: a job that stands already is adopted, whatever its search would find by now."""
        return [] if p.max_messages is None else _refuse_over_cap(p.search_params, p.max_messages, api)

    made = create_job_once(api, request, p.idempotency_key, refuse_over_cap)
    if not made.created:
        warnings.append("a job with this idempotency_key stood already: it was adopted, nothing was created")
    return result(
        job_id=made.job.job_id,
        status=made.job.status,
        created=made.created,
        job=made.job.document(),
        warnings=warnings + made.warnings,
    )


def _warnings(p: JobRequestParams) -> list[str]:
    search = p.search_params
    warnings = []
    if p.expected_disposition is not None:
        warnings.append("expected_disposition does nothing, ends on 2026-12-01 and was not sent")
    if search.action_log is not None:
        warnings.append("search_params.action_log is past its end of life (2026-11-01) and was not sent")
    if search.detections_only is None:
        warnings.append("detections_only is not given: the API takes true, so mail with a clean verdict is not touched")
    if search.start is None:
        warnings.append("start is not given: how far back a job looks is not documented")
    return warnings


def _refuse_over_cap(search: SearchParams, cap: int, api: EmailSecurity) -> list[str]:
    """Count by message search. Raises: TooManyMessages, UncountableSearch."""
    scope = scope_of(search)
    if scope.uncountable:
        raise UncountableSearch(f"max_messages can't be kept: {scope.uncountable}")
    copies = 0
    for message in api.search_messages(scope.query):
        if scope.holds(message):
            copies += message.copies
        if copies > cap:
            raise TooManyMessages(f"the search finds more than {cap} messages (counted {copies}, then stopped)")
    return scope.notes
