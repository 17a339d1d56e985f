"""Check what the expressions of a playbook read: steps, fields of results, keys of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.json_values import did_you_mean, shown
from playbooks.language import advice
from playbooks.language.expressions import Template
from playbooks.language.finding import Finding, error, warning
from playbooks.language.format import ActionStep, PauseStep, Playbook, PlaybookStep, SetStep, Step
from playbooks.language.program import RUN_KEYS, Program
from playbooks.language.shape import Schema, missing_of

_DIFFERS_IN_EVERY_RUN = ("id", "started_at", "now")


@dataclass(frozen=True)
class Place:
    """An expression with its pointer, and the index and the step that it belongs to; None for key and outputs."""

    pointer: str
    template: Template
    index: int | None
    step: Step | None


def places(playbook: Playbook, program: Program) -> Iterator[Place]:
    """Yield each expression of a playbook."""
    for field in program.fields.values():
        parts = field.pointer.split("/")
        index = int(parts[2]) if parts[1] == "steps" else None
        step = playbook.steps[index] if index is not None else None
        for pointer, template in field.templates():
            yield Place(pointer, template, index, step)


def read_problems(
    playbook: Playbook, program: Program, place: Place, results: Mapping[str, Schema]
) -> Iterator[Finding]:
    """Yield the problems of what one expression reads. results: the schemas of the actions' results."""
    yield from _references(playbook, program, place)
    yield from _run_keys(place)
    yield from _result_keys(playbook, place, results)


def _references(playbook: Playbook, program: Program, place: Place) -> Iterator[Finding]:
    ids = {step.id: number for number, step in enumerate(playbook.steps)}
    index = place.index
    guarded = set(place.template.guarded)
    if index is not None:
        for _, condition in program.at(index, "when").templates():
            guarded |= condition.guarded
    for path in place.template.references:
        if path[0] not in ("steps", "errors") or len(path) == 1:
            continue
        name = str(path[1])
        if name not in ids:
            yield error(place.pointer, f"unknown step {shown(name)}{did_you_mean(name, ids)}")
        elif index is not None and ids[name] == index:
            yield error(place.pointer, "a step can't read its own result here; use `previous` in a repeated step")
        elif index is not None and ids[name] > index:
            yield error(place.pointer, f"step {shown(name)} comes later than this one")
        elif path[0] == "steps":
            yield from _absent(playbook.steps[ids[name]], place, guarded)


def _absent(read: Step, place: Place, guarded: set[str]) -> Iterator[Finding]:
    if not isinstance(read, ActionStep | SetStep | PauseStep | PlaybookStep):
        message = f"step {shown(read.id)} has no result: only action, set, pause and playbook steps have one"
        yield error(place.pointer, message)
    elif read.id not in guarded:
        single = isinstance(read, ActionStep) or (isinstance(read, PlaybookStep) and read.for_each is None)
        handlers = read.on_error if isinstance(read, ActionStep | PlaybookStep) and single else []
        # The outputs also read a sub-playbook that failed.
        of_outputs = place.step is None and isinstance(read, PlaybookStep)
        continues = not of_outputs and any(handler.do == "continue" for handler in handlers)
        skipped = read.when is not True and (place.step is None or place.step.when != read.when)
        if skipped or continues:
            message = f"step {shown(read.id)} may have no result; guard it: {{{{ … if '{read.id}' in steps else … }}}}"
            yield warning(place.pointer, message)


def _run_keys(place: Place) -> Iterator[Finding]:
    for path in place.template.references:
        if path[0] != "run" or len(path) == 1:
            continue
        if path[1] not in RUN_KEYS:
            yield error(place.pointer, f"run has no {shown(path[1])}{did_you_mean(str(path[1]), RUN_KEYS)}")
        elif path[1] in _DIFFERS_IN_EVERY_RUN and _has_idempotency_key(place.step):
            message = f"run.{path[1]} differs in every run, and idempotency_key needs the same request in every run"
            yield warning(place.pointer, message)


def _has_idempotency_key(step: Step | None) -> bool:
    return isinstance(step, ActionStep) and "idempotency_key" in step.with_


def _result_keys(playbook: Playbook, place: Place, results: Mapping[str, Schema]) -> Iterator[Finding]:
    """Yield a finding for each field that the result of a step does not have."""
    by_id = {step.id: step for step in playbook.steps}
    for path in place.template.references:
        if path[0] == "steps" and len(path) > 2:
            step, keys = by_id.get(str(path[1])), path[2:]
        elif path[0] in ("result", "previous") and len(path) > 1:
            step, keys = place.step, path[1:]
        else:
            continue
        if step is None:
            continue
        if isinstance(step, ActionStep) and path[0] == "steps" and step.keep is not None and keys[0] not in step.keep:
            yield error(place.pointer, f"step {shown(step.id)} does not keep {shown(keys[0])} of its result")
            continue
        schema = _result_schema(step, playbook.parts, results)
        missing = missing_of(schema, keys) if schema is not None else None
        if missing is not None:
            hint = advice.for_result(keys[0], step.id) if len(keys) > 1 else ""
            yield error(place.pointer, f"the result of {_named(step)} has no {missing}{hint}")


def _named(step: Step) -> str:
    match step:
        case ActionStep():
            return shown(step.action)
        case PlaybookStep():
            return f"the playbook {shown(step.playbook)}"
    return f"step {shown(step.id)}"


def _result_schema(step: Step, parts: Mapping[str, Playbook], results: Mapping[str, Schema]) -> Schema | None:
    match step:
        case ActionStep():
            return results.get(step.action)
        case SetStep():
            return {"type": "object", "properties": dict.fromkeys(step.set_, True)}
        case PauseStep():
            kind = step.accepts.type if step.accepts is not None else None
            # An object may have more keys than `accepts` names.
            value: Schema | bool = {"type": kind} if isinstance(kind, str) and kind not in ("object", "array") else True
            return {"type": "object", "properties": {"value": value, "values": {"type": "array", "items": value}}}
        case PlaybookStep() if step.playbook in parts:
            names = output_names(parts[step.playbook], parts)
            outputs: Schema = {"type": "object"} if names is None else _object(names)
            if step.for_each is None:
                return outputs
            run = {**_object(["status", "error", "message"])}
            run["properties"] = {**run["properties"], "outputs": outputs}
            return {"type": "object", "properties": {"runs": {"type": "array", "items": run}}}
    return None


def _object(names: list[str]) -> dict[str, dict[str, Schema | bool]]:
    return {"properties": dict.fromkeys(names, True)}


def output_names(playbook: Playbook, parts: Mapping[str, Playbook]) -> list[str] | None:
    """Return the names of a playbook's outputs, or None if only a run knows them."""
    if isinstance(playbook.outputs, Mapping):
        return list(playbook.outputs)
    for step in playbook.steps:
        read = playbook.outputs.strip("{} \n") == f"steps.{step.id}"
        if read and isinstance(step, PlaybookStep) and step.for_each is None and step.playbook in parts:
            return output_names(parts[step.playbook], parts)
    return None
