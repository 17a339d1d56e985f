"""Check playbooks against the actions of this pack."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from actions.contract import catalog
from core.errors import Problem
from core.json_values import below
from playbooks import library
from playbooks.language import check as checker
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.finding import Finding
from playbooks.language.format import Playbook
from playbooks.language.shape import Schema

# The playbooks that this process has found sound, by their hash, which includes those that they run.
_sound: set[str] = set()
MOST_SOUND = 1000


def findings(id_or_path: str) -> list[Finding]:
    """Return every error and warning of a playbook, including its structure. Raises: PlaybookNotFound."""
    path = library.FOLDER / f"{id_or_path}.yaml"
    if "/" in id_or_path or id_or_path.endswith((".yaml", ".yml")) or not path.is_file():
        path = Path(id_or_path)
        if not path.exists():
            library.find(id_or_path)
    return checker.check_source(
        path, *_schemas(), _effects(), bundle=lambda playbook: library.with_parts(playbook, path)
    )


def require_sound(playbook: Playbook) -> None:
    """Check a playbook, and each one that it runs, before it runs. Raises: PlaybookInvalid with every error.

    A check takes 50 ms, and a service begins many runs of one playbook: a sound one is not checked again.
    """
    if playbook.sha256 in _sound:
        return
    own = checker.check(playbook, *_schemas(), _effects())
    problems = [finding.problem() for finding in own if finding.severity == "error"]
    for name, part in playbook.parts.items():
        found = checker.check(part.model_copy(update={"parts": playbook.parts}), *_schemas(), _effects())
        problems += [
            Problem(pointer=below("/parts", name) + finding.pointer, message=finding.message)
            for finding in found
            if finding.severity == "error"
        ]
    if problems:
        raise PlaybookInvalid(problems=problems)
    if len(_sound) < MOST_SOUND:
        _sound.add(playbook.sha256)


@cache
def _schemas() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the schemas of parameters and of results, by action."""
    actions = catalog.available().items()
    return (
        {name: action.params.model_json_schema() for name, action in actions},
        {name: action.result.model_json_schema(mode="serialization") for name, action in actions},
    )


def _effects() -> dict[str, str]:
    return {name: action.effect for name, action in catalog.available().items()}
