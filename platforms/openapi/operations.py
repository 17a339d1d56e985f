"""The operations of the HTTP interface, each described once: for the service's routes and for the OpenAPI documents.

Each action and each playbook has an operation of its own, so a new one is there without a further line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from actions.contract.action import Action
from core.errors import CheckRefused, NotFound, ParameterError
from platforms.openapi import documents, parameters
from platforms.openapi.operation import Content, Operation, Shape
from platforms.openapi.service_operations import OF_PLAYBOOKS, OF_RUNS, OF_SERVICE, STORE
from playbooks.language.format import Playbook


def operations(actions: Iterable[Action[Any, Any]], playbooks: Iterable[Playbook]) -> list[Operation]:
    """Return every operation of a service with these actions and playbooks."""
    return [*map(_run_action, actions), *OF_PLAYBOOKS, *map(_begin_run, playbooks), *OF_RUNS, *OF_SERVICE]


def _run_action(action: Action[Any, Any]) -> Operation:
    name = _camel(action.id)
    changes = action.effect != "read"
    given = Shape.of_model(action.params, f"{name}Params", action.example_params, is_result=False)
    returned = Shape.of_model(action.result, f"{name}Result", action.example_result)
    key = (parameters.IDEMPOTENCY_KEY,) if changes else ()
    return Operation(
        kind="run_action",
        method="post",
        path=f"/v1/actions/{action.id}",
        id=action.id.replace("-", "_"),
        summary=action.title,
        description=(sys.modules[action.module].__doc__ or action.title).strip(),
        tag="actions",
        scopes=("write",) if changes else ("read",),
        action=action,
        idempotent=changes,
        parameters=(parameters.WORKSPACE, parameters.PREFER, *key),
        body=Content("The parameters.", given),
        answers={
            200: Content("The result.", returned),
            202: Content("The run of the action (`Prefer: respond-async`).", Shape.of_model(documents.Run)),
        },
        raises=(NotFound,),  # a workspace
    )


def _begin_run(playbook: Playbook) -> Operation:
    return Operation(
        kind="begin_run",
        method="post",
        path=f"/v1/playbooks/{playbook.id}/runs",
        id=f"begin_{playbook.id.replace('-', '_')}",
        summary=playbook.title,
        description=f"Begin a run of this playbook. {playbook.description.strip()}",
        tag="playbooks",
        scopes=("write",),
        playbook=playbook,
        idempotent=True,
        parameters=(parameters.IDEMPOTENCY_KEY,),
        body=Content("The inputs.", Shape(f"{_camel(playbook.id)}Inputs", partial(inputs_body, playbook))),
        answers={
            200: Content("The run of the same key, which already exists.", Shape.of_model(documents.Run)),
            202: Content("The run that was begun.", Shape.of_model(documents.Run)),
        },
        raises=(ParameterError, CheckRefused, *STORE),
    )


def inputs_of(playbook: Playbook) -> dict[str, Any]:
    """Return the JSON Schema of a playbook's inputs, as one object."""
    properties = {}
    for name, spec in playbook.inputs.items():
        properties[name] = spec.json_schema()
        if spec.has_default and spec.default is not None:
            properties[name]["default"] = spec.default
    required = [name for name, spec in playbook.inputs.items() if not spec.has_default]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def inputs_body(playbook: Playbook) -> dict[str, Any]:
    """Return the JSON Schema of the body that begins a run of the playbook."""
    inputs = inputs_of(playbook)
    schema = {"type": "object", "properties": {"inputs": inputs}, "additionalProperties": False}
    return {**schema, "required": ["inputs"]} if "required" in inputs else schema


def _camel(hyphenated: str) -> str:
    return "".join(part.title() for part in hyphenated.split("-"))
