"""Actions over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from actions.contract.action import Action
from core.errors import ParameterError
from core.json_values import Json
from platforms.http.action_calls import Caller
from platforms.http.action_playbook import playbook_of
from platforms.http.answers import answer_json
from platforms.http.incoming import Handler, Incoming
from platforms.http.run_routes import begin
from platforms.openapi.operation import Kind
from platforms.workspace.file_parameters import names_files, with_paths

# The answer's header with the ID of the workspace that has the files of the call.
WORKSPACE = "cfes-workspace"

RESPOND_ASYNC = "respond-async"

_OWN_WORKSPACE = (
    "a run has a workspace of its own. Leave out `workspace`, and name the files that you read as `run://ID/NAME`"
)


async def run_action(incoming: Incoming) -> Response:
    """Run an action: in a thread, or as a run with `Prefer: respond-async`."""
    service, action = incoming.service, incoming.operation.action
    if action is None:
        raise AssertionError(f"{incoming.operation.id} has no action")
    params = _with_key(action, incoming)
    if _prefers_async(incoming.given.get("Prefer", "")):
        action.check(params)
        if incoming.given.get("workspace"):
            raise ParameterError.at("/workspace", _OWN_WORKSPACE)
        await service.lookups.run(partial(with_paths, action, params, service.files.new_workspace()))
        return await begin(incoming, playbook_of(action, params), params, found=202)
    headers = {}
    workspace = None
    if names_files(action, params):
        workspace_id = incoming.given.get("workspace") or service.new_workspace_id()
        workspace = await service.lookups.run(partial(service.files.open_workspace, workspace_id))
        headers[WORKSPACE] = workspace_id
        incoming.run_id = workspace_id
    caller = Caller(incoming.requester, workspace, service.settings.call_seconds)
    # A wait holds its thread for a minute: other calls must not stand behind it.
    pool = service.waits if action.resumable else service.calls
    call = partial(service.actions.call, action, params, caller)
    result = await pool.run(service.telemetry.traced(action.id, call))
    return answer_json(result, headers=headers)


def _prefers_async(preferences: str) -> bool:
    """Return whether `respond-async` is one of the preferences (RFC 7240). Unknown ones are ignored."""
    return any(each.partition(";")[0].strip().lower() == RESPOND_ASYNC for each in preferences.split(","))


def _with_key(action: Action[Any, Any], incoming: Incoming) -> dict[str, Json]:
    """Return the parameters. The Idempotency-Key becomes the action's own key, if it takes one and none is given."""
    params = dict(incoming.body)
    if incoming.keyed is not None and "idempotency_key" in action.params.model_fields and not params.get("plan"):
        params.setdefault("idempotency_key", f"http-{incoming.keyed.derived_key}")
    return params


HANDLERS: Mapping[Kind, Handler] = {"run_action": run_action}
