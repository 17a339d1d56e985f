"""Health, metrics and the OpenAPI documents."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from platforms.http.answers import answer_json
from platforms.http.incoming import Handler, Incoming
from platforms.openapi.document import at_server
from platforms.openapi.operation import Kind


async def check_health(incoming: Incoming) -> Response:  # noqa: ARG001 -- a handler's signature
    return answer_json({"status": "ok", "reason": None})


async def check_readiness(incoming: Incoming) -> Response:
    reason = await incoming.service.lookups.run(incoming.service.readiness)
    if reason is None:
        return answer_json({"status": "ok", "reason": None})
    return answer_json({"status": "unavailable", "reason": reason}, 503)


async def get_metrics(incoming: Incoming) -> Response:
    text = await incoming.service.lookups.run(incoming.service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def get_document(incoming: Incoming) -> Response:
    """Return an OpenAPI document with the address that the caller uses."""
    service, kind = incoming.service, incoming.operation.kind
    url = str(incoming.request.base_url).rstrip("/")
    return answer_json(await service.lookups.run(lambda: at_server(service.documents()[kind], url)))


HANDLERS: Mapping[Kind, Handler] = {
    "health": check_health,
    "readiness": check_readiness,
    "metrics": get_metrics,
    "openapi_3_1": get_document,
    "openapi_3_0": get_document,
    "swagger_2_0": get_document,
}
