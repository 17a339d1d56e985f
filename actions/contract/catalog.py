"""Find the actions: the modules of `actions/` that define an `ACTION`.

IDs and titles are read from the source text of the modules, so that `cfes --help` loads no action.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ParameterError
from core.json_values import did_you_mean

if TYPE_CHECKING:
    from actions.contract.action import Action

FOLDER = Path(__file__).parents[1]


@cache
def titles() -> dict[str, str]:
    """Return each action's title by its ID, in alphabetical order."""
    found = dict(filter(None, (_declared(path) for path in FOLDER.glob("*.py"))))
    return dict(sorted(found.items()))


def find(action_id: str) -> Action[Any, Any]:
    """Return the action with this ID; underscores count as hyphens. Raises: ParameterError with a suggestion."""
    name = str(action_id).replace("_", "-")
    module = name.replace("-", "_")
    # By the names of the files, because reading all titles takes 20 ms.
    if module not in _modules():
        raise ParameterError(
            f"unknown action {name[:100]!r}{did_you_mean(name, titles(), or_list=True)}",
            help="Nothing was sent.",
        )
    action: Action[Any, Any] = importlib.import_module(f"actions.{module}").ACTION
    return action


@cache
def available() -> dict[str, Action[Any, Any]]:
    """Return every action by its ID, in alphabetical order."""
    return {name: find(name) for name in titles()}


@cache
def _modules() -> frozenset[str]:
    return frozenset(path.stem for path in FOLDER.glob("*.py")) - {"__init__"}


def _declared(path: Path) -> tuple[str, str] | None:
    """Return ID and title from the module's `ACTION = Action(id=…, title=…)`, or None if it has none."""
    for statement in ast.parse(path.read_bytes()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="ACTION")], value=ast.Call(keywords=keywords)):
                given = {k.arg: k.value.value for k in keywords if isinstance(k.value, ast.Constant)}
                action_id = str(given["id"])
                if path.stem != action_id.replace("-", "_"):
                    raise AssertionError(f"actions/{path.name} defines {action_id}: name the file after the ID")
                return action_id, str(given["title"])
    return None
