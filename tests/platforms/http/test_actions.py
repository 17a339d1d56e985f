"""Actions over HTTP: results, errors, files in workspaces, and Idempotency-Key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.errors import ConnectionSettingsError
from platforms.http.idempotency import AnsweredRequests
from tests.conftest import CAMPAIGN
from tests.platforms.http.serving import RunningService, wait_for_run

MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "max_messages": 100}


def test_an_action_answers_with_its_result(client: httpx.Client) -> None:
    answer = client.post("/v1/actions/list-jobs", json={})
    assert answer.status_code == 200
    assert answer.json()["jobs"] == []


def test_the_caller_is_the_requester_and_cannot_be_another(client: httpx.Client) -> None:
    other = client.post("/v1/actions/create-move-job", json={**MOVE, "idempotency_key": "a", "requested_by": "eve"})
    assert other.status_code == 422
    made = client.post("/v1/actions/create-move-job", json={**MOVE, "idempotency_key": "a"})
    assert made.status_code == 200, made.text
    assert "ana@corp.example" in made.json()["job"]["comment"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/actions/get-job", {"job_id": 3}, 422, "ParameterError"),
        ("/v1/actions/get-job", {"job_id": "00000000-0000-4000-8000-000000000000"}, 404, "NotFound"),
        ("/v1/actions/get-jub", {}, 404, "NotFound"),
        ("/v1/actions/create-move-job", {"search_params": {}, "destination": "JunkEmail"}, 403, "BroadSearchRefused"),
    ],
)
def test_a_failure_is_a_problem_with_the_error_document(
    client: httpx.Client, path: str, body: dict[str, Any], status: int, kind: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:cfes:error:{kind}"
    assert problem["error"]["type"] == kind
    assert problem["error"]["applied"] == "no"
    assert problem["detail"] == problem["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"job_id": "a", "job_id": "b"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b" " * (4 * 1024 * 1024 + 1), "application/json", 413),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, content: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/actions/get-job", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_a_wrong_method_names_the_right_one(client: httpx.Client) -> None:
    answer = client.get("/v1/actions/get-job")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["help"] == "Nothing was run. Allowed: POST"


def test_a_repeated_request_gets_the_first_answer(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "case-1"}
    first = client.post("/v1/actions/create-move-job", json=MOVE, headers=key)
    second = client.post("/v1/actions/create-move-job", json=MOVE, headers=key)
    assert first.status_code == second.status_code == 200, first.text
    assert first.json() == second.json()
    assert second.headers["idempotent-replay"] == "true"
    other = client.post("/v1/actions/create-move-job", json={**MOVE, "max_messages": 99}, headers=key)
    assert other.status_code == 409
    assert other.json()["error"]["type"] == "IdempotencyConflict"
    assert len(client.post("/v1/actions/list-jobs", json={}).json()["jobs"]) == 1


def test_an_answer_that_cannot_be_kept_still_reaches_its_caller(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionSettingsError("database or disk is full", help="Nothing was run.")

    monkeypatch.setattr(AnsweredRequests, "answer", fail)
    answer = client.post("/v1/actions/create-move-job", json=MOVE, headers={"Idempotency-Key": "case-1"})
    assert answer.status_code == 200, answer.text
    assert len(client.post("/v1/actions/list-jobs", json={}).json()["jobs"]) == 1


def test_files_are_names_in_a_workspace(client: httpx.Client, service: RunningService) -> None:
    job = client.post("/v1/actions/create-move-job", json={**MOVE, "idempotency_key": "a"}).json()["job"]["job_id"]
    waited = client.post("/v1/actions/wait-for-job", json={"job_id": job, "min_interval_seconds": 1}).json()
    assert waited["done"], waited
    exported = client.post("/v1/actions/export-job-messages", json={"job_id": job, "destination": "rows.ndjson"})
    assert exported.status_code == 200, exported.text
    assert [file["path"] for file in exported.json()["files"]] == ["rows.ndjson"]
    workspace = exported.headers["cfes-workspace"]
    assert str(service.service.files.root) not in exported.text
    rows = client.get(f"/v1/runs/{workspace}/files/rows.ndjson")
    assert rows.content.count(b"\n") == exported.json()["written"] > 30
    assert rows.headers["content-disposition"].startswith("attachment")
    report = client.post(
        f"/v1/actions/render-report?workspace={workspace}",
        json={"job": exported.json()["job"], "export": exported.json(), "rows": "rows.ndjson", "destination": "r.html"},
    )
    assert report.status_code == 200, report.text
    names = [file["name"] for file in client.get(f"/v1/runs/{workspace}/files").json()["files"]]
    assert names == ["r.html", "rows.ndjson"]


@pytest.mark.parametrize(
    "preferences", ["respond-async", "wait=5, Respond-Async;x=1", "handling=lenient,respond-async"]
)
def test_an_action_can_continue_as_a_run(client: httpx.Client, preferences: str) -> None:
    begun = client.post("/v1/actions/list-jobs", json={}, headers={"Prefer": preferences})
    assert begun.status_code == 202, begun.text
    run_id = begun.headers["location"].removeprefix("/v1/runs/")
    run = wait_for_run(client, run_id)
    assert run["status"] == "completed", json.dumps(run)
    assert run["outputs"]["result"]["jobs"] == []
    assert run["requested_by"] == "ana@corp.example"


def test_a_full_queue_of_runs_is_429_with_a_time(start: Callable[..., RunningService], token: str) -> None:
    running = start(CFES_HTTP_QUEUED_RUNS="1")
    running.service.queue.add("another-run", None)
    with running.client(token) as client:
        answer = client.post("/v1/actions/list-jobs", json={}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 429, answer.text
    assert answer.headers["retry-after"] == "30"
    assert answer.json()["error"]["applied"] == "no"
