"""Check the steps that pause, and those that run another playbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from core.json_values import Json, below, did_you_mean, shown
from core.quantity import counted
from playbooks.language.bundling import playbooks_of
from playbooks.language.expressions import Template
from playbooks.language.finding import Finding, error, warning
from playbooks.language.format import InputSpec, PauseStep, Playbook, PlaybookStep
from playbooks.language.program import compiled
from playbooks.language.satisfiable import contradictions, useless_choices
from playbooks.language.shape import Unknown, mismatches

Known = Callable[[Any], Json | Unknown]


def pause_problems(step: PauseStep, pointer: str) -> Iterator[Finding]:
    """Yield the reasons why no signal can end a pause."""
    if step.accepts is None:
        return
    at = below(pointer, "accepts")
    for where, why in contradictions(step.accepts, at):
        yield error(where, f"nothing can answer this pause: {why}")
    for where, why in useless_choices(step.accepts, at):
        yield warning(where, why)


def sub_playbook_problems(
    step: PlaybookStep, pointer: str, parts: Mapping[str, Playbook], given: Mapping[str, Any], known: Known
) -> Iterator[Finding]:
    """Yield the problems of a step that runs another playbook.

    given: the values of `with`, with compiled expressions. known: returns what is known of a value before the run.
    """
    if step.for_each is None and "at_most" in step.model_fields_set:
        yield warning(below(pointer, "at_most"), "at_most has no effect without for_each")
    if step.for_each == []:
        yield warning(below(pointer, "for_each"), "the list is empty, so the playbook never runs")
    if step.for_each is not None and not _reads_item(given):
        yield warning(below(pointer, "with"), "`with` reads neither item nor index, so every run does the same")
    for number, handler in enumerate(step.on_error):
        if handler.retry is not None:
            message = "a step with `playbook` is not repeated; handle the error in the playbook that it runs"
            yield error(below(pointer, "on_error", number, "retry"), message)
    part = parts.get(step.playbook)
    if part is None:
        return
    yield from _broken_part(part, pointer)
    yield from _inputs(part, below(pointer, "with"), given, known)
    if step.for_each is not None and step.at_most > 1:
        for name in dict.fromkeys(_pauses(part, parts)):
            message = (
                f"{counted(step.at_most, 'run')} can wait for the signal {shown(name)} at the same time; "
                f"an answer must then name the run, such as {step.id}[1]"
            )
            yield warning(below(pointer, "at_most"), message)


def _reads_item(tree: Any) -> bool:
    if isinstance(tree, Template):
        return any(path[0] in ("item", "index") for path in tree.references)
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return any(_reads_item(child) for child in children)


def _broken_part(part: Playbook, pointer: str) -> Iterator[Finding]:
    problems = compiled(part).problems
    if problems:
        message = (
            f"the playbook {shown(part.id)} has {counted(len(problems), 'invalid expression')}; "
            f"check it: cfes playbook check {part.id}"
        )
        yield error(below(pointer, "playbook"), message)


def _inputs(part: Playbook, pointer: str, given: Mapping[str, Any], known: Known) -> Iterator[Finding]:
    for name, value in given.items():
        spec = part.inputs.get(name)
        if spec is None:
            message = f"unknown input {shown(name)} of {shown(part.id)}{did_you_mean(name, part.inputs, or_list=True)}"
            yield error(below(pointer, name), message)
            continue
        for problem in mismatches(_schema(spec), known(value), below(pointer, name)):
            yield error(problem["pointer"], problem["message"])
    for name, spec in part.inputs.items():
        if name not in given and not spec.has_default:
            yield error(below(pointer, name), f"the input {shown(name)} of {shown(part.id)} is missing")


def _schema(spec: InputSpec) -> dict[str, Json]:
    optional = spec.has_default and spec.default is None
    return {"anyOf": [spec.json_schema(), {"type": "null"}]} if optional else spec.json_schema()


def _pauses(playbook: Playbook, parts: Mapping[str, Playbook]) -> Iterator[str]:
    every = (step for one in playbooks_below(playbook, parts) for step in one.steps)
    return (step.pause for step in every if isinstance(step, PauseStep))


def playbooks_below(playbook: Playbook, parts: Mapping[str, Playbook]) -> list[Playbook]:
    """Return the playbook and every other one that it runs, each once."""
    found = {playbook.id: playbook}
    left = [playbook]
    while left:
        for _, name in playbooks_of(left.pop()):
            if name in parts and name not in found:
                found[name] = parts[name]
                left.append(parts[name])
    return list(found.values())
