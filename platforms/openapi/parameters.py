"""The parameters in paths, queries and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from platforms.openapi.documents import RunStatus


@dataclass(frozen=True)
class Parameter:
    """A parameter outside the body. schema: a JSON Schema of one type, which each OpenAPI version has."""

    name: str
    place: Literal["path", "query", "header"]
    description: str
    schema: Mapping[str, Any]

    @property
    def required(self) -> bool:
        """Return whether a request must have it."""
        return self.place == "path" or self.name.startswith("webhook-")


# A folder or a file name begins with no dot, so that none is hidden.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

RUN_ID = Parameter("run_id", "path", "The run's ID.", {"type": "string", "pattern": _NAME, "maxLength": 200})
FILE_NAME = Parameter("name", "path", "The file's name. Write a / in it as %2F.", {"type": "string", "maxLength": 600})
SIGNAL_NAME = Parameter(
    "name", "path", "The signal's name. Write a / in it as %2F.", {"type": "string", "maxLength": 600}
)
DATASET = Parameter(
    "dataset",
    "path",
    "The Logpush dataset of the records.",
    {"type": "string", "enum": ["email_security_alerts", "email_security_post_delivery_events"]},
)
WEBHOOK_NAME = Parameter(
    "name", "path", "The webhook's name in the settings.", {"type": "string", "pattern": _NAME, "maxLength": 100}
)
WORKSPACE = Parameter(
    "workspace",
    "query",
    "The ID of the run whose files the parameters name.",
    {"type": "string", "pattern": _NAME, "maxLength": 200},
)
STATUS = Parameter(
    "status", "query", "Only runs with this status.", {"type": "string", "enum": list(get_args(RunStatus))}
)
PLAYBOOK = Parameter("playbook", "query", "Only runs of the playbook with this ID.", {"type": "string"})
LIMIT = Parameter(
    "limit",
    "query",
    "The maximum number of runs.",
    {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
)
# Not an enumeration: other preferences are ignored (RFC 7240).
PREFER = Parameter(
    "Prefer",
    "header",
    "respond-async: answer 202 at once and continue the action as a run.",
    {"type": "string", "maxLength": 1000},
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "Repeat a request with the same key and body to get the first answer again. Printable ASCII.",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
WEBHOOK_HEADERS = (
    Parameter("webhook-id", "header", "The ID of the message (Standard Webhooks).", {"type": "string"}),
    Parameter("webhook-timestamp", "header", "Seconds since 1970.", {"type": "string"}),
    Parameter("webhook-signature", "header", "`v1,` and the signature in base64.", {"type": "string"}),
)
