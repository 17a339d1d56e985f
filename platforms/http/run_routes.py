"""Playbooks and runs over HTTP: begin, list, show, follow, answer, cancel, and read files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from core.errors import PackError, ParameterError
from core.json_model import StrictModel
from core.json_values import Json
from core.validation_text import problems_of
from platforms.http.answers import answer_json
from platforms.http.failures import busy
from platforms.http.incoming import Handler, Incoming
from platforms.http.service import MOST_STREAMS
from platforms.openapi.documents import CancelReason, RunInputs, SignalValue
from platforms.openapi.operation import Kind
from platforms.openapi.operations import inputs_of
from platforms.workspace.playbook_files import check_file_inputs
from platforms.workspace.workspace import files_in, open_file
from playbooks.drivers.store.records import ENDED
from playbooks.engine.signals import Signal
from playbooks.language.format import Playbook

M = TypeVar("M", bound=StrictModel)

# Between two looks at a run that a caller follows, in seconds.
FOLLOW_SECONDS = 1.0
LONGEST_STREAM_SECONDS = 900.0

_BLOCK = 1 << 18


async def list_playbooks(incoming: Incoming) -> Response:
    listed = [
        {"id": each.id, "title": each.title, "description": each.description.strip(), "inputs": inputs_of(each)}
        for each in incoming.service.playbooks.values()
    ]
    return answer_json({"playbooks": listed})


async def begin_run(incoming: Incoming) -> Response:
    playbook = incoming.operation.playbook
    if playbook is None:
        raise AssertionError(f"{incoming.operation.id} has no playbook")
    return await begin(incoming, playbook, _checked(RunInputs, incoming.body).inputs)


async def begin(incoming: Incoming, playbook: Playbook, inputs: Mapping[str, Json], *, found: int = 200) -> Response:
    """Begin a run of a playbook, or return the run of the same key. found: the status for a run that exists."""
    service = incoming.service
    await service.lookups.run(partial(check_file_inputs, playbook, inputs, service.files.new_workspace()))
    run_id = None if incoming.keyed is None else f"{playbook.id}-{incoming.keyed.derived_key}"
    begun = await service.lookups.run(partial(service.runs.begin, playbook, inputs, incoming.requester, run_id=run_id))
    incoming.run_id = begun.run_id
    shown = await service.lookups.run(partial(service.runs.show, begun.run_id))
    return answer_json(shown, 202 if begun.new else found, {"Location": f"/v1/runs/{begun.run_id}"})


async def list_runs(incoming: Incoming) -> Response:
    given = incoming.given
    found = await incoming.service.lookups.run(
        partial(incoming.service.runs.list, given.get("status"), given.get("playbook"), given.get("limit", 100))
    )
    return answer_json({"runs": found})


async def get_run(incoming: Incoming) -> Response:
    return answer_json(await incoming.service.lookups.run(partial(incoming.service.runs.show, _run_id(incoming))))


async def list_files(incoming: Incoming) -> Response:
    service, run_id = incoming.service, _run_id(incoming)
    found = await service.lookups.run(lambda: files_in(service.files.directory_of(run_id)))
    return answer_json({"files": [asdict(file) for file in found]})


async def get_file(incoming: Incoming) -> Response:
    """Send a file as bytes to save, whatever it contains: a report must not run as a page of this service."""
    service, run_id, name = incoming.service, _run_id(incoming), incoming.given["name"]
    file = await service.lookups.run(lambda: open_file(service.files.directory_of(run_id), name))

    async def blocks() -> AsyncIterator[bytes]:
        with file:
            while block := await asyncio.to_thread(file.read, _BLOCK):
                yield block

    headers = {
        "Content-Disposition": f'attachment; filename="{PurePosixPath(name).name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(blocks(), headers=headers, media_type="application/octet-stream")


async def send_signal(incoming: Incoming) -> Response:
    service, run_id, name = incoming.service, _run_id(incoming), incoming.given["name"]
    signal = Signal(name, _checked(SignalValue, incoming.body).value)
    scopes = frozenset[str](incoming.caller.scopes if incoming.caller else ())
    receipt = await service.lookups.run(partial(service.runs.signal, run_id, signal, incoming.requester, scopes))
    return answer_json(receipt, 202)


async def cancel_run(incoming: Incoming) -> Response:
    service, run_id = incoming.service, _run_id(incoming)
    reason = _checked(CancelReason, incoming.body).reason or f"cancelled by {incoming.requester or 'a caller'}"
    return answer_json(await service.lookups.run(partial(service.runs.cancel, run_id, reason, incoming.requester)), 202)


async def follow_run(incoming: Incoming) -> Response:
    """Stream the steps of a run as server-sent events, until it has ended or a time is over."""
    service, run_id = incoming.service, _run_id(incoming)
    first = await service.lookups.run(partial(service.runs.show, run_id))
    if service.streams >= MOST_STREAMS:
        raise busy(f"the service has {MOST_STREAMS} streams of events, which is its limit", 10)
    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(_events(incoming, first), headers=headers, media_type="text/event-stream")


async def _events(incoming: Incoming, run: dict[str, Any]) -> AsyncIterator[str]:
    service, run_id = incoming.service, run["run_id"]
    service.streams += 1
    try:
        sent: dict[str, Any] = {}
        revision: int | None = None
        for _ in range(int(LONGEST_STREAM_SECONDS / FOLLOW_SECONDS)):
            now = await service.lookups.run(partial(service.runs.revision, run_id))
            if now != revision:
                revision = now
                for path, record in await service.lookups.run(lambda: list(service.runs.steps(run_id))):
                    if sent.get(path) != record:
                        sent[path] = record
                        yield _event("step", {"step": path, **record})
                run = await service.lookups.run(partial(service.runs.show, run_id))
                yield _event("run", run)
            if run["status"] in ENDED or service.stopping:
                return
            await asyncio.sleep(FOLLOW_SECONDS)
            # A comment keeps proxies from closing the connection.
            yield ": \n\n"
    except PackError as error:
        yield _event("error", service.without_paths(error).document())
    finally:
        service.streams -= 1


def _event(kind: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _run_id(incoming: Incoming) -> str:
    incoming.run_id = str(incoming.given["run_id"])
    return incoming.run_id


def _checked(model: type[M], body: Mapping[str, Any]) -> M:
    """Return a valid body. Raises: ParameterError with every problem."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems = problems_of(error)
    known = ", ".join(f"`{name}`" for name in model.model_fields)
    raise ParameterError(problems=problems, help=f"Nothing was run. The body is a JSON object with the key {known}.")


HANDLERS: Mapping[Kind, Handler] = {
    "list_playbooks": list_playbooks,
    "begin_run": begin_run,
    "list_runs": list_runs,
    "get_run": get_run,
    "follow_run": follow_run,
    "list_files": list_files,
    "get_file": get_file,
    "send_signal": send_signal,
    "cancel_run": cancel_run,
}
