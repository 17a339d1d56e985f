"""Generate the pack's manifest from the actions and the playbooks.

`python -m platforms.published.manifest` writes manifest.json and its JSON Schema. A test fails if either is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from actions.contract.action import Action, Approval, Effect
from connectors.connection import Connection
from core import errors
from core.version import VERSION
from platforms import served_actions
from playbooks import library

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "manifest.json"
SCHEMA = ROOT / "docs" / "manifest.schema.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EntryPoint(_Part):
    """How to start an action: as a function or as a process."""

    module: str = Field(description="The Python module, relative to the pack's root.")
    function: Literal["run"] = Field("run", description="JSON dict in, JSON dict out.")
    command: list[str] = Field(description="The command: parameters on standard input, result on standard output.")


class ActionEntry(_Part):
    """One action."""

    id: str = Field(pattern=r"^[a-z]+(-[a-z]+)*$")
    title: str
    description: str
    effect: Effect = Field(description="The maximum impact of the action.")
    approval: Approval = Field(description="Whether a person should confirm before the action runs.")
    permissions: list[str] = Field(description="The API token permissions that the action needs, by name.")
    needs_connection: bool
    entry_point: EntryPoint
    parameters: dict[str, Any] = Field(description="JSON Schema.")
    result: dict[str, Any] = Field(description="JSON Schema.")
    example_parameters: dict[str, Any]
    example_result: dict[str, Any]


class PlaybookEntry(_Part):
    """One shipped playbook."""

    id: str
    title: str
    description: str
    file: str = Field(description="Relative to the pack's root.")
    inputs: dict[str, Any]
    actions: list[str] = Field(description="The actions that the playbook calls, in order of first use.")


class ErrorEntry(_Part):
    """One error type of an action."""

    type: str
    exit_code: int
    retryable: bool
    description: str


class Manifest(_Part):
    """The data that an orchestration platform needs to load the pack."""

    schema_: str = Field(alias="$schema")
    manifest_version: Literal[1] = 1
    id: str
    name: str
    version: str
    description: str
    license: str
    python: str
    connection: dict[str, Any] = Field(description="JSON Schema; each property names its environment variable.")
    actions: list[ActionEntry]
    playbooks: list[PlaybookEntry]
    errors: list[ErrorEntry]


def document() -> dict[str, Any]:
    """Return the manifest as plain JSON."""
    manifest = Manifest.model_validate(
        {
            "$schema": "docs/manifest.schema.json",
            "id": "cloudflare-email-security",
            "name": "Cloudflare Email Security: bulk action jobs",
            "version": VERSION,
            "description": "Move or release messages after delivery: no duplicate jobs, limits, evidence.",
            "license": "Apache-2.0",
            "python": ">=3.11,<3.14",
            "connection": Connection.model_json_schema(),
            "actions": [_action(action) for action in served_actions.available().values()],
            "playbooks": [_playbook(playbook) for playbook in library.available()],
            "errors": [_error(kind) for kind in subclasses(errors.PackError) if kind.__module__ == errors.__name__],
        }
    )
    return manifest.model_dump(mode="json", by_alias=True)


def render() -> str:
    """Return the text of manifest.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def render_schema() -> str:
    """Return the text of the manifest's JSON Schema."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def stale(path: Path = MANIFEST) -> bool:
    """Return whether the file at `path` does not match the actions and playbooks."""
    return not path.is_file() or path.read_text() != render()


def _action(action: Action[Any, Any]) -> ActionEntry:
    module = sys.modules[action.module]
    return ActionEntry(
        id=action.id,
        title=action.title,
        description=(module.__doc__ or "").strip(),
        effect=action.effect,
        approval=action.approval,
        permissions=list(action.permissions),
        needs_connection=action.connection,
        entry_point=EntryPoint(module=action.module, command=["python", "-m", action.module]),
        parameters=action.params.model_json_schema(),
        result=action.result.model_json_schema(mode="serialization"),
        example_parameters=dict(action.example_params),
        example_result=dict(action.example_result),
    )


def _playbook(playbook: Any) -> PlaybookEntry:
    used = dict.fromkeys(step.action for step in playbook.steps if getattr(step, "action", None))
    return PlaybookEntry(
        id=playbook.id,
        title=playbook.title,
        description=playbook.description.strip(),
        file=f"playbooks/{playbook.id}.yaml",
        inputs={
            name: spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for name, spec in playbook.inputs.items()
        },
        actions=list(used),
    )


def subclasses(kind: type[errors.PackError]) -> Iterator[type[errors.PackError]]:
    """Yield every error type below `kind`, each behind the type that it belongs to."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def _error(kind: type[errors.PackError]) -> ErrorEntry:
    return ErrorEntry(
        type=kind.__name__,
        exit_code=kind.exit_code,
        retryable=kind.retryable,
        description=((kind.__doc__ or "").strip().split("\n")[0] + " " + kind.default_help).strip(),
    )


if __name__ == "__main__":
    MANIFEST.write_text(render())
    SCHEMA.write_text(render_schema())
