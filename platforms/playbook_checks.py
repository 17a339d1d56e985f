"""What is wrong with a playbook, against the actions as they are now."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from actions.contract import catalog
from playbooks import library
from playbooks.language import check as checker
from playbooks.language.check import Finding
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.format import Playbook


def findings(id_or_path: str) -> list[Finding]:
    """Every error and warning, those of its structure included. Raises: PlaybookNotFound."""
    path = library.FOLDER / f"{id_or_path}.yaml"
    if "/" in id_or_path or id_or_path.endswith((".yaml", ".yml")) or not path.is_file():
        path = Path(id_or_path)
        if not path.exists():
            library.find(id_or_path)
    schemas = _schemas()
    return checker.check_source(path, schemas["parameters"], results=schemas["results"], effects=_effects())


def require_sound(playbook: Playbook) -> None:
    """Raises: PlaybookInvalid with every error, before anything of it is run."""
    schemas = _schemas()
    found = checker.check(playbook, schemas["parameters"], results=schemas["results"])
    problems = [finding.problem() for finding in found if finding.severity == "error"]
    if problems:
        raise PlaybookInvalid(problems=problems)


@cache
def _schemas() -> dict[str, dict[str, dict[str, Any]]]:
    actions = catalog.available()
    return {
        "parameters": {name: action.params.model_json_schema() for name, action in actions.items()},
        "results": {name: action.result.model_json_schema(mode="serialization") for name, action in actions.items()},
    }


def _effects() -> dict[str, str]:
    return {name: action.effect for name, action in catalog.available().items()}
