"""A client that is generated from /openapi.json drives the remote API through the service."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.conftest import CAMPAIGN
from tests.platforms.http.serving import RunningService
from tests.platforms.openapi.generated_client import PACKAGE, GeneratedClient, generate_client

UNKNOWN = "00000000-0000-4000-8000-000000000000"

MOVE_A_CAMPAIGN = f"""\
import json, sys, threading
from {PACKAGE} import AuthenticatedClient, models
from {PACKAGE}.api.actions import create_move_job, get_job, list_jobs, preview_job, wait_for_job
from {PACKAGE}.api.playbooks import list_playbooks
from {PACKAGE}.api.runs import get_run, list_runs

url, token, search = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)
plan = preview_job.sync(
    client=client,
    body=models.PreviewJobParams.from_dict({{"action": "MOVE", "destination": "JunkEmail", "search_params": search}}),
).to_dict()
wanted = models.CreateMoveJobParams.from_dict({{"plan": plan, "max_messages": 100}})
first = create_move_job.sync(client=client, body=wanted, idempotency_key="case-7")
again = create_move_job.sync(client=client, body=wanted, idempotency_key="case-7")
ended = wait_for_job.sync(client=client, body=models.WaitForJobParams.from_dict({{"job_id": first.job_id}}))
run = get_job.sync(client=client, body=models.GetJobParams(job_id=first.job_id), prefer="respond-async")
while not isinstance(run.exit_code, int):
    threading.Event().wait(0.05)
    run = get_run.sync(run.run_id, client=client)
print(json.dumps({{
    "messages": plan["messages"],
    "jobs": [first.job_id, again.job_id],
    "listed": list_jobs.sync(client=client, body=models.ListJobsParams()).to_dict()["jobs"],
    "ended": ended.to_dict(),
    "run": run.to_dict(),
    "runs": [each.run_id for each in list_runs.sync(client=client).runs],
    "playbooks": [each.id for each in list_playbooks.sync(client=client).playbooks],
    "unknown": get_job.sync(client=client, body=models.GetJobParams(job_id="{UNKNOWN}")).to_dict(),
}}))
"""


@pytest.fixture
def generated(client: httpx.Client, tmp_path: Path) -> GeneratedClient:
    return generate_client(client.get("/openapi.json").raise_for_status().json(), tmp_path)


def test_a_generated_client_moves_a_campaign(generated: GeneratedClient, service: RunningService, token: str) -> None:
    found = json.loads(generated.run(MOVE_A_CAMPAIGN, service.url, token, json.dumps(CAMPAIGN)))
    assert found["messages"] > 0
    assert len(found["listed"]) == len(set(found["jobs"])) == 1
    assert found["ended"]["status"] == "COMPLETED"
    assert found["ended"]["job"]["total_messages_discovered"] == found["messages"]
    assert found["run"]["status"] == "completed"
    assert found["run"]["run_id"] in found["runs"]
    assert "phish-campaign-purge" in found["playbooks"]
    assert found["unknown"]["error"]["type"] == "NotFound"
    assert found["unknown"]["status"] == 404
