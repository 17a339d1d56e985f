"""Find every problem of a playbook before it runs, each with a JSON pointer into the YAML and a line number.

The check compiles all expressions. It verifies that steps which are read exist, come earlier and have results; that
inputs exist and are used; that actions and playbooks exist; that parameters fit the action's JSON Schema; and that a
pause can be answered. It refuses a misspelt search criterion, because the API ignores unknown keys and would find too
many messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from core import errors as pack_errors
from core.errors import PackError, Problem
from core.json_values import below, did_you_mean, shown
from core.strict_yaml import line_of
from playbooks.language import advice
from playbooks.language import errors as playbook_errors
from playbooks.language.check_reads import Place, places, read_problems
from playbooks.language.check_steps import pause_problems, playbooks_below, sub_playbook_problems
from playbooks.language.check_texts import foreign_expressions
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.expressions import Template, has_expression
from playbooks.language.finding import Finding, error, warning
from playbooks.language.format import ActionStep, CheckStep, FinishStep, PauseStep, Playbook, PlaybookStep, Step
from playbooks.language.inputs import input_problems
from playbooks.language.known_values import known_parts
from playbooks.language.loading import load
from playbooks.language.program import Program, compiled, problems_of
from playbooks.language.satisfiable import contradictions, useless_choices
from playbooks.language.shape import Schema, mismatches


def check(
    playbook: Playbook,
    actions: Mapping[str, Schema],
    results: Mapping[str, Schema] | None = None,
    effects: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return all findings of a playbook, sorted by line. Raises nothing.

    actions: the JSON Schema of each action's parameters, by ID. results: the schemas of the results; with them the
    check also covers the fields of results that expressions read. effects: read, write or irreversible, by action; with
    them the check refuses changes in `at_end`, and warns of a check step that refuses only after a change, and of a job
    without a plan. The playbooks in `parts` are checked only for what the playbook's own steps need of them.
    """
    program = compiled(playbook)
    found = [error(p["pointer"], p["message"]) for p in problems_of(playbook) if not _is_in_part(p)]
    found += _foreign_expressions(playbook, program, found)
    every = list(places(playbook, program))
    found += _inputs(playbook, every)
    found += _key(playbook, program)
    found += _outputs(program)
    uncompiled = {problem["pointer"] for problem in program.problems}
    for number, step in enumerate(playbook.steps):
        of_step = _step(step, below("/steps", number), program, playbook.parts, actions, effects or {})
        found += (finding for finding in of_step if finding.pointer not in uncompiled)
    for number, last in enumerate(playbook.at_end):
        of_last = _last_action(last, below("/at_end", number), program, actions, effects or {})
        found += (finding for finding in of_last if finding.pointer not in uncompiled)
    for place in every:
        found += read_problems(playbook, program, place, results or {})
    found += _late_refusals(playbook, effects or {})
    lines = playbook.lines
    located = [Finding(f.severity, f.pointer, f.message, line_of(lines, f.pointer)) for f in dict.fromkeys(found)]
    return sorted(located, key=lambda f: (f.line or 0, f.severity))


def check_source(
    source: str | Path,
    actions: Mapping[str, Schema],
    results: Mapping[str, Schema] | None = None,
    effects: Mapping[str, str] | None = None,
    bundle: Callable[[Playbook], Playbook] = lambda playbook: playbook,
) -> list[Finding]:
    """Check YAML text or a file, including the structure. Raises: PlaybookNotFound.

    bundle: adds the playbooks that the steps run, or raises PlaybookInvalid.
    """
    try:
        playbook = load(source)
    except PlaybookInvalid as invalid:
        return [_structural(problem) for problem in invalid.problems]
    unbundled: list[Finding] = []
    try:
        playbook = bundle(playbook)
    except PlaybookInvalid as invalid:
        unbundled = [_structural(problem) for problem in invalid.problems]
    said = {finding.pointer for finding in unbundled}
    return [*unbundled, *(f for f in check(playbook, actions, results, effects) if f.pointer not in said)]


def _structural(problem: Problem) -> Finding:
    line, separator, message = problem["message"].removeprefix("line ").partition(": ")
    if separator and line.isdigit():
        return Finding("error", problem["pointer"], message, int(line))
    return error(problem["pointer"], problem["message"])


