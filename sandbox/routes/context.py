"""The context of a request for routes: account, token, faults and paging; and helpers for responses."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response

from sandbox import envelope
from sandbox.access import Token
from sandbox.account import Account
from sandbox.contract.values import UuidText
from sandbox.envelope import ApiError, Notice
from sandbox.faults import Met
from sandbox.jobs import Job
from sandbox.paging import DEFAULT_PER_PAGE, MAX_PER_PAGE

AccountId = Annotated[str, Path(max_length=32, examples=["023e105f4ecef8ad9ca31a8372d0c353"])]
JobId = Annotated[UuidText, Path()]
Page = Annotated[int, Query(ge=1)]
PerPage = Annotated[int, Query(ge=1, le=MAX_PER_PAGE)]

FIRST_PAGE = 1
PER_PAGE = DEFAULT_PER_PAGE


def account_of(request: Request) -> Account:
    account: Account = request.scope["account"]
    return account


async def _account_named(request: Request, account_id: AccountId) -> Account:
    account = account_of(request)
    if account_id != account.access.account_id:
        # The edge has refused every other account, so this is a defect of the sandbox.
        raise LookupError(account_id)
    return account


ThisAccount = Annotated[Account, Depends(_account_named)]


def token_of(request: Request) -> Token:
    token: Token = request.scope["token"]
    return token


def faults_met(request: Request) -> Met:
    met: Met = request.scope["met"]
    return met


def base_url(request: Request) -> str:
    """Return the URL under which the caller reached the sandbox, without the API's base path."""
    return f"{request.url.scheme}://{request.url.netloc}"


def answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def good(result: object, result_info: dict[str, Any] | None = None, status: int = 200) -> Response:
    return answer(envelope.success(result, result_info), status)


def job_of(account: Account, job_id: str) -> Job:
    """Return the job. Raises ApiError if it does not exist or was deleted."""
    job = account.jobs.get(job_id.lower())
    if job is None:
        raise ApiError(404, Notice(envelope.NOT_FOUND, "Bulk action job not found"))
    return job
