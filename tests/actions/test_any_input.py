"""Every action gives a result or a typed error for any JSON as parameters and any change of a response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions.contract import catalog
from actions.contract.action import Action
from connectors.http.client import httpx
from core.errors import InternalError, PackError, ParameterError
from tests.connectors.scripted import JOB_ID, connected, envelope, job

ACTIONS = {action.id: action for action in catalog.available().values() if action.connection}

# Four tests of each action: half of the usual examples, which are over a thousand together.
EXAMPLES = settings().max_examples // 2

each_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
    st.sampled_from(["\ud800", "{{ 7*7 }}", "../../x", "\x00", "=cmd()", "MOVE", JOB_ID, "inline"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)

ROW = {
    "message_id": "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3",
    "postfix_id": "41oIWSn0SCxlZr9",
    "action_type": "MOVE",
    "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": "a@corp.example"},
    "status": "COMPLETED",
    "retry_count": 0,
    "created_at": "2026-11-20T16:02:36Z",
    "message": {"id": "x-1", "subject": "hello", "client_recipients": ["a@corp.example"]},
}
FOUND = {"id": "x-1", "subject": "hello", "from": "a@phish.example", "client_recipients": ["a@corp.example"]}
DONE = job(status="COMPLETED", total_messages_discovered=1, messages_successful=1)


class Service(httpx.BaseTransport):
    """Answer every operation correctly, except for one place in each response that `mutate` changes."""

    def __init__(self, mutate: Any = None, raw: bytes | None = None, status: int | None = None) -> None:
        self.mutate, self.raw, self.status = mutate, raw, status

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        page = int(request.url.params.get("page", 1))
        document: Any
        if path.endswith("/messages"):
            document = envelope([ROW] if page == 1 else [], result_info={"count": 1, "page": 0, "total_count": 0})
        elif path.endswith("/bulk") and request.method == "GET":
            document = envelope([DONE] if page == 1 else [], result_info={"count": 1})
        elif path.endswith("/investigate"):
            document = envelope([FOUND], result_info={"count": 1, "next": None})
        elif path.endswith("/verify"):
            document = envelope({"id": "1", "status": "active"})
        else:
            document = envelope(DONE)
        if self.mutate is not None:
            document = self.mutate(document)
        content = json.dumps(document).encode() if self.raw is None else self.raw
        return httpx.Response(self.status or 200, content=content)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document."""
    found = [path]
    if isinstance(document, dict):
        for key, value in document.items():
            found += places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            found += places(value, (*path, index))
    return found


def replace_at(document: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """Return the document with one value replaced or removed."""
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    target = copy
    for key in path[:-1]:
        target = target[key]
    if remove:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return copy


def outcome(action: Action[Any, Any], params: Any, service: Service) -> dict[str, Any]:
    """Return the result or the error document. Any other exception fails the test."""
    with connected(service, call_allowance_seconds=5) as api:
        try:
            result = action.run(params, api)
        except InternalError as error:
            raise AssertionError("the action raised a defect") from error
        except PackError as error:
            document = error.document()
            assert document["error"]["type"] == type(error).__name__
            json.dumps(document)
            return document
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


@each_action
@given(params=JSON)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_json_as_parameters_gives_a_result_or_a_typed_error(action: Action[Any, Any], params: Any) -> None:
    outcome(action, params, Service())


@each_action
@given(data=st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_value_of_a_parameter_gives_a_result_or_a_typed_error(
    action: Action[Any, Any], data: st.DataObject
) -> None:
    example = {**action.example_params}
    example.pop("destination", None) if action.id == "export-job-messages" else None
    path = data.draw(st.sampled_from([p for p in places(example) if p] or [("unknown",)]))
    params = replace_at(example, path, data.draw(JSON), remove=bool(example) and data.draw(st.booleans()))
    try:
        action.check(params)
    except ParameterError as error:
        assert error.problems or error.message
        return
    if action.id != "export-job-messages" or params.get("destination", "inline") == "inline":
        outcome(action, params, Service())


@each_action
@given(data=st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_changed_response_gives_a_result_or_a_typed_error(action: Action[Any, Any], data: st.DataObject) -> None:
    value = data.draw(JSON)
    choice = data.draw(st.integers(0, 10_000))
    remove = data.draw(st.booleans())

    def mutate(document: Any) -> Any:
        all_places = places(document)
        path = all_places[choice % len(all_places)]
        return replace_at(document, path, value, remove=remove and bool(path))

    outcome(action, _short(action), Service(mutate))


@each_action
@given(raw=st.binary(max_size=200) | st.sampled_from([b"", b"null", b"[]", b"<html>", b'{"success":true}', b"\xff"]),
       status=st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 418, 429, 500, 502, 599]))  # fmt: skip
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_any_bytes_as_a_response_give_a_typed_error(action: Action[Any, Any], raw: bytes, status: int) -> None:
    document = outcome(action, _short(action), Service(raw=raw, status=status))
    assert "error" in document or document.get("warnings") is not None


def _short(action: Action[Any, Any]) -> dict[str, Any]:
    """Return the example's parameters without files and long waits."""
    params = dict(action.example_params)
    if action.id == "export-job-messages":
        params.update(format="json", destination="inline")
    if action.id == "wait-for-job":
        params.update(timeout_seconds=3)
    return params
