"""Find the tool of a call, check its arguments, and run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import ValidationError

from core.errors import InternalError, PackError, ParameterError
from core.json_model import StrictModel
from core.json_values import did_you_mean, shown
from core.validation_text import problems_of
from platforms.mcp.agent_session import AgentSession
from platforms.mcp.results import ToolResult, fitted
from platforms.mcp.run_tools import (
    CancelRunParams,
    ListFilesParams,
    ListPlaybooksParams,
    ListRunsParams,
    ReadFileParams,
    RunParams,
    RunPlaybookParams,
)
from platforms.mcp.tools import Tool
from platforms.openapi.operations import inputs_of
from platforms.workspace.workspace import files_in, open_file

M = TypeVar("M", bound=StrictModel)

# More than any parameter needs.
MOST_ARGUMENT_BYTES = 4 << 20


def changes_something(tool: Tool, arguments: Mapping[str, Any]) -> bool:
    """Return whether a call must end its work once it has begun. A wait only polls, and can be called again."""
    if tool.action is not None:
        return tool.action.may_change(arguments) and not tool.action.resumable
    return not tool.read_only


def run_tool(session: AgentSession, tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
    """Run a tool. A failure is a result too, with the error document. Never raises, except to stop a call."""
    try:
        check_size(arguments)
        if tool.action is not None:
            result = session.call_action(tool.action, arguments)
        else:
            result = ToolResult(_RUN_TOOLS[tool.name](session, arguments))
    except PackError as error:
        result = ToolResult.of_error(error)
    except Exception as error:  # noqa: BLE001 -- a defect in one call must not end the session
        result = ToolResult.of_error(InternalError.of(error))
    return fitted(result)


def unknown_tool(name: str, tools: Mapping[str, Tool]) -> str:
    """Return the message about a tool that does not exist."""
    return f"unknown tool {shown(name)}{did_you_mean(name, tools, or_list=True)}"


def check_size(arguments: Mapping[str, Any]) -> None:
    """Raises: ParameterError for arguments that are too large."""
    try:
        size = len(json.dumps(arguments))
    except (RecursionError, ValueError):
        raise ParameterError.at("", "the arguments are not JSON, or too deeply nested") from None
    if size > MOST_ARGUMENT_BYTES:
        raise ParameterError.at("", f"the arguments have more than {MOST_ARGUMENT_BYTES:,} bytes")


def _list_playbooks(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _checked(ListPlaybooksParams, arguments).playbook
    playbooks = session.playbooks
    if wanted is not None and wanted not in playbooks:
        raise ParameterError.at("/playbook", f"unknown playbook{did_you_mean(wanted, playbooks, or_list=True)}")
    listed = playbooks.values() if wanted is None else [playbooks[wanted]]
    return {
        "playbooks": [
            {
                "id": each.id,
                "title": each.title,
                "description": each.description.strip(),
                "inputs": None if wanted is None else inputs_of(each),
            }
            for each in listed
        ]
    }


def _run_playbook(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    p = _checked(RunPlaybookParams, arguments)
    if p.playbook not in session.playbooks:
        known = did_you_mean(p.playbook, session.playbooks, or_list=True)
        raise ParameterError.at("/playbook", f"unknown playbook{known}")
    return session.begin(p.playbook, p.inputs)


def _show_run(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return session.runs.show(_checked(RunParams, arguments).run_id)


def _list_runs(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    p = _checked(ListRunsParams, arguments)
    return {"runs": session.runs.list(p.status, p.playbook, p.limit)}


def _cancel_run(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    p = _checked(CancelRunParams, arguments)
    return dict(session.runs.cancel(p.run_id, p.reason or "cancelled by an agent", session.settings.requested_by))


def _list_files(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    run_id = _checked(ListFilesParams, arguments).run_id
    directory = session.directory_of(run_id)
    return {"workspace": run_id or session.workspace_id, "files": [asdict(file) for file in files_in(directory)]}


def _read_file(session: AgentSession, arguments: Mapping[str, Any]) -> dict[str, Any]:
    p = _checked(ReadFileParams, arguments)
    with open_file(session.directory_of(p.run_id), p.name) as file:
        size = file.seek(0, 2)
        file.seek(p.offset)
        data = file.read(p.max_bytes)
    text, used = _whole_characters(data)
    end = p.offset + used
    return {"name": p.name, "size": size, "text": text, "next_offset": end if end < size else None}


def _whole_characters(data: bytes) -> tuple[str, int]:
    """Return the text and the bytes that it takes. A character that is cut off at the end is left for the next call.

    Raises: ParameterError for a file that is not text.
    """
    try:
        return data.decode(), len(data)
    except UnicodeDecodeError as error:
        if 0 < error.start >= len(data) - 3 and error.reason == "unexpected end of data":
            return data[: error.start].decode(), error.start
    raise ParameterError.at("/name", "not a text file in UTF-8")


def _checked(model: type[M], arguments: Mapping[str, Any]) -> M:
    """Return valid arguments. Raises: ParameterError with every problem."""
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        problems = problems_of(error)
    raise ParameterError(problems=problems)


_RUN_TOOLS: Mapping[str, Callable[[AgentSession, Mapping[str, Any]], dict[str, Any]]] = {
    "list_playbooks": _list_playbooks,
    "run_playbook": _run_playbook,
    "show_run": _show_run,
    "list_runs": _list_runs,
    "cancel_run": _cancel_run,
    "list_files": _list_files,
    "read_file": _read_file,
}
