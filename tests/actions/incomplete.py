"""Find actions that lack a field before a test imports them."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

from actions.contract.action import Action

REQUIRED = [
    field.name
    for field in dataclasses.fields(Action)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
]


def incomplete_actions(folder: Path) -> list[str]:
    """Return one sentence for each module in which `ACTION = Action(…)` lacks a field."""
    problems = []
    for path in sorted(folder.glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="ACTION")], value=ast.Call(keywords=keywords)):
                    missing = [name for name in REQUIRED if name not in {keyword.arg for keyword in keywords}]
                    if missing:
                        fields = "field" if len(missing) == 1 else "fields"
                        problems.append(f"actions/{path.name}: give ACTION the {fields} {', '.join(missing)}")
    return problems
