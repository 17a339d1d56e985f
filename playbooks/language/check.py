"""Find every problem of a playbook before it runs, each with a JSON pointer into the YAML and a line number.

The check compiles all expressions. It verifies that steps which are read exist, come earlier and have results; that
inputs exist and are used; that actions exist; and that parameters fit the action's JSON Schema. It refuses a misspelt
search criterion, because the API ignores unknown keys and would find too many messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core import errors as pack_errors
from core.errors import PackError, Problem
from core.json_values import Json, below, did_you_mean, shown
from core.strict_yaml import line_of
from playbooks.language import errors as playbook_errors
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.expressions import Template
from playbooks.language.format import ActionStep, CheckStep, Playbook, SetStep, Step
from playbooks.language.inputs import input_problems
from playbooks.language.loading import load
from playbooks.language.program import RUN_KEYS, Program, compiled, problems_of
from playbooks.language.shape import Schema, Unknown, mismatches, missing_of


@dataclass(frozen=True)
class Finding:
    """A problem of a playbook. An error prevents a correct run; a warning is for the author to judge."""

    severity: Literal["error", "warning"]
    pointer: str
    message: str
    line: int | None = None

    def problem(self) -> Problem:
        """Return the finding as a problem of an error document."""
        return Problem(pointer=self.pointer, message=self.message)


def check(
    playbook: Playbook,
    actions: Mapping[str, Schema],
    results: Mapping[str, Schema] | None = None,
    effects: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return all findings of a playbook, sorted by line. Raises nothing.

    actions: the JSON Schema of each action's parameters, by ID. results: the schemas of the results; with them the
    check also covers the fields of results that expressions read. effects: read, write or irreversible, by action; with
    them the check warns of a check step that refuses only after a change.
    """
    program = compiled(playbook)
    found = [Finding("error", p["pointer"], p["message"]) for p in problems_of(playbook)]
    found += _inputs(playbook, program)
    for number, step in enumerate(playbook.steps):
        if isinstance(step, ActionStep):
            found += _action(step, below("/steps", number), program, actions)
            found += _handlers(step, below("/steps", number, "on_error"))
    for pointer, template, index in _templates(program):
        found += _references(playbook, program, pointer, template, index)
        found += _run_keys(playbook.steps[index] if index is not None else None, pointer, template)
        found += _result_keys(playbook, pointer, template, index, results or {})
    found += _late_refusals(playbook, effects or {})
    lines = playbook.lines
    located = [Finding(f.severity, f.pointer, f.message, line_of(lines, f.pointer)) for f in dict.fromkeys(found)]
    return sorted(located, key=lambda f: (f.line or 0, f.severity))


