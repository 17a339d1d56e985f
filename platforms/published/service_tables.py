"""The generated tables of the HTTP service: its operations, the statuses of its errors, and its settings."""

from __future__ import annotations

from collections.abc import Iterator

from actions.contract import catalog
from platforms.http.settings import HttpSettings
from platforms.openapi.operation import Kind, Operation
from platforms.openapi.operations import operations
from platforms.openapi.statuses import MEANINGS
from platforms.published import markdown
from platforms.published.reference_tables import settings_of
from playbooks import library

# The kinds with an operation for each action and each playbook: path and what they do.
_FAMILIES: dict[Kind, tuple[str, str]] = {
    "run_action": ("/v1/actions/{id}", "Run an action. The body is its parameters"),
    "begin_run": ("/v1/playbooks/{id}/runs", "Begin a run of a playbook. The body is `inputs`"),
}


def http_settings() -> str:
    """Return the table of the environment variables of the HTTP service."""
    return settings_of(HttpSettings)


def http_operations() -> str:
    """Return the table of the operations. Those of all actions are one row, and those of all playbooks."""
    rows: dict[tuple[str, str], tuple[list[str], bool]] = {}
    for operation, path, what in _rows():
        scopes, idempotent = rows.get((f"`{operation.method.upper()} {path}`", what), ([], False))
        new = [scope for scope in operation.scopes if scope not in scopes]
        rows[f"`{operation.method.upper()} {path}`", what] = ([*scopes, *new], idempotent or operation.idempotent)
    return markdown.table(
        ("operation", "what it does", "scope of the token", "`Idempotency-Key`"),
        [
            (path, what, " or ".join(f"`{scope}`" for scope in scopes) or "none", "yes" if idempotent else "")
            for (path, what), (scopes, idempotent) in rows.items()
        ],
    )


def http_statuses() -> str:
    """Return the table of the statuses of failures, with their error types."""
    types: dict[int, set[str]] = {}
    for operation in _operations():
        for status, names in operation.errors.items():
            types.setdefault(status, set()).update(f"`{name}`" for name in names)
    rows = [(str(status), MEANINGS[status], ", ".join(sorted(types[status]))) for status in sorted(types)]
    return markdown.table(("status", "meaning", "types of `error`"), rows)


def _rows() -> Iterator[tuple[Operation, str, str]]:
    for operation in _operations():
        path, what = _FAMILIES.get(operation.kind, (operation.path, operation.summary))
        yield operation, path, what


def _operations() -> list[Operation]:
    return operations(catalog.available().values(), library.available())
