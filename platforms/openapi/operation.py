"""What an operation of the HTTP interface is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

from pydantic import BaseModel

from actions.contract.action import Action
from core.errors import PackError, ParameterError
from platforms.callers.records import Scope
from platforms.openapi import error_types
from platforms.openapi.error_types import ErrorTypes
from platforms.openapi.parameters import Parameter
from playbooks.language.format import Playbook

# What answers an operation. Operations of one kind differ in their action or playbook.
Kind = Literal[
    "run_action",
    "list_playbooks",
    "begin_run",
    "list_runs",
    "get_run",
    "follow_run",
    "list_files",
    "get_file",
    "send_signal",
    "cancel_run",
    "receive_logpush",
    "receive_webhook",
    "list_refused_alerts",
    "health",
    "readiness",
    "metrics",
    "openapi_3_1",
    "openapi_3_0",
    "swagger_2_0",
]

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
BYTES = "application/octet-stream"
TEXT = "text/plain"


@dataclass(frozen=True)
class Shape:
    """A JSON value with a name. schema: returns its JSON Schema with `$defs`, as pydantic writes it."""

    name: str
    schema: Callable[[], Mapping[str, Any]]
    example: Any = None
    is_result: bool = False

    @classmethod
    def of_model(
        cls, model: type[BaseModel], name: str | None = None, example: Any = None, *, is_result: bool = True
    ) -> Self:
        """Return the shape of a model, by default under its own name."""
        mode: Literal["validation", "serialization"] = "serialization" if is_result else "validation"
        return cls(name or model.__name__, partial(model.model_json_schema, mode=mode), example, is_result)


@dataclass(frozen=True)
class Content:
    """A body or an answer. shape: None for bytes and for text."""

    description: str
    shape: Shape | None = None
    media_types: tuple[str, ...] = (JSON,)
    required: bool = True


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    id: the operationId. scopes: a caller needs one of these; empty: no token. idempotent: it takes the header
    Idempotency-Key. answers: by status, without failures. raises: error types besides those of its action.
    """

    kind: Kind
    method: Literal["get", "post"]
    path: str
    id: str
    summary: str
    description: str
    tag: str
    scopes: tuple[Scope, ...]
    answers: Mapping[int, Content]
    idempotent: bool = False
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    raises: tuple[type[PackError], ...] = ()
    action: Action[Any, Any] | None = None
    playbook: Playbook | None = None

    @property
    def errors(self) -> ErrorTypes:
        """Return the error types that it can answer with, by status."""
        # Every operation refuses an unknown query parameter.
        of_action = error_types.action_errors(self.action) if self.action is not None else ()
        kinds = (ParameterError, *self.raises, *of_action)
        checks = (
            (error_types.TOKEN, bool(self.scopes)),
            (error_types.SIGNATURE, self.kind == "receive_webhook"),
            (error_types.BODY, self.body is not None),
            (error_types.KEY, self.idempotent),
        )
        return error_types.by_status(kinds, before=[types for types, applies in checks if applies])
