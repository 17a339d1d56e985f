"""The OpenAPI 3.1 document brought down to 3.0.3 and to 2.0 (Swagger), for importers that need those."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from platforms.openapi.older_schemas import Older
from platforms.openapi.operation import JSON


def as_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as OpenAPI 3.0.3."""
    older = Older("3.0")
    components = document["components"]
    return {
        **document,
        "openapi": "3.0.3",
        "paths": {
            path: {method: _operation_3_0(operation, older) for method, operation in methods.items()}
            for path, methods in document["paths"].items()
        },
        "components": {
            **components,
            "schemas": {name: older.schema(each) for name, each in components["schemas"].items()},
            "responses": {name: _with_content(each, older) for name, each in components["responses"].items()},
        },
    }


def as_2_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as OpenAPI 2.0. Each operation has all of its responses in itself."""
    components = document["components"]
    bearer = components["securitySchemes"]["bearer"]
    older = Older("2.0", components["schemas"])
    found = {
        "swagger": "2.0",
        "info": document["info"],
        "consumes": [JSON],
        "produces": [JSON],
        "tags": document["tags"],
        "security": document["security"],
        "paths": {
            path: {
                method: _operation_2_0(operation, components["responses"], older)
                for method, operation in methods.items()
            }
            for path, methods in document["paths"].items()
        },
        "definitions": {name: older.schema(each) for name, each in components["schemas"].items()},
        "securityDefinitions": {
            "bearer": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": f"The word Bearer, a space, and: {bearer['description']}",
            }
        },
    }
    return _without_unused(found)


def _without_unused(swagger: dict[str, Any]) -> dict[str, Any]:
    """Return the document without the definitions that only stood where their schema is now."""
    text = json.dumps(swagger)
    used = {name: each for name, each in swagger["definitions"].items() if f'"#/definitions/{name}"' in text}
    return swagger if used == swagger["definitions"] else _without_unused({**swagger, "definitions": used})


def _operation_3_0(operation: dict[str, Any], older: Older) -> dict[str, Any]:
    found = dict(operation)
    if "requestBody" in found:
        found["requestBody"] = _with_content(found["requestBody"], older)
    found["responses"] = {status: _with_content(each, older) for status, each in found["responses"].items()}
    return found


def _with_content(holder: dict[str, Any], older: Older) -> dict[str, Any]:
    if "content" not in holder:
        return holder
    content = {name: {**media, "schema": older.schema(media["schema"])} for name, media in holder["content"].items()}
    return {**holder, "content": content}


def _operation_2_0(operation: dict[str, Any], responses: Mapping[str, Any], older: Older) -> dict[str, Any]:
    kept = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters", "responses")}
    parameters = [_parameter_2_0(each, older) for each in operation.get("parameters", ())]
    body = operation.get("requestBody")
    if body is not None:
        parameters.append(_body_2_0(body, older))
        if JSON not in body["content"]:
            kept["consumes"] = list(body["content"])
    answers = {status: _resolved(each, responses) for status, each in operation["responses"].items()}
    produces = dict.fromkeys(name for each in answers.values() for name in each.get("content", ()))
    return {
        **kept,
        "produces": list(produces),
        **({"parameters": parameters} if parameters else {}),
        "responses": {status: _response_2_0(each, older) for status, each in answers.items()},
    }


def _resolved(response: dict[str, Any], responses: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = responses[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
    return found


def _parameter_2_0(parameter: Mapping[str, Any], older: Older) -> dict[str, Any]:
    kept = {key: value for key, value in parameter.items() if key != "schema"}
    return {**kept, **older.schema(parameter["schema"])}


def _body_2_0(body: Mapping[str, Any], older: Older) -> dict[str, Any]:
    media = next(iter(body["content"].values()))
    return {
        "name": "body",
        "in": "body",
        "required": body["required"],
        "description": body["description"],
        "schema": older.schema(media["schema"]),
    }


def _response_2_0(response: Mapping[str, Any], older: Older) -> dict[str, Any]:
    found: dict[str, Any] = {"description": response["description"]}
    if "headers" in response:
        found["headers"] = {
            name: {"description": each["description"], **each["schema"]} for name, each in response["headers"].items()
        }
    for name, media in response["content"].items():
        # Bytes are a binary string here, not `type: file`, because Power Automate reads only the former.
        found["schema"] = older.schema(media["schema"])
        if "example" in media:
            found["examples"] = {name: media["example"]}
    return found
