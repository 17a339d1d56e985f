"""Which calls of an agent need a person's approval, and the playbooks that wait for it.

A call that this pack can't undo, or that lifts a guardrail, runs as a run: it pauses until a person approves, then runs
the action. An agent can't answer the pause: no tool sends signals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actions.contract.action import Action
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS
from core.errors import PlanNeeded
from core.json_values import Json
from playbooks import library
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document

PREFIX = "approved-"

# An approval of a plan without a policy's approvers, and of a change that has no plan.
APPROVED = "approved"

# A plan is valid for 24 hours.
WAIT_SECONDS = 86400

_ANY = ["string", "integer", "number", "boolean", "object", "array", "null"]

# A parameter that lifts a guardrail.
_OVERRIDE = "allow_"


def require_plan(action: Action[Any, Any], params: Mapping[str, Any]) -> None:
    """Check that a change names its plan: that of preview-job, or the plan_hash of a dry run. Raises: PlanNeeded."""
    if not action.asks_first(params):
        return
    fields = action.params.model_fields
    if "plan" in fields and params.get("plan") is None:
        raise PlanNeeded(
            f"an agent calls {action.id} with a plan only",
            help="Nothing was changed. Call preview_job, check its numbers, and pass its plan_hash as `plan`.",
        )
    if "plan_hash" in fields and params.get("plan_hash") is None:
        raise PlanNeeded(
            f"an agent calls {action.id} with a plan_hash only",
            help="Nothing was changed. Call the tool with `dry_run: true`, check its numbers, and pass its plan_hash.",
        )


def needs_person(action: Action[Any, Any], params: Mapping[str, Any]) -> bool:
    """Return whether a person must approve a call: it can't be undone, or it lifts a guardrail.

    params: valid for the action.
    """
    if not action.may_change(params):
        return False
    if lifts_guardrail(params):
        return True
    if action.effect != "irreversible":
        return False
    plan = params.get("plan")
    if isinstance(plan, Mapping):
        return any(each.get("destination") in IRREVERSIBLE_DESTINATIONS for each in (plan, params))
    # Without allow_irreversible such an action refuses a folder that mail does not come back from.
    return "allow_irreversible" not in action.params.model_fields


def lifts_guardrail(params: Mapping[str, Any]) -> bool:
    """Return whether a parameter or an input lifts a guardrail."""
    return any(name.startswith(_OVERRIDE) and value is True for name, value in params.items())


def inputs_need_person(inputs: Mapping[str, Any]) -> bool:
    """Return whether a person must approve a run of a playbook with these inputs."""
    return lifts_guardrail(inputs) or _names_irreversible_folder(inputs)


def is_approved_run(playbook_id: str) -> bool:
    """Return whether the runs of a playbook pause for a person before they do anything."""
    return playbook_id.startswith(PREFIX)


def approved_action(action: Action[Any, Any], names: Iterable[str], plan: Mapping[str, Json] | None) -> Playbook:
    """Return the playbook that runs an action once a person has approved it.

    names: the parameters that are given, which become its inputs, so that no value is read as a template. plan: what is
    approved, with plan_hash and approvals_needed, if the action has a plan.
    """
    given = sorted(names)
    needed = _approvals_needed(plan)
    params = {name: f"{{{{ inputs.{name} }}}}" for name in given}
    if needed and "approvals" in action.params.model_fields:
        params["approvals"] = "{{ steps.approved['values'] }}"
    inputs: dict[str, Any] = {name: _input(f"The parameter {name}.") for name in given}
    if plan is not None:
        inputs["shown_plan"] = _input("What a person approves.")
    about: dict[str, Any] = {
        "action": action.id,
        "parameters": {name: params[name] for name in given if name != "plan"},
    }
    if needed:
        about = {"plan": "{{ inputs.shown_plan }}"}
    elif plan is not None:
        # The key `plan` would ask for an approver's signature, and the policy asks for none.
        about["change"] = "{{ inputs.shown_plan }}"
    return from_document(
        {
            "playbook": 1,
            "id": f"{PREFIX}{action.id}",
            "title": f"{action.title}, once a person has approved it",
            "description": f"An agent called {action.id}. It runs once a person has approved it.",
            "inputs": inputs,
            "steps": [
                *_pause(action.title, about, needed),
                {"id": "call", "title": action.title, "action": action.id, "with": params},
            ],
            "outputs": {"result": "{{ steps.call }}"},
        }
    )


def approved_playbook(playbook: Playbook, names: Iterable[str]) -> Playbook:
    """Return the playbook that runs another one with these inputs once a person has approved it."""
    given = sorted(names)
    values = {name: f"{{{{ inputs.{name} }}}}" for name in given}
    document = {
        "playbook": 1,
        "id": f"{PREFIX}{playbook.id}",
        "title": f"{playbook.title}, once a person has approved it",
        "description": f"An agent began the playbook {playbook.id}. It runs once a person has approved it.",
        "inputs": {name: _input(f"The input {name}.") for name in given},
        "steps": [
            *_pause(playbook.title, {"playbook": playbook.id, "inputs": values}, 0),
            {"id": "run", "title": playbook.title, "playbook": playbook.id, "with": values},
        ],
        "outputs": "{{ steps.run }}",
    }
    return library.with_parts(from_document(document), library.FOLDER / f"{PREFIX}{playbook.id}.yaml", library.FOLDER)


def _input(description: str) -> dict[str, Any]:
    return {"type": _ANY, "description": description}


def _pause(title: str, about: Mapping[str, Any], needed: int) -> list[dict[str, Any]]:
    """Return the steps that notify people and wait for the approval. needed: signed ones that the policy requires."""
    accepts = {"type": ["string", "object"], "maxLength": 4096} if needed else {"type": "string", "enum": [APPROVED]}
    return [
        {
            "title": "Notify the approvers",
            "action": "notify",
            "with": {
                "event": "needs_approval",
                "title": f"An agent asks for approval: {title}"[:200],
                "message": "Show the run before you approve it: an agent chose its parameters.",
                "run_id": "{{ run.id }}",
                "signal": "approval",
            },
        },
        {
            "id": "approved",
            "title": "Wait for a person's approval",
            "pause": "approval",
            "accepts": accepts,
            "count": max(needed, 1),
            "about": dict(about),
            "within": WAIT_SECONDS,
            "otherwise": "Nobody approved it in time. Nothing was changed.",
        },
    ]


def _approvals_needed(plan: Mapping[str, Json] | None) -> int:
    needed = None if plan is None else plan.get("approvals_needed")
    return needed if isinstance(needed, int) and not isinstance(needed, bool) else 0


def _names_irreversible_folder(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_names_irreversible_folder(each) for each in value.values())
    if isinstance(value, list):
        return any(_names_irreversible_folder(each) for each in value)
    return isinstance(value, str) and value in IRREVERSIBLE_DESTINATIONS
