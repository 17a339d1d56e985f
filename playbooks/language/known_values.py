"""The parts of a value that are known before a run: literal values, and types of inputs and texts."""

from __future__ import annotations

from typing import Any

from core.json_values import Json
from playbooks.language.expressions import Template
from playbooks.language.format import SetStep
from playbooks.language.program import Program
from playbooks.language.shape import Unknown


def known_parts(program: Program, tree: Any) -> Json | Unknown:
    """Return the parts of a value that are known before the run: literal values, and types of inputs and texts."""
    if isinstance(tree, Template):
        return _known_value(program, tree.path) if tree.native else Unknown("string")
    if isinstance(tree, dict):
        return {key: known_parts(program, item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [known_parts(program, item) for item in tree]
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
            return known_parts(program, found) if isinstance(found, dict | list | str) else Unknown()
    return Unknown()
