"""Who may call the service: tokens, scopes, hosts and origins, and who is the requester."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from actions.contract import catalog
from core.errors import ConnectionSettingsError
from platforms.callers.callers import Callers
from platforms.callers.records import SCOPES, Scope
from platforms.http.routes import HANDLERS
from platforms.http.server import check_address, serve
from platforms.http.service import Service
from platforms.openapi.operation import Operation
from platforms.openapi.operations import operations
from tests.platforms.http.serving import RunningService, SharedService

UNKNOWN = f"cfes_{'a' * 10}_{'A' * 43}"


def _request(client: httpx.Client, operation: Operation, **more: Any) -> httpx.Response:
    """Send a request to an operation, with names of things that do not exist."""
    path = operation.path.format(run_id="no-such-run", name="no-such-name", dataset="email_security_alerts")
    body: dict[str, Any] = {"json": {}} if operation.body is not None else {}
    return client.request(operation.method, path, **{**body, **more})


@pytest.fixture(scope="module")
def one_scope(shared: SharedService) -> dict[Scope, str]:
    """A token for each scope."""
    callers = shared.running.service.callers
    return {scope: callers.create(f"only-{scope}", [scope], expires_at=None) for scope in SCOPES}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Basic {UNKNOWN}",
        UNKNOWN,
        f"Bearer {UNKNOWN}",
        f"Bearer {UNKNOWN} x",
        "Bearer é",
    ],
)
def test_a_request_without_a_valid_token_is_refused(shared: SharedService, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    with shared.running.client() as client:
        answer = client.post("/v1/actions/list-jobs", json={}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "AuthenticationFailed"
    assert answer.json()["error"]["applied"] == "no"
    assert UNKNOWN not in answer.text
    assert ("has no token" in answer.text) == (header is None)


def test_every_operation_needs_one_of_its_scopes(shared: SharedService, one_scope: dict[Scope, str]) -> None:
    open_to_all = set()
    for operation in shared.running.service.operations:
        if operation.kind not in HANDLERS:
            continue
        with shared.running.client() as client:
            status = _request(client, operation).status_code
        if not operation.scopes:
            open_to_all.add(operation.kind)
            assert status not in (401, 403), operation.id
            continue
        assert status == 401, operation.id
        for scope, token in one_scope.items():
            with shared.running.client(token) as client:
                answer = _request(client, operation)
            assert (answer.status_code == 403 and "scope" in answer.text) == (scope not in operation.scopes), (
                operation.id,
                scope,
                answer.text,
            )
    assert open_to_all <= {"receive_webhook", "health", "readiness", "openapi_3_1", "openapi_3_0", "swagger_2_0"}


def test_a_change_needs_more_than_the_scope_read() -> None:
    for operation in operations(catalog.available().values(), []):
        changes = operation.action is not None and operation.action.effect != "read"
        if changes or (operation.method == "post" and operation.action is None):
            assert "read" not in operation.scopes, operation.id


def test_a_token_ends_while_the_service_runs(shared: SharedService) -> None:
    callers = shared.running.service.callers
    soon = datetime.now(UTC) + timedelta(seconds=1)
    tokens = {
        "revoked": callers.create("revoked", ["read"], expires_at=None),
        "expired": callers.create("expired", ["read"], expires_at=soon),
    }
    clients = {name: shared.running.client(token) for name, token in tokens.items()}
    for client in clients.values():
        assert client.get("/v1/runs").status_code == 200
    # By another process.
    Callers(str(shared.state)).revoke("revoked")
    ended: set[str] = set()
    until = time.monotonic() + 5
    while ended != clients.keys():
        ended |= {name for name, client in clients.items() if client.get("/v1/runs").status_code == 401}
        assert time.monotonic() < until, ended
    for client in clients.values():
        client.close()


def test_a_flood_of_bad_tokens_does_not_hold_up_a_caller(shared: SharedService) -> None:
    stop = threading.Event()
    statuses: list[int] = []

    def flood() -> None:
        with shared.running.client(UNKNOWN) as client:
            while not stop.is_set():
                statuses.append(client.get("/v1/runs").status_code)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    seconds = []
    for _ in range(40):
        began = time.monotonic()
        assert shared.client.get("/v1/runs").status_code == 200
        seconds.append(time.monotonic() - began)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {401}
    # The flood and the caller share this machine.
    assert sorted(seconds)[-2] < 1


REQUESTERS = [name for name, action in catalog.available().items() if "requested_by" in action.params.model_fields]


@pytest.mark.parametrize("action", REQUESTERS)
def test_a_caller_requests_in_no_other_name(shared: SharedService, action: str) -> None:
    params = {**dict(catalog.find(action).example_params), "requested_by": "eve@corp.example"}
    params.pop("export", None)
    answer = shared.client.post(f"/v1/actions/{action}", json=params)
    assert "eve@corp.example" not in answer.text or answer.status_code in (403, 422), answer.text


def _anonymous(start: Callable[..., RunningService]) -> RunningService:
    running = start()
    assert running.service.anonymous is not None
    return running


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost.:1"]
)
def test_without_callers_only_this_machines_names_are_served(start: Callable[..., RunningService], host: str) -> None:
    with _anonymous(start).client() as client:
        answer = client.post("/v1/actions/list-jobs", json={}, headers={"Host": host})
        assert answer.status_code == 421, answer.text
        for allowed in ("localhost", "localhost:80", "127.0.0.1", "[::1]", "[::1]:80"):
            assert client.post("/v1/actions/list-jobs", json={}, headers={"Host": allowed}).status_code == 200


def test_without_callers_no_page_of_another_site_changes_anything(start: Callable[..., RunningService]) -> None:
    running = _anonymous(start)
    with running.client() as client:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:3000"):
            for path in ("/v1/actions/list-jobs", "/v1/runs/a/cancel"):
                answer = client.post(path, headers={"Origin": origin})
                assert answer.status_code == 403, (path, origin, answer.text)
        own = client.post("/v1/actions/list-jobs", json={}, headers={"Origin": running.url})
        assert own.status_code == 200


def test_the_first_caller_ends_the_use_without_a_token(start: Callable[..., RunningService], state: Path) -> None:
    with _anonymous(start).client() as client:
        assert client.get("/v1/runs").status_code == 200
        callers = Callers(str(state))
        callers.create("first", ["read"], expires_at=None)
        assert client.get("/v1/runs").status_code == 401
        callers.revoke("first")
        assert client.get("/v1/runs").status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "corp.example"])  # noqa: S104 -- refused
def test_other_machines_are_not_served_without_callers(settings: dict[str, str], state: Path, host: str) -> None:
    service = Service(settings)
    announced: list[str] = []
    with pytest.raises(ConnectionSettingsError, match="no caller has a token"):
        serve(service, host, 0, announced.append)
    assert announced == []
    callers = Callers(str(state))
    callers.create("ana", ["read"], expires_at=None)
    check_address(Service(settings), host)
    callers.revoke("ana")
    with pytest.raises(ConnectionSettingsError):
        check_address(Service(settings), host)
