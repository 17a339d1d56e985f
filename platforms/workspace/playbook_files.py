"""Check the inputs of a playbook that name files, before a run begins.

A step's file parameter that is exactly one input, such as `export: "{{ inputs.export }}"`, makes that input a file
name, also through sub-playbooks. Other expressions are checked when their step runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.json_values import Json, below
from platforms.workspace.file_parameters import file_parameters
from platforms.workspace.workspace import Workspace
from playbooks.language.expressions import TemplateInvalid, compile_template, has_expression
from playbooks.language.format import ActionStep, Playbook, PlaybookStep

_NAMES = frozenset(("inputs", "steps", "run", "item", "index", "end", "omit"))


def check_file_inputs(playbook: Playbook, inputs: Mapping[str, Json], workspace: Workspace) -> None:
    """Raise ParameterError for an input that names a path, or NotFound for one that names an unknown run.

    inputs: those that the caller gave. workspace: that of the run, which may be missing.
    """
    for name, writes in sorted(set(_file_inputs(playbook, playbook.parts))):
        given = inputs.get(name)
        if isinstance(given, str):
            check = workspace.place_to_write if writes else workspace.place_to_read
            check(given, below("/inputs", name))


def _file_inputs(playbook: Playbook, parts: Mapping[str, Playbook]) -> Iterator[tuple[str, bool]]:
    """Yield the name of each input that is a file name, and whether the file is written."""
    for step in (*playbook.steps, *playbook.at_end):
        if isinstance(step, ActionStep):
            found = [(each.name, each.writes) for each in file_parameters(step.action) if not each.at]
        elif isinstance(step, PlaybookStep):
            found = list(_file_inputs(parts[step.playbook], parts))
        else:
            continue
        for name, writes in found:
            source = _input_of(step.with_.get(name))
            if source is not None:
                yield source, writes


def _input_of(value: Json) -> str | None:
    """Return the name of the input that a text of a playbook reads, if it does nothing else."""
    if not isinstance(value, str) or not has_expression(value):
        return None
    try:
        path = compile_template(value, _NAMES).path
    except TemplateInvalid:
        return None
    return str(path[1]) if path is not None and len(path) == 2 and path[0] == "inputs" else None
