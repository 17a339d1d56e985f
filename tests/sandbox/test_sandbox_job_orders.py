"""The request for a new job, its fields in responses, and the list of jobs."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.server import RunningSandbox

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]

MOVE: dict[str, Any] = {
    "action": "MOVE",
    "destination": "JunkEmail",
    "search_params": {"sender": "sender@bad.test"},
    "comment": "case 42",
}
RELEASE: dict[str, Any] = {"action": "RELEASE", "search_params": {"sender": "sender@bad.test"}}


def _create(client: httpx.Client, job: dict[str, Any]) -> str:
    answer = client.post("investigate/bulk", json=job)
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["result"]["job_id"]
    return job_id


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    result: dict[str, Any] = client.get(f"investigate/bulk/{job_id}").json()["result"]
    return result


def test_empty_search_params_match_every_detection(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 3)
    deliver(sandbox, 2, **{"from": "another@bad.test"})
    deliver(sandbox, 2, disposition="NONE")
    job_id = _create(client, {"action": "MOVE", "destination": "Inbox", "search_params": {}})
    sandbox.state.advance(60)
    assert _job(client, job_id)["total_messages_discovered"] == 5


def test_a_misspelled_filter_is_ignored_and_widens_the_search(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 3)
    job_id = _create(client, {**MOVE, "search_params": {"sendr": "nobody@bad.test"}})
    sandbox.state.advance(60)
    job = _job(client, job_id)
    assert job["total_messages_discovered"] == 3
    assert "sendr" not in job["search_params"]
    assert sandbox.state.truth()["jobs"][0]["ignored_search_params"] == ["sendr"]


@pytest.mark.parametrize("comment", ["", " case\n42 \t", "{{ 7*7 }} \u202e\U0001f4b8 \x00", "x" * 5_000_000, None])
def test_a_comment_is_returned_unchanged(run: Run, connect: Connect, comment: str | None) -> None:
    client = connect(run())
    job_id = _create(client, {**MOVE, "comment": comment})
    assert _job(client, job_id)["comment"] == comment


def test_a_job_returns_its_search_params_with_default_flags(run: Run, connect: Connect) -> None:
    client = connect(run())
    requested = {
        "subject": "invoice",
        "final_disposition": "MALICIOUS-BEC",
        "start": "2026-11-01T00:00:00+01:00",
        "query": None,
    }
    job_id = _create(client, {**MOVE, "search_params": requested, "expected_disposition": "SPAM"})
    job = _job(client, job_id)
    assert job["search_params"] == {
        "subject": "invoice",
        "final_disposition": "MALICIOUS-BEC",
        "start": "2026-11-01T00:00:00+01:00",
        "detections_only": True,
        "submissions": False,
    }
    assert job["action_params"] == {"type": "MOVE", "destination": "JunkEmail", "expected_disposition": "SPAM"}


def test_two_equal_requests_create_two_jobs(run: Run, connect: Connect) -> None:
    client = connect(run())
    assert _create(client, MOVE) != _create(client, MOVE)


@pytest.mark.parametrize(
    ("job", "pointer"),
    [
        ({"action": "MOVE", "search_params": {}}, "/destination"),
        ({"action": "MOVE", "search_params": {}, "destination": None}, "/destination"),
        ({"action": "MOVE", "search_params": {}, "destination": "Junk"}, "/destination"),
        ({"action": "PURGE", "search_params": {}}, "/action"),
        ({"action": "RELEASE"}, "/search_params"),
        ({"action": "RELEASE", "search_params": []}, "/search_params"),
        ({"action": "RELEASE", "search_params": {"start": "2026-11-01"}}, "/search_params/start"),
        ({"action": "RELEASE", "search_params": {"end": None}}, "/search_params/end"),
        ({"action": "RELEASE", "search_params": {"detections_only": "false"}}, "/search_params/detections_only"),
        ({"action": "RELEASE", "search_params": {"final_disposition": "BAD"}}, "/search_params/final_disposition"),
        ({"action": "RELEASE", "search_params": {"sender": 7}}, "/search_params/sender"),
        ({"action": "RELEASE", "search_params": {}, "comment": 7}, "/comment"),
        ([], ""),
    ],
)
def test_an_invalid_job_is_refused_and_not_created(run: Run, connect: Connect, job: object, pointer: str) -> None:
    sandbox = run()
    answer = connect(sandbox).post("investigate/bulk", json=job)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["code"] >= 1000
    assert error["source"]["pointer"] == pointer
    assert sandbox.state.truth()["jobs"] == []


def test_jobs_are_listed_by_action_and_status(run: Run, connect: Connect) -> None:
    sandbox = run()
    client = connect(sandbox)
    move = _create(client, MOVE)
    sandbox.state.advance(60)
    release = _create(client, RELEASE)

    def listed(**params: str) -> list[str]:
        return [job["job_id"] for job in client.get("investigate/bulk", params=params).json()["result"]]

    assert listed() == [release, move]
    assert listed(action_type="MOVE") == [move]
    assert listed(status="PENDING") == [release]
    assert listed(action_type="MOVE", status="FAILED") == []
    assert client.get("investigate/bulk", params={"status": "SKIPPED"}).status_code == 400
