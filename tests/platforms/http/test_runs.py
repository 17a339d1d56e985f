"""Runs over HTTP: begin, list, show, follow, answer, cancel; several services; inputs of every kind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from platforms.callers.callers import Callers
from playbooks import library
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.http.serving import RunningService, wait_for_run

ALERT = json.loads(EXAMPLE_ALERT.read_text())
ANY = ["string", "integer", "number", "boolean", "object", "array", "null"]


def _playbook(name: str, *steps: dict[str, Any], **more: Any) -> Playbook:
    numbered = [{"id": f"s{number}", "title": f"Step {number}", **step} for number, step in enumerate(steps)]
    return from_document({"playbook": 1, "id": name, "title": name, "inputs": {}, "steps": numbered, **more})


_LATE = "Nobody answered."
PLAYBOOKS = [
    _playbook("sleeper", {"sleep": "{{ inputs.seconds }}"}, inputs={"seconds": {"type": "integer"}}),
    _playbook("asks", {"pause": "choice", "accepts": {"type": "string"}, "within": 600, "otherwise": _LATE}),
    _playbook(
        "needs-approval",
        {"pause": "approval", "about": {"plan": {"plan_hash": "a"}}, "within": 600, "otherwise": _LATE},
    ),
    _playbook(
        "echo",
        {"set": {"it": "{{ inputs.value }}"}},
        inputs={"value": {"type": ANY}},
        outputs={"it": "{{ steps.s0.it }}"},
    ),
    _playbook("lists-twice", {"action": "list-jobs"}, {"sleep": 1}, {"action": "list-jobs"}),
]


@pytest.fixture(autouse=True)
def further_playbooks(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = library.available()
    monkeypatch.setattr(library, "available", lambda: [*shipped, *PLAYBOOKS])


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose job takes about a second."""
    pace = Pace(start_delay=0.2, discover_rate=200, process_rate=60, retry_delay=0.1)
    return start_sandbox(manual_clock=False, messages=60, campaign_size=30, pace=pace)