def _is_in_part(problem: Problem) -> bool:
    return problem["pointer"].startswith("/parts/")


def _foreign_expressions(playbook: Playbook, program: Program, found: list[Finding]) -> Iterator[Finding]:
    """Yield texts in the syntax of other languages. Removes the less helpful problem at the same place."""
    for finding in foreign_expressions(playbook, program):
        found[:] = [f for f in found if f.pointer != finding.pointer]
        yield finding


def _step(
    step: Step,
    pointer: str,
    program: Program,
    parts: Mapping[str, Playbook],
    actions: Mapping[str, Schema],
    effects: Mapping[str, str],
) -> Iterator[Finding]:
    match step:
        case ActionStep():
            yield from _action(step, pointer, program, actions)
            yield from _handlers(step, below(pointer, "on_error"))
            yield from _unplanned(step, pointer, actions.get(step.action, {}), effects.get(step.action, "read"))
            yield from _fixed_key(step, below(pointer, "with", "idempotency_key"))
        case PauseStep():
            yield from pause_problems(step, pointer)
        case CheckStep() if step.check is False and step.when is True:
            yield warning(below(pointer, "check"), "the condition is always false, so every run ends here")
        case FinishStep() if step.finish is True and step.when is True:
            yield warning(below(pointer, "finish"), "the condition is always true, so every run ends here")
        case PlaybookStep():
            given = program.fields[below(pointer, "with")].tree
            yield from sub_playbook_problems(step, pointer, parts, given, lambda tree: known_parts(program, tree))
            yield from _handlers(step, below(pointer, "on_error"))
            yield from _keyless(step, below(pointer, "playbook"), program.playbook, parts, actions)


def _inputs(playbook: Playbook, every: list[Place]) -> Iterator[Finding]:
    read: set[str | int] = set()
    everything = False
    for place in every:
        for path in place.template.references:
            if path[0] != "inputs":
                continue
            if len(path) == 1:
                everything = True
                continue
            read.add(path[1])
            if path[1] not in playbook.inputs:
                hint = did_you_mean(str(path[1]), playbook.inputs)
                yield error(place.pointer, f"unknown input {shown(path[1])}{hint}")
    for name, spec in playbook.inputs.items():
        at = below("/inputs", name)
        if name not in read and not everything:
            yield warning(at, f"the input {shown(name)} is not used")
        if spec.has_default:
            for problem in input_problems(spec, spec.default, below(at, "default")):
                yield error(problem["pointer"], f"the default is invalid: {problem['message']}")
        for where, why in contradictions(spec, at):
            yield error(where, f"nobody can give this input: {why}")
        for where, why in useless_choices(spec, at):
            yield warning(where, why)


def _key(playbook: Playbook, program: Program) -> Iterator[Finding]:
    if playbook.key is None:
        return
    tree = program.fields["/key"].tree
    if isinstance(tree, str):
        yield error("/key", "every run would have this key; read an input, as in {{ inputs.alert.AlertID }}")
    path = tree.path if isinstance(tree, Template) else None
    spec = playbook.inputs.get(str(path[1])) if path is not None and len(path) == 2 else None
    if spec is not None and "string" not in ([spec.type] if isinstance(spec.type, str) else spec.type):
        yield error("/key", f'the key must be text, and this input is not; add a text, as in "case {tree.source}"')


def _outputs(program: Program) -> Iterator[Finding]:
    field = program.fields.get("/outputs")
    if field is None or field.tree is None:
        return
    if not isinstance(field.tree, Template) or not field.tree.native:
        yield error("/outputs", "must be a map of names, or exactly one expression in {{ … }} that gives a map")


def _action(step: ActionStep, pointer: str, program: Program, actions: Mapping[str, Schema]) -> Iterator[Finding]:
    schema = actions.get(step.action)
    if schema is None:
        hint = did_you_mean(step.action, actions)
        yield error(below(pointer, "action"), f"unknown action {shown(step.action)}{hint}")
        return
    known = known_parts(program, program.fields[below(pointer, "with")].tree)
    for problem in mismatches(schema, known, below(pointer, "with"), closed=True):
        yield error(problem["pointer"], problem["message"])


