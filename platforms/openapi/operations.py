"""The operations of the HTTP interface, each described once: for the service's routes and for the OpenAPI documents.

Each action and each playbook has an operation of its own, so a new one is there without a further line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from actions.contract.action import Action
from core.errors import (
    ApprovalRefused,
    CheckRefused,
    ConnectionSettingsError,
    NotFound,
    ParameterError,
    TemporaryFailure,
)
from platforms.openapi import documents, parameters
from platforms.openapi.operation import BYTES, EVENTS, NDJSON, TEXT, Content, Kind, Operation, Shape
from playbooks.language.errors import (
    RunEnded,
    RunInProgress,
    RunNotFound,
    RunRecordRefused,
    RunStoreUnavailable,
    RunStoreUnusable,
)
from playbooks.language.format import Playbook

_STORE = (RunStoreUnavailable, RunStoreUnusable)
_ONE_RUN = (RunNotFound, *_STORE)
_CHANGED_RUN = (*_ONE_RUN, RunEnded, RunInProgress, RunRecordRefused)


def operations(actions: Iterable[Action[Any, Any]], playbooks: Iterable[Playbook]) -> list[Operation]:
    """Return every operation of a service with these actions and playbooks."""
    return [*map(_run_action, actions), *_OF_PLAYBOOKS, *map(_begin_run, playbooks), *_OF_RUNS, *_OF_SERVICE]


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
        raises=(
            ParameterError,
            CheckRefused,
            *_STORE,
        ),
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


def _document(kind: Kind, path: str, name: str) -> Operation:
    return Operation(
        kind=kind,
        method="get",
        path=path,
        id=f"get_{kind}",
        summary=f"Get the {name} document",
        description=f"Return this interface as an {name} document.",
        tag="service",
        scopes=(),
        answers={200: Content("The document.", Shape("OpenApiDocument", lambda: {"type": "object"}))},
    )


def _camel(hyphenated: str) -> str:
    return "".join(part.title() for part in hyphenated.split("-"))


_OF_PLAYBOOKS = (
    Operation(
        kind="list_playbooks",
        method="get",
        path="/v1/playbooks",
        id="list_playbooks",
        summary="List the playbooks",
        description="List the playbooks that the service runs, with the JSON Schema of their inputs.",
        tag="playbooks",
        scopes=("read",),
        answers={200: Content("The playbooks.", Shape.of_model(documents.PlaybookList))},
    ),
)

_OF_RUNS = (
    Operation(
        kind="list_runs",
        method="get",
        path="/v1/runs",
        id="list_runs",
        summary="List the runs",
        description="List the runs, the newest first.",
        tag="runs",
        scopes=("read",),
        parameters=(parameters.STATUS, parameters.PLAYBOOK, parameters.LIMIT),
        answers={200: Content("The runs.", Shape.of_model(documents.RunList))},
        raises=(
            ParameterError,
            *_STORE,
        ),
    ),
    Operation(
        kind="get_run",
        method="get",
        path="/v1/runs/{run_id}",
        id="get_run",
        summary="Get a run",
        description="Return a run: its status, the signals that it waits for, its outputs and files.",
        tag="runs",
        scopes=("read",),
        parameters=(parameters.RUN_ID,),
        answers={200: Content("The run.", Shape.of_model(documents.Run))},
        raises=_ONE_RUN,
    ),
    Operation(
        kind="follow_run",
        method="get",
        path="/v1/runs/{run_id}/events",
        id="follow_run",
        summary="Follow a run",
        description="Stream the events `step` and `run` of a run. The stream ends when the run has ended.",
        tag="runs",
        scopes=("read",),
        parameters=(parameters.RUN_ID,),
        answers={200: Content("Server-sent events, each with a JSON object as its data.", media_types=(EVENTS,))},
        raises=_ONE_RUN,
    ),
    Operation(
        kind="list_files",
        method="get",
        path="/v1/runs/{run_id}/files",
        id="list_run_files",
        summary="List the files of a run",
        description="List the files of a run: exports, evidence bundles and reports.",
        tag="runs",
        scopes=("read",),
        parameters=(parameters.RUN_ID,),
        answers={200: Content("The files.", Shape.of_model(documents.FileList))},
        raises=_ONE_RUN,
    ),
    Operation(
        kind="get_file",
        method="get",
        path="/v1/runs/{run_id}/files/{name}",
        id="get_run_file",
        summary="Get a file of a run",
        description="Return the bytes of a file.",
        tag="runs",
        scopes=("read",),
        parameters=(parameters.RUN_ID, parameters.FILE_NAME),
        answers={200: Content("The bytes of the file.", media_types=(BYTES,))},
        raises=_ONE_RUN,
    ),
    Operation(
        kind="send_signal",
        method="post",
        path="/v1/runs/{run_id}/signals/{name}",
        id="send_signal",
        summary="Send a signal to a run",
        description="Answer a pause of a run, such as with an approval. `waits_for` of the run has the signal's name "
        "and the values that it accepts. A pause about a plan needs the scope approve, any other the scope write.",
        tag="runs",
        scopes=("write", "approve"),
        idempotent=True,
        parameters=(parameters.RUN_ID, parameters.SIGNAL_NAME, parameters.IDEMPOTENCY_KEY),
        body=Content("The value.", Shape.of_model(documents.SignalValue, is_result=False)),
        answers={202: Content("The run accepted the signal.", Shape.of_model(documents.SignalReceipt))},
        raises=(
            ParameterError,
            ApprovalRefused,
            *_CHANGED_RUN,
        ),
    ),
    Operation(
        kind="cancel_run",
        method="post",
        path="/v1/runs/{run_id}/cancel",
        id="cancel_run",
        summary="Cancel a run",
        description="Cancel a run. A job that the run created keeps running in Cloudflare: cancel_job cancels it.",
        tag="runs",
        scopes=("write",),
        idempotent=True,
        parameters=(parameters.RUN_ID, parameters.IDEMPOTENCY_KEY),
        body=Content("The reason.", Shape.of_model(documents.CancelReason, is_result=False), required=False),
        answers={202: Content("The run is being cancelled.", Shape.of_model(documents.CancelReceipt))},
        raises=(
            ParameterError,
            *_CHANGED_RUN,
        ),
    ),
)

_OF_SERVICE = (
    Operation(
        kind="receive_logpush",
        method="post",
        path="/v1/logpush/{dataset}",
        id="receive_logpush",
        summary="Receive a Logpush batch",
        description="Receive a batch of Logpush records as NDJSON, plain or gzip.",
        tag="alerts",
        scopes=("alerts",),
        parameters=(parameters.DATASET,),
        body=Content("One JSON record a line.", media_types=(NDJSON, BYTES)),
        answers={200: Content("The number of records.", Shape.of_model(documents.AlertReceipt))},
        raises=(
            ParameterError,
            NotFound,
            TemporaryFailure,
        ),
    ),
    Operation(
        kind="list_refused_alerts",
        method="get",
        path="/v1/alerts/refused",
        id="list_refused_alerts",
        summary="List the alerts that were refused",
        description="List the alerts for which a rule could not start its playbook, and records that are no alerts.",
        tag="alerts",
        scopes=("read",),
        answers={200: Content("The newest refused alerts.", Shape.of_model(documents.RefusedAlertList))},
        raises=(ConnectionSettingsError,),
    ),
    Operation(
        kind="receive_webhook",
        method="post",
        path="/v1/webhooks/{name}",
        id="receive_webhook",
        summary="Receive a signed webhook",
        description="Receive an alert as a signed webhook (Standard Webhooks). The signature replaces the token.",
        tag="alerts",
        scopes=(),
        parameters=(parameters.WEBHOOK_NAME, *parameters.WEBHOOK_HEADERS),
        body=Content("The alert.", Shape("WebhookAlert", lambda: {"type": "object", "description": "The alert."})),
        answers={200: Content("The number of records.", Shape.of_model(documents.AlertReceipt))},
        raises=(
            ParameterError,
            NotFound,
            TemporaryFailure,
        ),
    ),
    Operation(
        kind="health",
        method="get",
        path="/healthz",
        id="check_health",
        summary="Check that the service runs",
        description="Return 200 while the process answers.",
        tag="service",
        scopes=(),
        answers={200: Content("The service runs.", Shape.of_model(documents.Health))},
    ),
    Operation(
        kind="readiness",
        method="get",
        path="/readyz",
        id="check_readiness",
        summary="Check that the service is ready",
        description="Return 200 when the service can take requests, else 503 with the reason.",
        tag="service",
        scopes=(),
        answers={
            200: Content("The service is ready.", Shape.of_model(documents.Health)),
            503: Content("The service is not ready.", Shape.of_model(documents.Health)),
        },
    ),
    Operation(
        kind="metrics",
        method="get",
        path="/metrics",
        id="get_metrics",
        summary="Get the metrics",
        description="Return the metrics in the text format of Prometheus.",
        tag="service",
        scopes=("read",),
        answers={200: Content("The metrics.", media_types=(TEXT,))},
    ),
    _document("openapi_3_1", "/openapi.json", "OpenAPI 3.1"),
    _document("openapi_3_0", "/openapi-3.0.json", "OpenAPI 3.0"),
    _document("swagger_2_0", "/swagger.json", "OpenAPI 2.0 (Swagger)"),
)
