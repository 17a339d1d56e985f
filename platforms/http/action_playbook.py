"""The playbook of one step that an action becomes, so that it can run as a run (`Prefer: respond-async`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actions.contract.action import Action
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document

_ANY = ["string", "integer", "number", "boolean", "object", "array", "null"]


def playbook_of(action: Action[Any, Any], names: Iterable[str]) -> Playbook:
    """Return a playbook that runs an action once. names: the parameters that are given, which become its inputs.

    The values are inputs, so that none of them is read as a template.
    """
    given = sorted(names)
    return from_document(
        {
            "playbook": 1,
            "id": f"action-{action.id}",
            "title": action.title,
            "description": f"Runs the action {action.id} once.",
            "inputs": {name: {"type": _ANY, "description": f"The parameter {name}."} for name in given},
            "steps": [
                {
                    "id": "call",
                    "title": action.title,
                    "action": action.id,
                    "with": {name: f"{{{{ inputs.{name} }}}}" for name in given},
                }
            ],
            "outputs": {"result": "{{ steps.call }}"},
        }
    )
