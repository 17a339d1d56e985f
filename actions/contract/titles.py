"""The actions by name and title, read from their source text: `cfes --help` must not load them to list them."""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import actions
from core.errors import ParameterError

if TYPE_CHECKING:
    from actions.contract.action import Action


@cache
def titles() -> dict[str, str]:
    """Title by action ID, in alphabetical order: of the modules that define an `ACTION`."""
    folder = Path(str(actions.__path__[0]))
    found = dict(filter(None, (_declared(path) for path in folder.glob("*.py"))))
    return dict(sorted(found.items()))


def load(action_id: str) -> Action[Any, Any]:
    """The action with this ID; underscores are taken for hyphens. Raises: ParameterError with a suggestion."""
    name = action_id.replace("_", "-")
    if name not in titles():
        raise ParameterError(
            f"there is no action {action_id[:100]!r}{did_you_mean(name, titles())}; there are {', '.join(titles())}",
            help="Nothing was sent.",
        )
    action: Action[Any, Any] = importlib.import_module(f"actions.{name.replace('-', '_')}").ACTION
    return action


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean …?` where something known is close to the name, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=2)
    return f": did you mean {' or '.join(close)}?" if close else ""


def _declared(path: Path) -> tuple[str, str] | None:
    """ID and title as the module's `ACTION = Action(id=…, title=…)` spells them; None where there is none."""
    for statement in ast.parse(path.read_bytes()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="ACTION")], value=ast.Call(keywords=keywords)):
                said = {k.arg: k.value.value for k in keywords if isinstance(k.value, ast.Constant)}
                return str(said["id"]), str(said["title"])
    return None