def _last_action(
    step: ActionStep, pointer: str, program: Program, actions: Mapping[str, Schema], effects: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield the problems of an action in `at_end`. A run's result does not report what it changes."""
    yield from _action(step, pointer, program, actions)
    if effects.get(step.action, "read") != "read":
        message = f"{shown(step.action)} is not read-only; at_end takes only actions that read, such as notify"
        yield error(below(pointer, "action"), message)
    for name in ("repeat", "on_error", "keep"):
        if name in step.model_fields_set:
            yield error(below(pointer, name), f"`{name}` has no effect in at_end: its actions run once")


def _handlers(step: ActionStep | PlaybookStep, pointer: str) -> Iterator[Finding]:
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
                yield warning(at, f"unknown error type {shown(name)}{advice.for_error_type(name, known)}")
        if "*" in handler.types and handler.when is True and number < len(step.on_error) - 1:
            yield warning(at, "this handler takes every error, so the handlers after it are never used")


def _fixed_key(step: ActionStep, pointer: str) -> Iterator[Finding]:
    key = step.with_.get("idempotency_key")
    if isinstance(key, str) and not has_expression(key):
        yield warning(pointer, "every run would have this key, and only the first one would make a job; read an input")


def _keyless(
    step: PlaybookStep,
    pointer: str,
    playbook: Playbook,
    parts: Mapping[str, Playbook],
    actions: Mapping[str, Schema],
) -> Iterator[Finding]:
    """Warn of a sub-playbook whose actions need a key, in a playbook without one."""
    if playbook.key is not None or step.playbook not in parts:
        return
    for part in playbooks_below(parts[step.playbook], parts):
        for inner in part.steps:
            keyed = isinstance(inner, ActionStep) and "idempotency_key" in actions.get(inner.action, {}).get(
                "properties", {}
            )
            if isinstance(inner, ActionStep) and keyed and "idempotency_key" not in inner.with_:
                message = (
                    f"step {shown(inner.id)} of {shown(part.id)} takes its idempotency_key from this playbook's key, "
                    "and it has none, so a second start makes a second job: write `key` at the top"
                )
                yield warning(pointer, message)
                return


def _unplanned(step: ActionStep, pointer: str, schema: Schema, effect: str) -> Iterator[Finding]:
    """Warn of a step that makes a job, or cannot be undone, without a plan that bounds what it changes."""
    known = schema.get("properties", {})
    bounded = "plan" in known and (effect == "irreversible" or (effect == "write" and "search_params" in known))
    if not bounded or "plan" in schema.get("required", ()) or step.with_.get("dry_run") is True:
        return
    if step.with_.get("plan") is None:
        effects = "can't be undone" if effect == "irreversible" else "changes mail"
        message = (
            f"{shown(step.action)} {effects} and has no plan, so nothing limits it to messages that were counted: "
            'run preview-job in an earlier step and write plan: "{{ steps.ID }}"'
        )
        yield warning(below(pointer, "with"), message)


def _late_refusals(playbook: Playbook, effects: Mapping[str, str]) -> Iterator[Finding]:
    changed: str | None = None
    for index, step in enumerate(playbook.steps):
        if isinstance(step, CheckStep | PauseStep) and step.outcome == "refused" and changed is not None:
            kind = "check" if isinstance(step, CheckStep) else "pause"
            message = (
                f"step {shown(changed)} may have changed something before this {kind} refuses; use outcome: incomplete"
            )
            yield warning(below("/steps", index), message)
        if _changes(step, playbook.parts, effects):
            changed = changed or step.id


def _changes(step: Step, parts: Mapping[str, Playbook], effects: Mapping[str, str]) -> bool:
    if isinstance(step, ActionStep):
        return effects.get(step.action, "read") != "read" and step.with_.get("dry_run") is not True
    if isinstance(step, PlaybookStep) and step.playbook in parts:
        every = (inner for part in playbooks_below(parts[step.playbook], parts) for inner in part.steps)
        return any(isinstance(inner, ActionStep) and _changes(inner, parts, effects) for inner in every)
    return False
