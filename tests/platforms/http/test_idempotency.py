"""The header Idempotency-Key over HTTP: a repeated request has one effect, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from core.errors import RateLimited, ServiceUnavailable
from platforms.http.action_calls import ActionCalls
from tests.conftest import CAMPAIGN
from tests.platforms.http.serving import SharedService

MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail", "wait_follows": True}


def _create(client: httpx.Client, key: str | bytes, **more: Any) -> httpx.Response:
    headers = {b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}
    return client.post("/v1/actions/create-move-job", json={**MOVE, **more}, headers=headers)


def _jobs(shared: SharedService) -> int:
    return len(shared.client.post("/v1/actions/list-jobs", json={}).json()["jobs"])


def test_concurrent_repeats_make_one_job(shared: SharedService) -> None:
    before = _jobs(shared)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _create(shared.client, "concurrent"), range(8)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[200] >= 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["retryable"]
            assert int(answer.headers["retry-after"]) >= 1
    repeated = _create(shared.client, "concurrent")
    assert repeated.status_code == 200
    assert repeated.headers["idempotent-replay"] == "true"
    assert {answer.text for answer in answers if answer.status_code == 200} == {repeated.text}
    assert _jobs(shared) == before + 1


def test_concurrent_begins_make_one_run(shared: SharedService) -> None:
    def begin(_: int) -> httpx.Response:
        return shared.client.post(
            "/v1/playbooks/stop-and-report/runs",
            json={"inputs": {"job_id": "none"}},
            headers={"Idempotency-Key": "begin-once"},
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(begin, range(8)))
    begun = {answer.json()["run_id"] for answer in answers if answer.status_code == 202}
    assert len(begun) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    repeated = begin(0)
    assert repeated.status_code == 202
    assert repeated.headers["location"] == f"/v1/runs/{begun.pop()}"


def test_another_request_with_a_key_is_a_conflict(shared: SharedService) -> None:
    assert _create(shared.client, "used").status_code == 200
    before = _jobs(shared)
    headers = {"Idempotency-Key": "used"}
    others = [
        _create(shared.client, "used", destination="DeletedItems"),
        shared.client.post("/v1/actions/create-move-job?workspace=a", json=MOVE, headers=headers),
        shared.client.post("/v1/actions/release-job", json={"search_params": CAMPAIGN}, headers=headers),
        shared.client.post("/v1/runs/none/cancel", json={}, headers=headers),
        shared.client.post("/v1/playbooks/stop-and-report/runs", json={"inputs": {"job_id": "a"}}, headers=headers),
    ]
    assert [answer.status_code for answer in others] == [409] * 5, [answer.text for answer in others]
    assert {answer.json()["error"]["type"] for answer in others} == {"IdempotencyConflict"}
    assert _jobs(shared) == before


def test_the_key_of_another_caller_is_another_key(shared: SharedService) -> None:
    first = _create(shared.client, "of-both")
    token = shared.running.service.callers.create("bob@corp.example", ["read", "write"], expires_at=None)
    with shared.running.client(token) as bob:
        second = _create(bob, "of-both")
        assert "idempotent-replay" not in second.headers
        if second.status_code == 200:
            assert "bob@corp.example" in second.json()["job"]["comment"]
    assert first.json() != second.json()


@pytest.mark.parametrize(
    ("key", "status"),
    [("y", 200), ("y" * 255, 200), ("y" * 256, 422), ("a\u00e9", 422), ("a b~!", 200), (b"\xff", 422), ("a\tb", 422)],
)
def test_a_key_is_printable_ascii(shared: SharedService, key: str | bytes, status: int) -> None:
    answer = _create(shared.client, key)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert "Idempotency-Key" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("fault", "status"), [(503, 503), (429, 429)])
def test_an_answer_that_changed_nothing_and_may_pass_is_not_kept(
    shared: SharedService, fault: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ServiceUnavailable if fault == 503 else RateLimited
    before = _jobs(shared)
    with monkeypatch.context() as patched:
        patched.setattr(ActionCalls, "call", _raises(kind("the API is down", applied="no")))
        failed = _create(shared.client, f"down-{fault}")
    assert failed.status_code == status
    assert int(failed.headers["retry-after"]) >= 1
    assert _create(shared.client, f"down-{fault}").status_code == 200
    assert _jobs(shared) == before + 1


@pytest.mark.parametrize("defect", [ZeroDivisionError(), MemoryError(), RecursionError()])
def test_an_answer_that_leaves_a_doubt_is_kept(
    shared: SharedService, defect: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"defect-{type(defect).__name__}"
    with monkeypatch.context() as patched:
        patched.setattr(ActionCalls, "call", _raises(defect))
        first = _create(shared.client, key)
    assert first.status_code == 500
    assert first.json()["error"]["applied"] == "unknown"
    repeated = _create(shared.client, key)
    assert repeated.status_code == 500
    assert repeated.json() == first.json()


def test_a_full_disk_runs_nothing(shared: SharedService, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _jobs(shared)
    with monkeypatch.context() as patched:
        error = OSError(28, "No space left on device")
        patched.setattr(shared.running.service.requests, "begin", _raises(error))
        assert _create(shared.client, "full").status_code == 500
    assert _jobs(shared) == before
    assert _create(shared.client, "full").status_code == 200


def _raises(error: Exception) -> Any:
    def raised(*_: Any, **__: Any) -> Any:
        raise error

    return raised
