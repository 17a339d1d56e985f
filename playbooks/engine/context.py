"""The variables that expressions read, and the outputs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.json_values import Json, shown
from playbooks.engine.state import RunState, StepRecord
from playbooks.language.data_environment import Results
from playbooks.language.errors import ExpressionFailed
from playbooks.language.format import Playbook, PlaybookStep
from playbooks.language.program import Program


def context_of(playbook: Playbook, state: RunState, now: str, *, ended: bool = False) -> dict[str, Any]:
    """Return the variables of expressions.

    ended: a playbook whose end has ended this run also has a result, so that the outputs can show what it did.
    """
    results: dict[str, Json] = {}
    errors: dict[str, Json] = {}
    reasons: dict[str, str] = {}
    for index, step in enumerate(playbook.steps):
        record = state.steps.get(step.id)
        has_ended = ended and index == state.position and isinstance(step, PlaybookStep)
        usable = record is not None and (record.status == "succeeded" or has_ended)
        if record is not None and usable and record.result is not None:
            results[step.id] = record.result
        else:
            reasons[step.id] = _why_no_result(record)
        if record is not None and record.status == "failed" and record.error is not None:
            errors[step.id] = record.error
    run = {
        "id": state.run_id,
        "key": state.key,
        "directory": state.directory,
        "playbook": state.playbook.id,
        "started_at": state.started_at,
        "now": now,
    }
    return {"inputs": state.inputs, "steps": Results(results, reasons), "errors": errors, "run": run}


def outputs_of(
    program: Program, state: RunState, now: str, parts: Mapping[str, Playbook]
) -> tuple[dict[str, Json], ExpressionFailed | None]:
    """Return the outputs of a run that ends, and the first error. An output that can't be evaluated is null."""
    context = context_of(program.playbook, state, now, ended=True)
    names = output_names(program.playbook, program, parts)
    if isinstance(program.playbook.outputs, str):
        field = program.fields["/outputs"]
        try:
            found = field.value(context)
            if not isinstance(found, dict):
                raise field.failed(field.pointer, f"must be a map of outputs, and is {shown(found)}")
        except ExpressionFailed as error:
            return dict.fromkeys(names), error
        return found, None
    outputs: dict[str, Json] = {}
    first: ExpressionFailed | None = None
    for name in names:
        try:
            outputs[name] = program.fields[f"/outputs/{name}"].value(context)
        except ExpressionFailed as error:
            outputs[name] = None
            first = first or error
    return outputs, first


def output_names(playbook: Playbook, program: Program, parts: Mapping[str, Playbook]) -> list[str]:
    """Return the names of a playbook's outputs, which may be those of a playbook that it runs."""
    if isinstance(playbook.outputs, Mapping):
        return list(playbook.outputs)
    path = getattr(program.fields["/outputs"].tree, "path", None)
    for step in playbook.steps:
        if path == ("steps", step.id) and isinstance(step, PlaybookStep) and step.for_each is None:
            part = parts[step.playbook]
            return list(part.outputs) if isinstance(part.outputs, Mapping) else []
    return []


def _why_no_result(record: StepRecord | None) -> str:
    if record is None:
        return "it was not reached"
    if record.status == "skipped":
        return "it was skipped, because its condition `when` is false"
    if record.status == "failed":
        return "it failed"
    if record.status == "running":
        return "it is not done yet"
    return "only action, set, pause and playbook steps have results"