def check_source(
    source: str | Path,
    actions: Mapping[str, Schema],
    results: Mapping[str, Schema] | None = None,
    effects: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Check YAML text or a file, including the structure. Raises: PlaybookNotFound."""
    try:
        playbook = load(source)
    except PlaybookInvalid as error:
        return [_structural(problem) for problem in error.problems]
    return check(playbook, actions, results=results, effects=effects)


def _structural(problem: Problem) -> Finding:
    line, separator, message = problem["message"].removeprefix("line ").partition(": ")
    if separator and line.isdigit():
        return Finding("error", problem["pointer"], message, int(line))
    return Finding("error", problem["pointer"], problem["message"])


def _templates(program: Program) -> Iterator[tuple[str, Template, int | None]]:
    """Yield each expression with its pointer and the index of its step; None for outputs."""
    for field in program.fields.values():
        parts = field.pointer.split("/")
        index = int(parts[2]) if parts[1] == "steps" else None
        for pointer, template in field.templates():
            yield pointer, template, index


def _inputs(playbook: Playbook, program: Program) -> Iterator[Finding]:
    read: set[str | int] = set()
    everything = False
    for pointer, template, _ in _templates(program):
        for path in template.references:
            if path[0] != "inputs":
                continue
            if len(path) == 1:
                everything = True
                continue
            read.add(path[1])
            if path[1] not in playbook.inputs:
                hint = did_you_mean(str(path[1]), playbook.inputs)
                yield Finding("error", pointer, f"unknown input {shown(path[1])}{hint}")
    for name, spec in playbook.inputs.items():
        at = below("/inputs", name)
        if name not in read and not everything:
            yield Finding("warning", at, f"the input {shown(name)} is not used")
        if spec.has_default:
            for problem in input_problems(spec, spec.default, below(at, "default")):
                yield Finding("error", problem["pointer"], f"the default is invalid: {problem['message']}")


def _action(step: ActionStep, pointer: str, program: Program, actions: Mapping[str, Schema]) -> Iterator[Finding]:
    schema = actions.get(step.action)
    if schema is None:
        hint = did_you_mean(step.action, actions)
        yield Finding("error", below(pointer, "action"), f"unknown action {shown(step.action)}{hint}")
        return
    known = _known_parts(program, program.fields[below(pointer, "with")].tree)
    for problem in mismatches(schema, known, below(pointer, "with"), closed=True):
        yield Finding("error", problem["pointer"], problem["message"])


def _known_parts(program: Program, tree: Any) -> Json | Unknown:
    """Return the parts of a value that are known before the run: literal values, and types of inputs and texts."""
    if isinstance(tree, Template):
        return _known_value(program, tree.path) if tree.native else Unknown("string")
    if isinstance(tree, dict):
        return {key: _known_parts(program, item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_known_parts(program, item) for item in tree]
    return tree


def _known_value(program: Program, path: tuple[str | int, ...] | None) -> Json | Unknown:
    match path:
        case ("inputs", str(name)) if name in program.playbook.inputs:
            spec = program.playbook.inputs[name]
            optional = spec.has_default and spec.default is None
            return Unknown(spec.type if isinstance(spec.type, str) and not optional else None)
        case ("steps", str(step_id), *keys):
            steps = enumerate(program.playbook.steps)
            index = next((i for i, step in steps if step.id == step_id and isinstance(step, SetStep)), None)
            found = program.at(index, "set").tree if index is not None and keys else None
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
            return _known_parts(program, found) if isinstance(found, dict | list | str) else Unknown()
    return Unknown()


def _handlers(step: ActionStep, pointer: str) -> Iterator[Finding]:
    known = {
        name
        for module in (pack_errors, playbook_errors)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, PackError)
    }
    for number, handler in enumerate(step.on_error):
        at = below(pointer, number, "type")
        for name in handler.types:
            if name != "*" and name not in known:
                yield Finding("warning", at, f"unknown error type {shown(name)}{did_you_mean(name, known)}")
        if "*" in handler.types and handler.when is True and number < len(step.on_error) - 1:
            yield Finding("warning", at, "this handler takes every error, so the handlers after it are never used")


def _references(
    playbook: Playbook, program: Program, pointer: str, template: Template, index: int | None
) -> Iterator[Finding]:
    ids = {step.id: number for number, step in enumerate(playbook.steps)}
    own = playbook.steps[index] if index is not None else None
    guarded = set(template.guarded)
    if index is not None:
        for _, condition in program.at(index, "when").templates():
            guarded |= condition.guarded
    for path in template.references:
        if path[0] not in ("steps", "errors") or len(path) == 1:
            continue
        name = str(path[1])
        if name not in ids:
            yield Finding("error", pointer, f"unknown step {shown(name)}{did_you_mean(name, ids)}")
        elif index is not None and ids[name] == index:
            yield Finding("error", pointer, "a step can't read its own result here; use `previous` in a repeated step")
        elif index is not None and ids[name] > index:
            yield Finding("error", pointer, f"step {shown(name)} comes later than this one")
        elif path[0] == "steps":
            yield from _absent(playbook.steps[ids[name]], own, pointer, guarded)


def _run_keys(own: Step | None, pointer: str, template: Template) -> Iterator[Finding]:
    for path in template.references:
        if path[0] != "run" or len(path) == 1:
            continue
        if path[1] not in RUN_KEYS:
            yield Finding("error", pointer, f"run has no {shown(path[1])}{did_you_mean(str(path[1]), RUN_KEYS)}")
        elif path[1] in _DIFFERS_IN_EVERY_RUN and isinstance(own, ActionStep) and "idempotency_key" in own.with_:
            message = f"run.{path[1]} differs in every run, and idempotency_key needs the same request in every run"
            yield Finding("warning", pointer, message)


_DIFFERS_IN_EVERY_RUN = ("id", "started_at", "now")


def _absent(read: Step, own: Step | None, pointer: str, guarded: set[str]) -> Iterator[Finding]:
    if not isinstance(read, ActionStep | SetStep):
        yield Finding("error", pointer, f"step {shown(read.id)} has no result: only action and set steps have one")
    elif read.id not in guarded and not (own is not None and own.when == read.when):
        continues = isinstance(read, ActionStep) and any(handler.do == "continue" for handler in read.on_error)
        if read.when is not True or continues:
            message = f"step {shown(read.id)} may have no result; guard it: {{{{ … if '{read.id}' in steps else … }}}}"
            yield Finding("warning", pointer, message)


def _result_keys(
    playbook: Playbook, pointer: str, template: Template, index: int | None, results: Mapping[str, Schema]
) -> Iterator[Finding]:
    """Yield a finding for each field of a result that the action's schema does not have."""
    by_id = {step.id: step for step in playbook.steps}
    for path in template.references:
        if path[0] == "steps" and len(path) > 2:
            step, keys = by_id.get(str(path[1])), path[2:]
        elif path[0] in ("result", "previous") and len(path) > 1 and index is not None:
            step, keys = playbook.steps[index], path[1:]
        else:
            continue
        if not isinstance(step, ActionStep) or step.action not in results:
            continue
        if path[0] == "steps" and step.keep is not None and keys[0] not in step.keep:
            yield Finding("error", pointer, f"step {shown(step.id)} does not keep {shown(keys[0])} of its result")
            continue
        missing = missing_of(results[step.action], keys)
        if missing is not None:
            yield Finding("error", pointer, f"the result of {shown(step.action)} has no {missing}")


def _late_refusals(playbook: Playbook, effects: Mapping[str, str]) -> Iterator[Finding]:
    changed: str | None = None
    for index, step in enumerate(playbook.steps):
        if isinstance(step, ActionStep) and effects.get(step.action, "read") != "read":
            changed = changed or step.id
        if isinstance(step, CheckStep) and step.outcome == "refused" and changed is not None:
            message = (
                f"step {shown(changed)} may have changed something before this check refuses; use outcome: incomplete"
            )
            yield Finding("warning", below("/steps", index), message)
