"""The OpenAPI document: the responses of every operation, by status."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sandbox.contract.results import Failure
from sandbox.operations import BASE_PATH, Operation

_REFUSALS: Final = {
    400: "The request is invalid, or has no credentials.",
    401: "The token is unknown or revoked.",
    403: "The token lacks the permission, or may not be used for this account or from this address.",
    404: "Not found.",
    409: "The state of the job does not allow it.",
    429: "Too many requests: refused until the window ends.",
}
_HEADERS: Final[dict[str, Any]] = {
    "Ratelimit": {"description": "Calls left, seconds to the reset.", "schema": {"type": "string"}},
    "Ratelimit-Policy": {"description": "Calls in a window, its seconds.", "schema": {"type": "string"}},
    "cf-ray": {"description": "ID of this call in Cloudflare's logs.", "schema": {"type": "string"}},
}


def route_arguments(operation: Operation, good: dict[int, type[Any]], *refusals: int) -> dict[str, Any]:
    """Return the arguments of a route: path, ID and responses. Every operation can answer 400, 401, 403 and 429."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": model, "description": "Success." if status != 202 else "Slow: poll the URL in Location."}
        for status, model in good.items()
    }
    if 202 in answers:
        answers[202]["headers"] = {"Location": {"schema": {"type": "string"}}}
    for status in sorted({400, 401, 403, 404, 429, *refusals}):
        answers[status] = {"model": Failure, "description": _REFUSALS[status]}
    return {
        "path": BASE_PATH + operation.path,
        "operation_id": operation.id,
        "status_code": min(good),
        "responses": answers,
        "response_model": None,
        "openapi_extra": operation.extensions,
    }


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application's routes. It is created once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="Cloudflare Email Security sandbox",
            version="2026-11",
            description="Bulk action jobs, message search, move and release, as in the Cloudflare API.",
            routes=app.routes,
            separate_input_output_schemas=app.separate_input_output_schemas,
        )
        for path in made["paths"].values():
            for operation in path.values():
                # The framework's response to an invalid request, which the exception handlers replace with 400.
                operation["responses"].pop("422", None)
                for answer in operation["responses"].values():
                    answer["headers"] = {**_HEADERS, **answer.get("headers", {})}
                operation["security"] = [{"api_token": []}, {"api_email": [], "api_key": []}]
        for unused in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(unused, None)
        made["components"]["securitySchemes"] = {
            "api_token": {"type": "http", "scheme": "bearer"},
            "api_email": {"type": "apiKey", "in": "header", "name": "X-Auth-Email"},
            "api_key": {"type": "apiKey", "in": "header", "name": "X-Auth-Key"},
        }
        app.openapi_schema = made
    return app.openapi_schema
