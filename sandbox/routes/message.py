"""The routes of one message: its details, its action log, and its preview image."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from sandbox import envelope
from sandbox.account import Account
from sandbox.clock import Instant, iso
from sandbox.contract.results import MessageActionEntry, MessageDetails, Numbered, Preview, Success
from sandbox.contract.values import QueryBoolean
from sandbox.envelope import ApiError, Notice, numbered_page_info
from sandbox.message import CLEAN, LogEntry, Message
from sandbox.message_details import message_details
from sandbox.operations import GET_MESSAGE, GET_MESSAGE_PREVIEW, LIST_MESSAGE_ACTIONS
from sandbox.paging import cut, first_of
from sandbox.routes.context import FIRST_PAGE, PER_PAGE, Page, PerPage, ThisAccount, faults_met, good, token_of
from sandbox.routes.documents import route_arguments

router = APIRouter()

InvestigateId = Annotated[str, Path(examples=["4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678"])]

# One transparent pixel.
_PICTURE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@router.get(**route_arguments(GET_MESSAGE, {200: Success[MessageDetails]}))
async def get_message(
    account: ThisAccount,
    investigate_id: InvestigateId,
    submission: Annotated[
        QueryBoolean,
        Query(description="true: search only submissions. false or absent: search only ordinary mail."),
    ] = False,
) -> Response:
    """Get a message."""
    with account.present() as now:
        message = _message_of(account, investigate_id, now)
        if message.submission != submission:
            raise _not_found()
        return good(message_details(account.tenant, message, now))


@router.get(**route_arguments(LIST_MESSAGE_ACTIONS, {200: Numbered[MessageActionEntry]}))
async def list_message_actions(
    request: Request,
    account: ThisAccount,
    investigate_id: InvestigateId,
    page: Page = FIRST_PAGE,
    per_page: PerPage = PER_PAGE,
) -> Response:
    """List the actions on a message after delivery, latest attempt first. Replaces the embedded action_log."""
    with account.present() as now:
        log = list(reversed(_message_of(account, investigate_id, now).log or []))
        hidden = "empty_page" in faults_met(request).shaping
        shown = () if hidden else cut(log, start=first_of(page, per_page), per_page=per_page).items
        return good([_entry_view(entry) for entry in shown], numbered_page_info(len(shown), per_page, page, len(log)))


@router.get(**route_arguments(GET_MESSAGE_PREVIEW, {200: Success[Preview]}))
async def get_message_preview(request: Request, account: ThisAccount, investigate_id: InvestigateId) -> Response:
    """Get an image of the body, only for messages with a detection. It adds an entry to the action log."""
    with account.present() as now:
        message = _message_of(account, investigate_id, now)
        if message.disposition == CLEAN:
            raise _not_found()
        message.note(LogEntry(now, "PREVIEW", None, None, token_of(request).name))
        return good({"screenshot": _PICTURE})


def _message_of(account: Account, investigate_id: str, now: Instant) -> Message:
    message = account.tenant.by_id(investigate_id)
    if message is None or message.time > now:
        raise _not_found()
    return message


def _not_found() -> ApiError:
    return ApiError(404, Notice(envelope.NOT_FOUND, "Message not found"))


def _entry_view(entry: LogEntry) -> dict[str, Any]:
    """Return the MessageActionEntry of the API's schema. It names no recipient and no job."""
    return {
        "operation": entry.operation,
        "started_at": iso(entry.at if entry.started_at is None else entry.started_at),
        "completed_at": iso(entry.at),
        "success": entry.success,
        "status": entry.reason or "OK",
        "properties": {
            "folder": entry.folder,
            "requested_by": entry.requested_by,
            "requested_disposition": None,
            "service": None,
            "submission_id": None,
            "submission_type": None,
        },
    }