def _begin(client: httpx.Client, playbook: str, **inputs: Any) -> str:
    answer = client.post(
        f"/v1/playbooks/{playbook}/runs",
        content=json.dumps({"inputs": inputs}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["run_id"]
    assert answer.headers["location"] == f"/v1/runs/{run_id}"
    return run_id


def _jobs(client: httpx.Client) -> int:
    return len(client.post("/v1/actions/list-jobs", json={}).json()["jobs"])


def _events(client: httpx.Client, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def test_a_run_is_followed_to_its_end_and_leaves_its_files(client: httpx.Client) -> None:
    run_id = _begin(client, "phish-campaign-purge", alert=ALERT)
    events = list(_events(client, run_id))
    kind, last = events[-1]
    assert (kind, last["status"]) == ("run", "completed"), last
    assert {kind for kind, _ in events} == {"step", "run"}
    assert last == client.get(f"/v1/runs/{run_id}").json()
    assert last in [client.get(f"/v1/runs/{each['run_id']}").json() for each in client.get("/v1/runs").json()["runs"]]
    names = [file["name"] for file in last["files"]]
    assert any(name.endswith("evidence.zip") for name in names), names
    assert last["files"] == client.get(f"/v1/runs/{run_id}/files").json()["files"]
    for file in last["files"]:
        content = client.get(f"/v1/runs/{run_id}/files/{file['name'].replace('/', '%2F')}")
        assert content.status_code == 200, file
        assert len(content.content) == file["size"]
        assert content.headers["x-content-type-options"] == "nosniff"
    assert _jobs(client) == 1
    cancelled = client.post(f"/v1/runs/{run_id}/cancel", json={})
    assert (cancelled.status_code, cancelled.json()["error"]["type"]) == (409, "RunEnded")


def test_a_pause_takes_a_valid_signal_once(client: httpx.Client) -> None:
    run_id = _begin(client, "asks")
    waiting = wait_for_run(client, run_id, "waiting")
    assert [each["signal"] for each in waiting["waits_for"]] == ["choice"]
    path = f"/v1/runs/{run_id}/signals"
    assert client.post(f"{path}/choice", json={"value": 3}).status_code == 422
    assert client.post(f"{path}/choice", json={}).status_code == 422
    assert client.post(f"{path}/other", json={"value": "a"}).status_code in (404, 409, 422)
    assert client.post(f"{path}/-cancel", json={"value": "a"}).status_code in (404, 409, 422)
    sent = client.post(f"{path}/choice", json={"value": "a"}, headers={"Idempotency-Key": "s"})
    assert sent.status_code == 202, sent.text
    run = wait_for_run(client, run_id)
    assert run["status"] == "completed"
    assert client.post(f"{path}/choice", json={"value": "a"}, headers={"Idempotency-Key": "s"}).status_code == 202
    assert client.post(f"{path}/choice", json={"value": "b"}).status_code in (409, 422)


def test_an_approval_needs_its_scope(service: RunningService, client: httpx.Client) -> None:
    run_id = _begin(client, "needs-approval")
    wait_for_run(client, run_id, "waiting")
    path = f"/v1/runs/{run_id}/signals/approval"
    callers = service.service.callers
    for scopes in (["read", "write"], ["write"], ["read"], ["alerts"]):
        token = callers.create("-".join(scopes), scopes, expires_at=None)  # type: ignore[arg-type]  # literals
        with service.client(token) as other:
            assert other.post(path, json={"value": {}}).status_code == 403
    assert wait_for_run(client, run_id, "waiting")["waits_for"][0]["received"] == 0
    with service.client(callers.create("approver", ["approve"], expires_at=None)) as approver:
        assert approver.post(f"/v1/runs/{run_id}/cancel", json={}).status_code == 403
        # Without a policy, only the action that makes the change checks the approval itself.
        assert approver.post(path, json={"value": {}}).status_code == 202


@pytest.mark.parametrize("playbook", ["sleeper", "asks"])
def test_a_run_that_rests_is_cancelled_at_once(client: httpx.Client, playbook: str) -> None:
    run_id = _begin(client, playbook, **({"seconds": 3600} if playbook == "sleeper" else {}))
    wait_for_run(client, run_id, "sleeping", "waiting")
    began = time.monotonic()
    assert client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "no longer needed"}).status_code == 202
    run = wait_for_run(client, run_id)
    assert run["status"] == "cancelled"
    assert "no longer needed" in json.dumps(run)
    assert time.monotonic() - began < 10


def test_a_run_is_cancelled_while_an_action_runs(client: httpx.Client, sandbox: RunningSandbox) -> None:
    sandbox.state.faults.add("listBulkJobs", "delay", seconds=2, times=1)
    run_id = _begin(client, "lists-twice")
    assert client.post(f"/v1/runs/{run_id}/cancel").status_code == 202
    run = wait_for_run(client, run_id)
    assert run["status"] == "cancelled"
    assert run["exit_code"] not in (None, 0)


def test_a_short_sleep_ends_in_time(client: httpx.Client) -> None:
    began = time.monotonic()
    assert wait_for_run(client, _begin(client, "sleeper", seconds=1))["status"] == "completed"
    assert time.monotonic() - began < 10


def test_two_services_share_one_state_directory(start: Callable[..., RunningService], token: str, state: Path) -> None:
    services = [start(), start()]
    clients = [service.client(token) for service in services]
    runs = [_begin(clients[number % 2], "lists-twice") for number in range(6)]
    purges = {_begin(client, "phish-campaign-purge", alert=ALERT) for client in clients[:1]}
    again = clients[1].post("/v1/playbooks/phish-campaign-purge/runs", json={"inputs": {"alert": ALERT}})
    assert again.json()["run_id"] in purges
    for run_id in (*runs, *purges):
        assert wait_for_run(clients[0], run_id, seconds=100)["status"] == "completed"
        assert clients[1].get(f"/v1/runs/{run_id}").json()["status"] == "completed"
    assert _jobs(clients[0]) == 1
    assert Callers(str(state)).any()
    for client in clients:
        client.close()


@pytest.mark.parametrize("number", [12, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_more_runs_than_workers_all_end(start: Callable[..., RunningService], token: str, number: int) -> None:
    service = start(CFES_HTTP_RUN_WORKERS="2")
    with service.client(token) as client, ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda value: _begin(client, "echo", value=value), range(number)))
        assert len(set(runs)) == number
        for value, run_id in enumerate(runs):
            assert wait_for_run(client, run_id, seconds=120)["outputs"] == {"it": value}
        assert service.service.queue.depth() == 0


# The values as JSON texts: some can't be written by json.dumps.
VALUES = {
    "emoji": r'"\ud83e\udd84 \u202e\u001b[31m"',
    "lone-surrogate": r'"\ud800"',
    "nul": r'"a\u0000b"',
    "surrogate-in-a-key": r'{"\ud83d": ["\udc00"]}',
    "odd-keys": r'{"": null, "__proto__": {}, "a\nb": 1}',
    "template": '"{{ inputs.value }} {% raw %}"',
    "nested": "[" * 60 + "1" + "]" * 60,
    "too-nested": "[" * 5000 + "1" + "]" * 5000,
    "large-number": "1e308",
    "infinite": "1e999",
    "nan": "NaN",
    "long-number": "12345678901234567890123",
    "longer-number": "9" * 5000,
    "long": '"' + "x" * 3_900_000 + '"',
    "many": "[" + ",".join(['"a"'] * 20_000) + "]",
}


@pytest.mark.parametrize("name", VALUES)
def test_an_input_of_any_kind_is_kept_or_refused(client: httpx.Client, name: str) -> None:
    began = client.post(
        "/v1/playbooks/echo/runs",
        content='{"inputs": {"value": ' + VALUES[name] + "}}",
        headers={"Content-Type": "application/json", "Idempotency-Key": "v"},
    )
    assert began.status_code in (202, 400, 413, 422), began.text[:1000]
    if began.status_code == 202:
        run = wait_for_run(client, began.json()["run_id"])
        if run["status"] == "completed":
            # A lone surrogate has no UTF-8: it becomes the replacement character.
            assert run["outputs"] == {"it": json.loads(VALUES[name])} or "surrogate" in name
        else:
            assert run["status"] == "failed"
            assert run["error"]["type"] != "InternalError"
    assert client.get("/v1/runs").status_code == 200


def test_a_large_alert_starts_a_run(client: httpx.Client) -> None:
    large = {**ALERT, "Attachments": [{"Name": "a" * 100} for _ in range(25_000)]}
    run_id = _begin(client, "phish-campaign-purge", alert=large)
    assert wait_for_run(client, run_id, seconds=60)["status"] in ("completed", "failed", "refused")
    assert CAMPAIGN
