"""The routes of the six operations on bulk action jobs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response

from sandbox import envelope
from sandbox.account import Account
from sandbox.clock import SECOND
from sandbox.contract.requests import BulkJobRequest, SearchParams
from sandbox.contract.results import BulkJob, BulkJobMessage, DeletedJob, Listed, Success
from sandbox.contract.values import ActionType, JobStatus, MessageStatus
from sandbox.envelope import ApiError, Notice, page_info
from sandbox.job_life import JobEndedError, JobRunningError
from sandbox.jobs import JobOrder, job_message_view, job_view
from sandbox.operations import CANCEL_JOB, CREATE_JOB, DELETE_JOB, GET_JOB, LIST_JOB_MESSAGES, LIST_JOBS
from sandbox.paging import cut, first_of
from sandbox.routes.context import (
    FIRST_PAGE,
    PER_PAGE,
    JobId,
    Page,
    PerPage,
    ThisAccount,
    faults_met,
    good,
    job_of,
    token_of,
)
from sandbox.routes.documents import route_arguments

router = APIRouter()

Item = TypeVar("Item")


@router.get(**route_arguments(LIST_JOBS, {200: Listed[BulkJob]}))
async def list_jobs(
    request: Request,
    account: ThisAccount,
    page: Page = FIRST_PAGE,
    per_page: PerPage = PER_PAGE,
    action_type: ActionType | None = None,
    status: JobStatus | None = None,
) -> Response:
    """List bulk action jobs, the latest first."""
    lag = faults_met(request).shaping.get("lag")
    with account.present() as now:
        jobs = account.jobs.list_jobs(action_type, status)
        if lag is not None:
            latest = now - round((lag.seconds or 0) * SECOND)
            jobs = [job for job in jobs if job.created_at <= latest]
        purpose = ["jobs", action_type, status]
        return _page_of(request, account, jobs, purpose, page, per_page, lambda job: job_view(job, now))


@router.post(**route_arguments(CREATE_JOB, {201: Success[BulkJob]}))
async def create_job(request: Request, account: ThisAccount, body: BulkJobRequest) -> Response:
    """Create a bulk action job. Two equal calls create two jobs, because the API has no idempotency keys."""
    if body.action == "MOVE" and body.destination is None:
        raise ApiError(400, Notice(envelope.BAD_REQUEST, "destination is required when action is MOVE", "/destination"))
    order = JobOrder(
        action=body.action,
        destination=body.destination,
        expected_disposition=body.expected_disposition,
        comment=body.comment,
        criteria=body.search_params.criteria(),
        search_params=body.search_params.view(),
        action_log=body.search_params.action_log,
        ignored_params=await _ignored(request),
    )
    fail = faults_met(request).shaping.get("fail_job")
    with account.present() as now:
        job = account.jobs.create(order, now, token_of(request).name, fail.rows if fail else None)
        account.record_effect(CREATE_JOB.id, job.job_id)
        return good(job_view(job, now), status=201)


@router.get(**route_arguments(GET_JOB, {200: Success[BulkJob]}))
async def get_job(account: ThisAccount, job_id: JobId) -> Response:
    """Get a bulk action job."""
    with account.present() as now:
        return good(job_view(job_of(account, job_id), now))


@router.delete(**route_arguments(DELETE_JOB, {200: Success[DeletedJob]}, 409))
async def delete_job(account: ThisAccount, job_id: JobId) -> Response:
    """Delete a bulk action job. Only COMPLETED, CANCELLED or FAILED jobs can be deleted."""
    with account.present():
        job = job_of(account, job_id)
        try:
            account.jobs.delete(job)
        except JobRunningError:
            raise ApiError(
                409,
                Notice(
                    envelope.CONFLICT, f"Only completed, cancelled or failed jobs can be deleted: it is {job.status}"
                ),
            ) from None
        account.record_effect(DELETE_JOB.id, job.job_id)
        return good({"id": job.job_id})


@router.post(**route_arguments(CANCEL_JOB, {200: Success[BulkJob]}, 409))
async def cancel_job(account: ThisAccount, job_id: JobId) -> Response:
    """Cancel a job. Pending messages are not processed; the job stays visible."""
    with account.present() as now:
        job = job_of(account, job_id)
        try:
            account.jobs.cancel(job, now)
        except JobEndedError:
            raise ApiError(409, Notice(envelope.CONFLICT, f"The job has ended already: it is {job.status}")) from None
        account.record_effect(CANCEL_JOB.id, job.job_id)
        return good(job_view(job, now))


@router.get(**route_arguments(LIST_JOB_MESSAGES, {200: Listed[BulkJobMessage]}))
async def list_job_messages(
    request: Request,
    account: ThisAccount,
    job_id: JobId,
    page: Page = FIRST_PAGE,
    per_page: PerPage = PER_PAGE,
    status: MessageStatus | None = None,
) -> Response:
    """List the messages of a job, one row per message and recipient."""
    with account.present() as now:
        job = job_of(account, job_id)
        rows = job.list_rows(status, account.settings.row_order)
        purpose = ["rows", job.job_id, status]
        return _page_of(
            request,
            account,
            rows,
            purpose,
            page,
            per_page,
            lambda row: job_message_view(account.tenant, job, row, now),
        )


def _page_of(
    request: Request,
    account: Account,
    items: Sequence[Item],
    purpose: list[str | None],
    page: int,
    per_page: int,
    view: Callable[[Item], dict[str, Any]],
) -> Response:
    shaping = faults_met(request).shaping
    start = first_of(page, per_page)
    shift = shaping.get("shift_rows")
    if shift is not None and start > 0:
        start = max(0, start - (shift.by or 0))
    cursor = account.cursors.open(purpose, request.query_params.get("cursor", ""))
    if cursor is not None:
        start = cursor[0]
    if "repeat_page" in shaping:
        start = 0
    shown = cut(() if "empty_page" in shaping else items, start=start, per_page=per_page)
    next_cursor = None
    if "cursor" in shaping and shown.end is not None:
        next_cursor = account.cursors.seal(purpose, [shown.end])
    return good([view(item) for item in shown.items], page_info(len(shown.items), per_page, next_cursor))


async def _ignored(request: Request) -> tuple[str, ...]:
    """Return the unknown search parameters. The API ignores them, so the search is wider than intended."""
    body = await request.json()
    return tuple(name for name in body["search_params"] if name not in SearchParams.model_fields)
