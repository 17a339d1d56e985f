"""Replace the file names in a remote caller's parameters by paths in the workspace. The one check of all of them.

Which parameters name files is read from their schemas (actions.contract.file_parameters), so a new one is covered.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from actions.contract import catalog
from actions.contract.action import Action
from actions.contract.file_parameters import AT, FILE
from core.errors import ParameterError
from core.json_values import below
from platforms.workspace.workspace import Workspace

_READ_ONLY = (
    "the files of a run are read only. Leave out `workspace`, and name the files that you read as `run://RUN_ID/NAME`"
)

_Replace = Callable[[str, str], str]


class FileParameter(NamedTuple):
    """A parameter that names a file. at: the place of the path in it; "*" stands for each entry of a list."""

    name: str
    writes: bool
    at: tuple[str, ...]
    default: Any


@cache
def file_parameters(action_id: str) -> tuple[FileParameter, ...]:
    """Return the parameters of an action that name files."""
    properties = catalog.find(action_id).params.model_json_schema().get("properties", {})
    return tuple(
        FileParameter(name, schema[FILE] == "write", tuple(schema.get(AT, ())), schema.get("default"))
        for name, schema in properties.items()
        if FILE in schema
    )


def names_files(action: Action[Any, Any], params: Mapping[str, Any]) -> bool:
    """Return whether these parameters name a file, so that the call needs a workspace."""
    return any(_is_given(parameter, params) for parameter in file_parameters(action.id))


def with_paths(action: Action[Any, Any], params: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """Return the parameters with paths and URLs in place of names. Raises: ParameterError, NotFound."""
    replaced = dict(params)
    for parameter in file_parameters(action.id):
        if _is_given(parameter, params):
            if parameter.writes and workspace.read_only:
                raise ParameterError.at(f"/{parameter.name}", _READ_ONLY)
            replace = workspace.place_to_write if parameter.writes else workspace.place_to_read
            replaced[parameter.name] = _replace_names(
                params[parameter.name], parameter.at, f"/{parameter.name}", replace
            )
    return replaced


def _is_given(parameter: FileParameter, params: Mapping[str, Any]) -> bool:
    value = params.get(parameter.name)
    # The default of a destination means "in the result itself".
    return value is not None and value != parameter.default


def _replace_names(value: Any, at: Sequence[str], pointer: str, replace: _Replace) -> Any:
    """Return a value with each path in it replaced. A value of another type is left to the action's own check."""
    if not at:
        if isinstance(value, str):
            return replace(value, pointer)
        if isinstance(value, list | tuple):
            return [_replace_names(each, at, below(pointer, index), replace) for index, each in enumerate(value)]
        return value
    value = copy.copy(value)
    for key in _keys(value, at[0]):
        value[key] = _replace_names(value[key], at[1:], below(pointer, key), replace)
    return value


def _keys(value: Any, name: str) -> Iterator[Any]:
    if name == "*":
        yield from range(len(value)) if isinstance(value, list) else ()
    elif isinstance(value, dict) and name in value:
        yield name
