"""Alerts over HTTP: batches of Logpush, and signed webhooks. Each is stored before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from core.errors import AuthenticationFailed
from core.instants import format_shortest
from platforms.alerts.errors import BatchRefused, BatchTooLarge, EncodingUnsupported
from platforms.alerts.inbox import BatchWriter, Receipt
from platforms.http.answers import answer_json
from platforms.http.failures import RequestRefused, refused
from platforms.http.incoming import Handler, Incoming
from platforms.http.requests import read_body
from platforms.openapi.operation import Kind

# Logpush sends up to a gigabyte.
BATCH_SECONDS = 300.0

# Chunks of the network are checked and stored in larger pieces: each piece is a job for a thread.
_PIECE = 256 * 1024


async def receive_logpush(incoming: Incoming) -> Response:
    alerts, request = incoming.service.alerts, incoming.request
    begin = partial(alerts.inbox.begin, incoming.given["dataset"], request.headers.get("content-encoding"))
    try:
        writer = await incoming.service.lookups.run(begin)
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                receipt = await _received(incoming, writer)
        finally:
            # In a thread: it waits for a piece that is being stored.
            await asyncio.to_thread(writer.abort)
    except TimeoutError:
        raise refused(408, f"the body did not arrive within {BATCH_SECONDS:.0f} s", _AGAIN) from None
    except ClientDisconnect:
        raise refused(400, "the body broke off", _AGAIN) from None
    except BatchRefused as error:
        status = {BatchTooLarge: 413, EncodingUnsupported: 415}.get(type(error), 400)
        raise RequestRefused(status, error) from None
    alerts.stored()
    return _answer(receipt)


async def receive_webhook(incoming: Incoming) -> Response:
    request, name = incoming.request, incoming.given["name"]
    body = await read_body(request)
    receive = partial(incoming.service.alerts.receive_webhook, name, dict(request.headers), body)
    try:
        return _answer(await incoming.service.lookups.run(receive))
    except AuthenticationFailed as error:
        raise RequestRefused(401, error) from None


async def list_refused_alerts(incoming: Incoming) -> Response:
    ledger = incoming.service.alerts.ledger
    refused_alerts = await incoming.service.lookups.run(ledger.refused)
    total = await incoming.service.lookups.run(ledger.refused_count)
    listed = [{**asdict(each), "refused_at": format_shortest(each.refused_at)} for each in refused_alerts]
    return answer_json({"total": total, "refused": listed})


async def _received(incoming: Incoming, writer: BatchWriter) -> Receipt:
    waiting = bytearray()
    async for chunk in incoming.request.stream():
        waiting += chunk
        if len(waiting) >= _PIECE:
            await incoming.service.lookups.run(partial(writer.write, bytes(waiting)))
            waiting.clear()
    await incoming.service.lookups.run(partial(writer.write, bytes(waiting)))
    return await incoming.service.lookups.run(writer.finish)


def _answer(receipt: Receipt) -> Response:
    return answer_json({"received": receipt.received, "test": receipt.test})


_AGAIN = "Nothing was stored. Send the batch again."

HANDLERS: Mapping[Kind, Handler] = {
    "receive_logpush": receive_logpush,
    "receive_webhook": receive_webhook,
    "list_refused_alerts": list_refused_alerts,
}
