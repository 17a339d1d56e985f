"""The OpenAPI 3.1 document of the HTTP interface."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from core.version import VERSION
from platforms.openapi.components import Components
from platforms.openapi.documents import Problem
from platforms.openapi.operation import JSON, Content, Kind, Operation, Shape
from platforms.openapi.parameters import Parameter
from platforms.openapi.statuses import MEANINGS

PROBLEM = "application/problem+json"

_TAGS = {
    "actions": "One call of an action.",
    "playbooks": "Begin a run of a playbook.",
    "runs": "Follow runs, answer their pauses, and get their files.",
    "alerts": "Receive alerts.",
    "service": "The service itself.",
}

_LOCATION = {"Location": {"description": "The path of the run.", "schema": {"type": "string"}}}
_WORKSPACE = {"cfes-workspace": {"description": "The ID of the files' workspace.", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}}

_HEADERS: Mapping[Kind, Mapping[int, Any]] = {
    "run_action": {200: _WORKSPACE, 202: _LOCATION},
    "begin_run": {200: _LOCATION, 202: _LOCATION},
}


def at_server(document: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return a document of any version with the service's URL, as the reader of the document sees it."""
    if "openapi" in document:
        return {**document, "servers": [{"url": url.rstrip("/") or "/"}]}
    parts = urlsplit(url)
    return {**document, "host": parts.netloc, "basePath": parts.path.rstrip("/") or "/", "schemes": [parts.scheme]}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these operations. It takes about a second, so build it once."""
    components = Components()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, components)
    responses = _share_responses(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            # Power Automate takes at most 30 characters.
            "title": "Email Security bulk actions",
            "version": VERSION,
            "description": "Move or release messages after delivery: no duplicate jobs, limits, evidence.",
            "license": {"name": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": responses,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `cfes token create`."}
            },
        },
    }


def _operation(operation: Operation, components: Components) -> dict[str, Any]:
    action = operation.action
    marks = {} if action is None else {"x-cfes-effect": action.effect, "x-cfes-approval": action.approval}
    body = operation.body
    problem = components.reference(Shape.of_model(Problem))
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        **({"x-cfes-scopes": list(operation.scopes)} if operation.scopes else {"security": []}),
        **marks,
        **({"parameters": [_parameter(each) for each in operation.parameters]} if operation.parameters else {}),
        **({} if body is None else {"requestBody": _body(body, components)}),
        "responses": {
            str(status): response
            for status, response in sorted(
                {
                    **{status: _failure(status, types, problem) for status, types in operation.errors.items()},
                    **{status: _answer(operation, status, components) for status in operation.answers},
                }.items()
            )
        },
    }


def _share_responses(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Replace the most frequent failure of each status by a reference, and return these failures by name."""
    places = [operation["responses"] for methods in paths.values() for operation in methods.values()]
    texts = Counter((status, json.dumps(each)) for place in places for status, each in place.items() if status >= "400")
    shared: dict[str, Any] = {}
    for (status, text), count in texts.most_common():
        name = f"Error{status}"
        if count == 1 or name in shared:
            continue
        shared[name] = json.loads(text)
        for place in places:
            if place.get(status) == shared[name]:
                place[status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(shared.items()))


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _body(body: Content, components: Components) -> dict[str, Any]:
    return {"required": body.required, "description": body.description, "content": _content(body, components)}


def _answer(operation: Operation, status: int, components: Components) -> dict[str, Any]:
    content = operation.answers[status]
    headers = _HEADERS.get(operation.kind, {}).get(status)
    return {
        "description": content.description,
        **({} if headers is None else {"headers": headers}),
        "content": _content(content, components),
    }


def _content(content: Content, components: Components) -> dict[str, Any]:
    if content.shape is not None:
        example = {} if content.shape.example is None else {"example": content.shape.example}
        return {JSON: {"schema": components.reference(content.shape), **example}}
    return {name: {"schema": _text_or_bytes(name)} for name in content.media_types}


def _text_or_bytes(media_type: str) -> dict[str, str]:
    is_text = media_type.startswith("text/")
    return {"type": "string"} if is_text else {"type": "string", "format": "binary"}


def _failure(status: int, types: Iterable[str], problem: Mapping[str, str]) -> dict[str, Any]:
    headers = {"headers": _RETRY_AFTER} if status in (429, 503) else {}
    return {
        "description": f"{MEANINGS[status]} Error types: {', '.join(types)}.",
        **headers,
        "content": {PROBLEM: {"schema": dict(problem)}},
    }
