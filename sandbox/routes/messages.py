"""The routes of the message search, and of moving and releasing messages by ID."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response

from sandbox import envelope
from sandbox.account import Account
from sandbox.clock import SECOND, Instant, iso, iso_seconds, parse_instant
from sandbox.contract.requests import MoveOneRequest, MoveRequest, ReleaseRequest
from sandbox.contract.results import Listed, MessageDetails, MoveRow, ReleaseRow, Success, Underway
from sandbox.contract.values import NOVEMBER as NOVEMBER_TEXT
from sandbox.contract.values import DateTimeText, DeliveryStatus, MessageAction, QueryBoolean, SearchedDisposition
from sandbox.correspondence import LOOK_BACK
from sandbox.delivery import NOT_QUARANTINED
from sandbox.end_of_life import NOVEMBER, until
from sandbox.envelope import ApiError, Notice, page_info
from sandbox.message import Message
from sandbox.message_details import message_details
from sandbox.operations import MOVE_MESSAGE, MOVE_MESSAGES, RELEASE_MESSAGES, SEARCH_MESSAGES
from sandbox.paging import cut, first_of, search_purpose
from sandbox.routes.context import (
    PER_PAGE,
    Page,
    PerPage,
    ThisAccount,
    answer,
    base_url,
    faults_met,
    good,
    token_of,
)
from sandbox.routes.documents import route_arguments
from sandbox.search import Criteria, find

router = APIRouter()

_SEARCH_ID = "search_id"


@router.get(**route_arguments(SEARCH_MESSAGES, {200: Listed[MessageDetails], 202: Underway}))
async def search_messages(
    request: Request,
    account: ThisAccount,
    start: Annotated[DateTimeText | None, Query(description="Default now - 30 days. Not in the future.")] = None,
    end: Annotated[DateTimeText | None, Query(description="Default now.")] = None,
    query: Annotated[str | None, Query(description="Space-delimited, case-insensitive.")] = None,
    detections_only: QueryBoolean = True,
    final_disposition: SearchedDisposition | None = None,
    metric: Annotated[str | None, Query(description="Aggregates; in a job it filters.")] = None,
    message_action: MessageAction | None = None,
    recipient: Annotated[str | None, Query(description="Address or domain.")] = None,
    sender: Annotated[str | None, Query(description="Address or domain.")] = None,
    smtp_helo_ip: str | None = None,
    alert_id: str | None = None,
    domain: Annotated[str | None, Query(description="Sender domain, recipient domain or a domain in a link.")] = None,
    message_id: Annotated[str | None, Query(description="RFC 5322 Message-ID.")] = None,
    subject: Annotated[str | None, Query(description="Keywords in any order.")] = None,
    delivery_status: DeliveryStatus | None = None,
    cursor: Annotated[str | None, Query(description="The previous response's result_info.next.")] = None,
    per_page: PerPage = PER_PAGE,
    page: Annotated[Page | None, Query(deprecated=True, json_schema_extra={"x-sunset": NOVEMBER_TEXT})] = None,
) -> Response:
    """Search messages, as a bulk job with the same parameters does. The search supports fewer parameters."""
    with account.present() as now:
        criteria = Criteria(
            start=_start(start, now),
            end=parse_instant(end) if end else None,
            query=query,
            detections_only=detections_only,
            final_disposition=final_disposition,
            metric=metric,
            message_action=message_action,
            recipient=recipient,
            sender=sender,
            smtp_helo_ip=smtp_helo_ip,
            alert_id=alert_id,
            domain=domain,
            message_id=message_id,
            subject=subject,
            delivery_status=delivery_status,
        )
        purpose = search_purpose({name: value for name, value in request.query_params.items() if name != _SEARCH_ID})
        after = _after(account, purpose, cursor)
        ready_at = _ready_at(request, account, purpose, now, continued=cursor is not None)
        if ready_at > now:
            return _later(request, account, purpose, ready_at, per_page)
        if "repeat_page" in faults_met(request).shaping:
            after = page = None
        # `page` is removed, but the official SDK still uses it. What the API does with it is not documented.
        skip = first_of(page, per_page) if page is not None and after is None else 0
        found = find(account.tenant, criteria, now, after=after, skip=skip, most=per_page + 1)
        return _page_of_search(request, account, found, purpose, per_page, now)


def _start(given: str | None, now: Instant) -> Instant:
    if not given:
        return now - LOOK_BACK
    start = parse_instant(given)
    if start > now:
        raise ApiError(400, Notice(envelope.BAD_REQUEST, "start must not be in the future", "/start"))
    return start


def _after(account: Account, purpose: object, cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    position = account.cursors.open(purpose, cursor)
    if position is None:
        raise ApiError(400, Notice(envelope.BAD_REQUEST, "The cursor is not one of this search", "/cursor"))
    return position[0], position[1]


def _ready_at(request: Request, account: Account, purpose: object, now: Instant, *, continued: bool) -> Instant:
    """Return the time of the result. It is part of the URL to poll, so that the sandbox stores no state."""
    given = request.query_params.get(_SEARCH_ID)
    if given is not None:
        position = account.cursors.open(["slow", purpose], given)
        if position is None:
            raise ApiError(400, Notice(envelope.BAD_REQUEST, "There is no such search", f"/{_SEARCH_ID}"))
        return position[0]
    fault = faults_met(request).shaping.get("slow_search")
    seconds = fault.seconds if fault else 0.0 if continued else account.settings.slow_search_seconds
    return now + round((seconds or 0.0) * SECOND)


def _later(request: Request, account: Account, purpose: object, ready_at: Instant, per_page: int) -> Response:
    query = [(name, value) for name, value in request.query_params.multi_items() if name != _SEARCH_ID]
    query.append((_SEARCH_ID, account.cursors.seal(["slow", purpose], [ready_at])))
    fault = faults_met(request).shaping.get("slow_search")
    location = (fault and fault.location) or f"{base_url(request)}{request.url.path}?{urlencode(query)}"
    return answer(envelope.success([], page_info(0, per_page)), 202, {"Location": location})


def _page_of_search(
    request: Request, account: Account, found: list[Message], purpose: object, per_page: int, now: Instant
) -> Response:
    if "empty_page" in faults_met(request).shaping:
        return good([], page_info(0, per_page))
    shown = cut(found, start=0, per_page=per_page)
    next_cursor = None
    if shown.end is not None:
        last = shown.items[-1]
        next_cursor = account.cursors.seal(purpose, [last.time, last.number])
    details = [message_details(account.tenant, message, now) for message in shown.items]
    return good(details, page_info(len(details), per_page, next_cursor))


@router.post(**route_arguments(MOVE_MESSAGES, {200: Success[list[MoveRow]]}))
async def move_messages(request: Request, account: ThisAccount, body: MoveRequest) -> Response:
    """Move a list of messages: one result row per message and recipient. Needs an active integration."""
    with account.present() as now:
        rows = [
            row
            for investigate_id in body.ids
            for row in _move(account, investigate_id, body.destination, now, token_of(request).name)
        ]
        account.record_effect(MOVE_MESSAGES.id, *body.ids)
        return good(rows)


@router.post(**route_arguments(MOVE_MESSAGE, {200: Success[list[MoveRow]]}))
async def move_message(
    request: Request, account: ThisAccount, investigate_id: Annotated[str, Path()], body: MoveOneRequest
) -> Response:
    """Move one message: one result row per recipient."""
    with account.present() as now:
        if account.tenant.by_id(investigate_id) is None:
            raise ApiError(404, Notice(envelope.NOT_FOUND, "Message not found"))
        rows = _move(account, investigate_id, body.destination, now, token_of(request).name)
        account.record_effect(MOVE_MESSAGE.id, investigate_id)
        return good(rows)


def _move(account: Account, investigate_id: str, destination: str, now: Instant, by: str) -> list[dict[str, Any]]:
    message = account.tenant.by_id(investigate_id)
    if message is None or message.time > now:
        return [_move_row(investigate_id, None, destination, now, "Message not found", success=False)]
    rows = []
    for recipient in message.recipients:
        outcome = account.delivery.attempt(
            "MOVE",
            message,
            recipient,
            folder=destination,
            tries_before=account.tries[message.number, recipient],
            at=now,
            requested_by=by,
        )
        account.tries[message.number, recipient] += 1
        message_id = account.tenant.message_id_of(message)
        rows.append(_move_row(message_id, recipient, destination, now, outcome.reason or "OK", success=outcome.done))
    return rows


def _move_row(
    message_id: str, recipient: str | None, destination: str, now: Instant, status: str, *, success: bool
) -> dict[str, Any]:
    return {
        "success": success,
        "completed_at": iso(now),
        "destination": destination,
        "message_id": message_id,
        "operation": "MOVE",
        "recipient": recipient,
        "status": status,
        **until(NOVEMBER, now, {"completed_timestamp": iso_seconds(now), "item_count": 1}),
    }


@router.post(**route_arguments(RELEASE_MESSAGES, {200: Success[list[ReleaseRow]]}))
async def release_messages(request: Request, account: ThisAccount, body: ReleaseRequest) -> Response:
    """Release a list of quarantined messages: one result row per message, with its recipients by outcome."""
    with account.present() as now:
        rows = [_release(account, investigate_id, now, token_of(request).name) for investigate_id in body.ids]
        account.record_effect(RELEASE_MESSAGES.id, *body.ids)
        return good(rows)


def _release(account: Account, investigate_id: str, now: Instant, by: str) -> dict[str, Any]:
    """Release a message and return its row. For a message that does not exist, the row has no recipients."""
    row: dict[str, Any] = {"id": investigate_id, "delivered": [], "failed": [], "undelivered": []}
    message = account.tenant.by_id(investigate_id)
    if message is None or message.time > now:
        return row
    row |= until(NOVEMBER, now, {"postfix_id": account.tenant.postfix_id_of(message)})
    for recipient in message.recipients:
        outcome = account.delivery.attempt(
            "RELEASE",
            message,
            recipient,
            folder="Inbox",
            tries_before=account.tries[message.number, recipient],
            at=now,
            requested_by=by,
        )
        account.tries[message.number, recipient] += 1
        row[_RELEASED_AS[outcome.done, outcome.reason == NOT_QUARANTINED]].append(recipient)
    return row


# By (done, was not quarantined): releasing a message that is not quarantined is "failed", other failures "undelivered".
_RELEASED_AS = {(True, False): "delivered", (False, True): "failed", (False, False): "undelivered"}
