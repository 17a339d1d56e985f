"""The sandbox's own controls below /_sandbox, without credentials and rate limit. They are not part of the API."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from sandbox import envelope
from sandbox.account import Account
from sandbox.clock import SECOND, Instant, iso, parse_instant
from sandbox.contract.requests import ClockRequest, MailboxRequest, MailRequest
from sandbox.correspondence import attachment
from sandbox.envelope import ApiError, Notice
from sandbox.faults import Fault
from sandbox.message import CLEAN, DELIVERED, Attachment, Message, Sender
from sandbox.operations import BASE_PATH, CONTROL_PATH
from sandbox.post_delivery import Timestamps, post_delivery_events
from sandbox.routes.context import account_of, answer, base_url

router = APIRouter(prefix=CONTROL_PATH, include_in_schema=False)


def _plain(body: object, status: int = 200) -> Response:
    return answer(envelope.encode(body), status)


@router.get("/health")
async def health(request: Request) -> Response:
    """Return that the sandbox is ready, with its URL and its time."""
    account = account_of(request)
    with account.present() as now:
        return _plain(
            {
                "ready": True,
                "base_url": base_url(request) + BASE_PATH,
                "account_id": account.access.account_id,
                "messages": len(account.tenant.messages),
                "now": iso(now),
                "clock": "manual" if account.clock.manual else "real",
            }
        )


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document of the API."""
    return _plain(request.app.openapi())


@router.get("/truth")
async def truth(request: Request) -> Response:
    """Return everything that happened: jobs, calls, effects, moved and released messages, faults."""
    return _plain(account_of(request).truth())


@router.get("/post_delivery_events")
async def events(request: Request, job_id: str | None = None, timestamps: Timestamps = "rfc3339") -> Response:
    """Return the records of the Logpush dataset `email_security_post_delivery_events`, one JSON object per line."""
    account = account_of(request)
    with account.present():
        records = post_delivery_events(account, job_id=job_id, timestamps=timestamps)
    lines = b"".join(envelope.encode(record) + b"\n" for record in records)
    return Response(lines, media_type="application/x-ndjson")


@router.post("/faults")
async def script_fault(request: Request, body: Fault) -> Response:
    """Add a fault; see `sandbox.faults` for the kinds."""
    account = account_of(request)
    account.faults.enter(body)
    return _plain({"faults": account.faults.view()}, 201)


@router.get("/faults")
async def list_faults(request: Request) -> Response:
    return _plain({"faults": account_of(request).faults.view()})


@router.delete("/faults")
async def clear_faults(request: Request) -> Response:
    return _plain({"cleared": account_of(request).faults.clear()})


@router.post("/clock")
async def advance_clock(request: Request, body: ClockRequest) -> Response:
    """Advance a manual clock."""
    try:
        now = account_of(request).advance(body.advance_seconds)
    except RuntimeError as problem:
        raise ApiError(409, Notice(envelope.CONFLICT, str(problem))) from None
    return _plain({"now": iso(now)})


@router.post("/mailboxes")
async def script_mailbox(request: Request, body: MailboxRequest) -> Response:
    """Set the outcome of moves and releases in a mailbox."""
    account = account_of(request)
    with account.present():
        if body.trouble is None:
            account.delivery.mailboxes.pop(body.address.casefold(), None)
        else:
            account.delivery.mailboxes[body.address.casefold()] = body.trouble  # type: ignore[assignment]
    return _plain({"address": body.address, "trouble": body.trouble})


@router.post("/mail")
async def deliver_mail(request: Request, body: MailRequest) -> Response:
    """Deliver a mail, now or at a time."""
    account = account_of(request)
    with account.present() as now:
        at = parse_instant(body.at) if body.at else now + round((body.in_seconds or 0.0) * SECOND)
        messages = _copies(account, body, at) if body.like else [_own(account, body, at)]
        tenant = account.tenant
        return _plain(
            {
                "messages": [
                    {
                        "id": tenant.id_of(message),
                        "message_id": tenant.message_id_of(message),
                        "alert_id": tenant.alert_id_of(message),
                        "recipients": list(message.recipients),
                        "at": iso(message.time),
                    }
                    for message in messages
                ]
            },
            201,
        )


def _own(account: Account, mail: MailRequest, at: Instant) -> Message:
    return account.tenant.add(
        time=at,
        sender=Sender(mail.sender or "", mail.from_name),
        subject=mail.subject or "",
        recipients=tuple(mail.to),
        disposition=mail.disposition or CLEAN,
        status=mail.delivery_status or DELIVERED,
        links=tuple(mail.links),
        attachments=_attachments(mail),
        submission=mail.submission,
        message_id=mail.message_id,
        alert_id=mail.alert_id,
    )


def _copies(account: Account, mail: MailRequest, at: Instant) -> list[Message]:
    model = account.tenant.by_id(mail.like or "")
    if model is None:
        raise ApiError(404, Notice(envelope.NOT_FOUND, "No message has this ID", "/like"))
    return [
        account.tenant.add(
            time=at,
            sender=model.sender,
            subject=model.subject if mail.subject is None else mail.subject,
            recipients=(recipient,),
            disposition=mail.disposition or model.disposition,
            status=mail.delivery_status or DELIVERED,
            links=tuple(mail.links) or model.links,
            attachments=_attachments(mail) or model.attachments,
            submission=mail.submission,
        )
        for recipient in mail.to
    ]


def _attachments(mail: MailRequest) -> tuple[Attachment, ...]:
    files: list[Attachment] = []
    for wanted in mail.attachments:
        made = attachment(wanted.name, "application/octet-stream", wanted.name.encode())
        files.append(replace(made, sha256=wanted.sha256.casefold()) if wanted.sha256 else made)
    return tuple(files)
