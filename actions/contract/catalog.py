"""Which actions there are: the modules of this package that define an `ACTION`. To add one is to add a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from actions.contract.action import Action
from core.errors import ParameterError


@cache
def available() -> dict[str, Action[Any, Any]]:
    """Every action by its ID, in alphabetical order."""
    found: dict[str, Action[Any, Any]] = {}
    for file in pkgutil.iter_modules([str(Path(__file__).parents[1])]):
        action = getattr(importlib.import_module(f"actions.{file.name}"), "ACTION", None)
        if isinstance(action, Action):
            if action.module != f"actions.{file.name}":
                raise AssertionError(f"actions/{file.name}.py defines {action.id}: name the file as {action.module}")
            found[action.id] = action
    return dict(sorted(found.items()))


def find(action_id: str) -> Action[Any, Any]:
    """The action with this ID; underscores are taken for hyphens. Raises: ParameterError naming those that exist."""
    action = available().get(action_id.replace("_", "-"))
    if action is None:
        raise ParameterError(
            f"there is no action {str(action_id)[:100]!r}; there are {', '.join(available())}", help="Nothing was sent."
        )
    return action
