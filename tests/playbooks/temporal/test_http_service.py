"""The HTTP service with the workers of a Temporal server as its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from connectors.email_security import EmailSecurity
from platforms.callers.callers import Callers
from platforms.temporal_worker import WorkerActions
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.platforms.http.serving import start_service, wait_for_run
from tests.playbooks.temporal.servers import Fleet

MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "max_messages": 100, "idempotency_key": "a"}
AS_RUN = {"Prefer": "respond-async"}


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """The workers have the clock of this machine."""
    return start_sandbox(manual_clock=False)


@pytest.fixture
def client(
    fleet: Fleet, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    settings = {
        **environment,
        "CFES_STATE_DIR": str(tmp_path / "state"),
        "CFES_HTTP_ENGINE": "temporal",
        "CFES_TEMPORAL_ADDRESS": fleet.settings.address,
        "CFES_TEMPORAL_TASK_QUEUE": fleet.settings.task_queue,
    }
    for name, value in {**environment, "CFES_LISTING_LAG_SECONDS": "0"}.items():
        monkeypatch.setenv(name, value)
    token = Callers(settings["CFES_STATE_DIR"]).create("ana@corp.example", ("read", "write"), expires_at=None)
    service = start_service(settings)
    with service.client(token) as opened:
        yield opened
    service.stop()


def test_a_run_goes_to_the_workers_with_its_requester(
    client: httpx.Client, fleet: Fleet, sandbox: RunningSandbox
) -> None:
    with WorkerActions() as actions, fleet.worker(actions, is_sandboxed=False):
        begun = client.post("/v1/actions/create-move-job", json=MOVE, headers={**AS_RUN, "Idempotency-Key": "one"})
        assert begun.status_code == 202, begun.text
        run = wait_for_run(client, begun.json()["run_id"], seconds=60, pause=0.5)
        assert run["status"] == "completed", run
        assert run["requested_by"] == "ana@corp.example"
        again = client.post("/v1/actions/create-move-job", json=MOVE, headers={**AS_RUN, "Idempotency-Key": "one"})
        assert again.json()["run_id"] == run["run_id"]
        listed = client.get("/v1/runs?status=completed").json()["runs"]
        assert [each["run_id"] for each in listed] == [run["run_id"]]
    with EmailSecurity.from_environment() as api:
        [job] = list(api.list_jobs())
    assert "ana@corp.example" in (job.comment or "")
    del sandbox


def test_a_run_of_a_caller_names_no_path_of_a_worker(client: httpx.Client, fleet: Fleet, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ndjson"
    secret.write_text("{}\n")
    with WorkerActions() as actions, fleet.worker(actions, is_sandboxed=False):
        params = {"export": str(secret), "dry_run": True}
        begun = client.post("/v1/actions/restore-messages", json=params, headers=AS_RUN)
        if begun.status_code == 202:
            run = wait_for_run(client, begun.json()["run_id"], seconds=60, pause=0.5)
            assert run["status"] == "failed"
            assert run["error"]["type"] == "ParameterError"
        else:
            assert begun.status_code == 422
