"""A service that is killed or stopped at any moment: no run is lost, and none has its effect twice."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from platforms.http.service import Service
from playbooks.drivers.store.records import ENDED
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.plain_http import PLAIN
from tests.platforms.http.service_process import ServiceProcess
from tests.platforms.http.serving import wait_for_run

KEY = {"Idempotency-Key": "case-1"}
MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "wait_follows": True}
ALERT = json.loads(EXAMPLE_ALERT.read_text())


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose job takes about two seconds."""
    pace = Pace(start_delay=0.2, discover_rate=100, process_rate=30, retry_delay=0.1)
    return start_sandbox(manual_clock=False, messages=60, campaign_size=30, pace=pace)


@pytest.fixture
def process(settings: dict[str, str], token: str) -> Iterator[ServiceProcess]:
    started = ServiceProcess(settings, token)
    yield started
    started.close()


def _jobs(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    url = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate/bulk"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {sandbox.token}"}, trust_env=False, verify=PLAIN)
    found: list[dict[str, Any]] = answer.json()["result"]
    return found


def _until(reached: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def test_a_service_killed_between_its_work_and_its_answer_repeats_nothing(
    process: ServiceProcess, sandbox: RunningSandbox
) -> None:
    # A playbook without a key of its own.
    begin: dict[str, Any] = {"url": "/v1/playbooks/stop-and-report/runs", "json": {"inputs": {"job_id": "none"}}}
    with process.client() as client:
        first = client.post(**begin, headers={"Idempotency-Key": "run-1"}).json()["run_id"]
    sandbox.state.faults.add("createBulkJob", "delay", seconds=20, applied=True)

    def create() -> httpx.Response:
        with process.client() as client:
            return client.post("/v1/actions/create-move-job", json=MOVE, headers=KEY)

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(create)
        _until(lambda: _jobs(sandbox))
        process.end()
        with suppress(httpx.TransportError):
            lost.result()
    sandbox.state.faults.clear()
    process.start()
    repeated = create()
    assert repeated.status_code == 200, repeated.text
    assert [job["job_id"] for job in _jobs(sandbox)] == [repeated.json()["job"]["job_id"]]
    assert create().headers["idempotent-replay"] == "true"
    with process.client() as client:
        assert client.post(**begin, headers={"Idempotency-Key": "run-1"}).json()["run_id"] == first
        assert client.post(**begin).json()["run_id"] != first
        assert len(client.get("/v1/runs").json()["runs"]) == 2
        assert wait_for_run(client, first)["status"] == "failed"


def test_a_stop_leaves_the_connection_to_runs_that_are_still_in_an_action(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(settings)
    in_use = service.connection.for_requester(None)
    monkeypatch.setattr(service.workers, "stop", lambda _: False)
    service.stop()
    assert list(in_use.list_jobs()) == []
    service.connection.close()
    service.queue.close()


@pytest.mark.parametrize("steps", [2, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 3, 5))])
def test_a_run_goes_on_after_a_kill_and_after_a_stop(
    process: ServiceProcess, sandbox: RunningSandbox, steps: int, pytestconfig: pytest.Config
) -> None:
    body = {"inputs": {"alert": ALERT}}
    with process.client() as client:
        begun = client.post("/v1/playbooks/phish-campaign-purge/runs", json=body, headers=KEY)
        assert begun.status_code == 202, begun.text
        run_id = begun.json()["run_id"]
        reached: set[str] = set()

        def has_reached() -> bool:
            run = client.get(f"/v1/runs/{run_id}").json()
            reached.add(run["at_step"])
            # Quick steps can pass between two looks.
            return len(reached) >= steps or run["status"] in ENDED

        _until(has_reached)
    process.end(signal.SIGKILL)
    process.start()
    with process.client() as client, client.stream("GET", f"/v1/runs/{run_id}/events") as events:
        next(events.iter_lines())
        began = time.monotonic()
        # An open stream of events does not hold up the stop.
        assert process.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 20
    process.start()
    if pytestconfig.getoption("--exhaustive"):
        process.end(signal.SIGKILL)
        process.start()
    with process.client() as client:
        again = client.post("/v1/playbooks/phish-campaign-purge/runs", json=body, headers=KEY)
        assert again.json()["run_id"] == run_id
        run = wait_for_run(client, run_id, seconds=90)
        assert run["status"] == "completed", json.dumps(run)
        assert run["requested_by"] == "ana@corp.example"
        assert len(client.get("/v1/runs").json()["runs"]) == 1
    assert len(_jobs(sandbox)) == 1
