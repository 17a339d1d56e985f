"""Load a playbook from YAML or plain data, with the place and the line of each problem."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from core.errors import Problem
from core.json_values import Json, NotPlainJson, below, plain, shown
from core.strict_yaml import MAX_BYTES, YamlRefused, line_of, read
from playbooks.language.errors import PlaybookInvalid, PlaybookNotFound
from playbooks.language.format import STEP_KINDS, PauseStep, Playbook, ValueSpec
from playbooks.language.structure import explained, has_unquoted_expression, version_problems


def load(source: str | Path) -> Playbook:
    """Load a playbook from YAML text, or from the file at a Path.

    Checks the structure; `playbooks.language.check` checks expressions and actions. Raises: PlaybookInvalid with every
    problem of the structure, and PlaybookNotFound if the file can't be read.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                text = file.read(MAX_BYTES + 1).decode("utf-8")
        except OSError as error:
            raise PlaybookNotFound(f"the playbook {shown(str(source), 500)} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PlaybookInvalid(problems=[Problem(pointer="", message="the file is not UTF-8 text")]) from None
        return _load_text(text)
    return _load_text(source)


# A service and a worker load the same playbooks for every run.
@lru_cache(maxsize=64)
def _load_text(text: str) -> Playbook:
    try:
        found = read(text)
    except YamlRefused as error:
        unquoted = has_unquoted_expression(text, error.line)
        message = 'an expression needs quotes, as in key: "{{ inputs.name }}"' if unquoted else error.message
        raise PlaybookInvalid(problems=[_problem(error.pointer, message, error.line)]) from None
    return from_document(found.data, lines=found.lines)


def from_document(document: Json, *, lines: dict[str, int] | None = None) -> Playbook:
    """Load a playbook from plain JSON data. Raises: PlaybookInvalid with every problem of the structure."""
    lines = lines or {}
    try:
        playbook = Playbook.model_validate(_with_ids(plain(document)))
    except NotPlainJson as error:
        problems = [Problem(pointer=error.pointer, message=error.message)]
    except ValidationError as error:
        problems = explained(document, error)
    else:
        problems = [*version_problems(document), *_contradictions(playbook)]
    if problems:
        located = [_problem(p["pointer"], p["message"], line_of(lines, p["pointer"])) for p in problems]
        raise PlaybookInvalid(problems=located)
    playbook._lines.update(lines)
    return playbook


def _with_ids(document: Json) -> Json:
    """Return the document with an ID for each step that has none: its kind and number."""
    if not isinstance(document, dict) or not isinstance(document.get("steps"), list):
        return document
    steps = []
    for number, step in enumerate(document["steps"], 1):
        kind = next((key for key in STEP_KINDS if key in step), None) if isinstance(step, dict) else None
        steps.append({"id": f"{kind}-{number}", **step} if kind is not None and "id" not in step else step)
    parts, at_end = document.get("parts"), document.get("at_end")
    if isinstance(parts, dict):
        document = {**document, "parts": {name: _with_ids(part) for name, part in parts.items()}}
    if isinstance(at_end, list):
        named = [
            {"id": f"at-end-{n}", **s} if isinstance(s, dict) and "id" not in s else s for n, s in enumerate(at_end, 1)
        ]
        document = {**document, "at_end": named}
    return {**document, "steps": steps}


def _contradictions(playbook: Playbook) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    placed = [(f"/steps/{index}/id", step) for index, step in enumerate(playbook.steps)]
    placed += [(f"/at_end/{index}/id", step) for index, step in enumerate(playbook.at_end)]
    for index, (pointer, step) in enumerate(placed):
        if step.id in seen:
            message = f"the step id {shown(step.id)} is used twice, first in step {seen[step.id] + 1}"
            problems.append(Problem(pointer=pointer, message=message))
        seen.setdefault(step.id, index)
    primary = [name for name, spec in playbook.inputs.items() if spec.primary]
    problems += [
        Problem(
            pointer=below("/inputs", name, "primary"),
            message=f"only one input can be primary, and {primary[0]} already is",
        )
        for name in primary[1:]
    ]
    for name, spec in playbook.inputs.items():
        problems += _bad_patterns(spec, below("/inputs", name))
    for index, step in enumerate(playbook.steps):
        if isinstance(step, PauseStep) and step.accepts is not None:
            problems += _bad_patterns(step.accepts, below("/steps", index, "accepts"))
    return problems


def _bad_patterns(spec: ValueSpec, pointer: str) -> list[Problem]:
    problems = []
    try:
        re.compile(spec.pattern or "")
    except re.error as error:
        problems.append(Problem(pointer=below(pointer, "pattern"), message=f"not a regular expression: {error}"))
    for name, child in (spec.properties or {}).items():
        problems += _bad_patterns(child, below(pointer, "properties", name))
    if spec.items is not None:
        problems += _bad_patterns(spec.items, below(pointer, "items"))
    return problems


def _problem(pointer: str, message: str, line: int | None) -> Problem:
    return Problem(pointer=pointer, message=message if line is None else f"line {line}: {message}")
