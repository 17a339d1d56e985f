"""Faults as a caller sees them over a real connection."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import httpx
import pytest
from pydantic import ValidationError

from sandbox.account import open_account
from sandbox.app import create_app
from sandbox.edge import DroppedConnectionError
from sandbox.faults import FaultList
from sandbox.server import RunningSandbox
from sandbox.settings import Settings
from tests.plain_http import PLAIN

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]

JOB = {"action": "MOVE", "destination": "JunkEmail", "search_params": {"sender": "sender@bad.test"}}
BULK = "investigate/bulk"


@pytest.mark.parametrize(("kind", "jobs"), [("drop_before", 0), ("drop_after", 1)])
@pytest.mark.parametrize("reset", [False, True])
def test_a_call_with_a_dropped_connection_may_be_applied(
    run: Run, connect: Connect, kind: str, jobs: int, reset: bool
) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", kind, reset=reset)  # type: ignore[arg-type]
    client = connect(sandbox)
    with pytest.raises(httpx.NetworkError if reset else httpx.RemoteProtocolError):
        client.post(BULK, json=JOB)
    assert len(sandbox.state.truth()["jobs"]) == jobs
    assert client.post(BULK, json=JOB).status_code == 201


@pytest.mark.parametrize(("fields", "jobs"), [({}, 0), ({"applied": True}, 1)])
@pytest.mark.parametrize("kind", ["status", "html", "success_false"])
def test_an_error_response_may_hide_that_the_call_was_applied(
    run: Run, connect: Connect, kind: str, fields: dict[str, Any], jobs: int
) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", kind, **fields)  # type: ignore[arg-type]
    answer = connect(sandbox).post(BULK, json=JOB)
    assert answer.status_code == {"status": 500, "html": 502, "success_false": 200}[kind]
    if kind == "html":
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cf-ray"] in answer.text
    else:
        assert answer.json()["success"] is False
    assert len(sandbox.state.truth()["jobs"]) == jobs


def test_an_error_has_the_configured_status_code_and_message(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("getBulkJob", "status", status=503, code=7777, message="Down", retry_after="soon")
    answer = connect(sandbox).get(f"{BULK}/3f0b8a4e-6a0e-4c57-9d5e-0a3c9a1f2b4d")
    assert (answer.status_code, answer.json()["errors"]) == (503, [{"code": 7777, "message": "Down"}])
    assert answer.headers["retry-after"] == "soon"


def test_a_truncated_response_is_shorter_than_its_content_length(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", "truncate", keep=10)
    with pytest.raises(httpx.RemoteProtocolError, match=r"received 10 bytes"):
        connect(sandbox).post(BULK, json=JOB)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_cut_json_has_the_right_content_length(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", "cut_json")
    answer = connect(sandbox).post(BULK, json=JOB)
    assert answer.status_code == 201
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(("applied", "jobs"), [(False, 0), (True, 1)])
def test_a_delay_can_exceed_the_callers_timeout(run: Run, connect: Connect, applied: bool, jobs: int) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", "delay", seconds=0.7, applied=applied)
    client = connect(sandbox)
    with pytest.raises(httpx.ReadTimeout):
        client.post(BULK, json=JOB, timeout=httpx.Timeout(5, read=0.3))
    assert len(sandbox.state.truth()["jobs"]) == jobs


def test_a_delayed_response_arrives(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", "delay", seconds=0.05)
    assert connect(sandbox).post(BULK, json=JOB).status_code == 201


def test_a_scripted_rate_limit_applies_to_one_call_or_a_period(run: Run, connect: Connect) -> None:
    sandbox = run()
    client = connect(sandbox)
    sandbox.state.faults.add("listBulkJobs", "rate_limit", retry_after=7)
    limited = client.get(BULK)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert client.get(BULK).status_code == 200
    sandbox.state.faults.add("listBulkJobs", "rate_limit", retry_after=60, block=True)
    assert [client.get(BULK).headers.get("retry-after") for _ in range(2)] == ["60", "60"]
    assert client.post(BULK, json=JOB).status_code == 429
    sandbox.state.advance(60)
    assert client.get(BULK).status_code == 200


def test_an_address_can_be_denied(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("*", "address_denied")
    answer = connect(sandbox).get(BULK)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, 9109)


def test_a_fault_starts_and_ends_after_a_number_of_calls(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("listBulkJobs", "status", times=2, after=1)
    client = connect(sandbox)
    seen = []
    for _ in range(5):
        seen.append(client.get(BULK).status_code)
        assert client.get("investigate").status_code == 200
    assert seen == [200, 500, 500, 200, 200]


def test_scripted_faults_apply_one_per_call_in_order(run: Run, connect: Connect) -> None:
    sandbox = run()
    for status in (500, 502, 503):
        sandbox.state.faults.add("*", "status", status=status)
    client = connect(sandbox)
    assert [client.get(BULK).status_code for _ in range(4)] == [500, 502, 503, 200]


def _rows(run: Run, connect: Connect, deliver: Deliver, count: int) -> tuple[RunningSandbox, Callable[..., Any]]:
    sandbox = run()
    deliver(sandbox, count)
    client = connect(sandbox)
    job_id = client.post(BULK, json=JOB).json()["result"]["job_id"]
    sandbox.state.advance(60)
    return sandbox, lambda **params: client.get(f"{BULK}/{job_id}/messages", params={"per_page": 2, **params}).json()


def test_a_page_in_the_middle_can_be_empty(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox, page = _rows(run, connect, deliver, 6)
    sandbox.state.faults.add("listBulkJobMessages", "empty_page", page=2)
    assert [len(page(page=number)["result"]) for number in (1, 2, 3, 2)] == [2, 0, 2, 2]


@pytest.mark.parametrize(("by", "starts_at"), [(1, 1), (-1, 3)])
def test_rows_can_shift_between_pages(run: Run, connect: Connect, deliver: Deliver, by: int, starts_at: int) -> None:
    sandbox, page = _rows(run, connect, deliver, 6)
    rows = [row["message_id"] for row in page(per_page=6)["result"]]
    sandbox.state.faults.add("listBulkJobMessages", "shift_rows", by=by)
    assert page(page=2)["result"][0]["message_id"] == rows[starts_at]
    assert page(page=2)["result"][0]["message_id"] == rows[2]


def test_a_list_can_be_paged_by_a_cursor(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox, page = _rows(run, connect, deliver, 5)
    expected = [row["message_id"] for row in page(per_page=5)["result"]]
    assert page()["result_info"]["next"] is None
    sandbox.state.faults.add("listBulkJobMessages", "cursor")
    seen, params = [], dict[str, str]()
    while True:
        body = page(**params)
        seen += [row["message_id"] for row in body["result"]]
        if body["result_info"]["next"] is None:
            break
        params = {"cursor": body["result_info"]["next"]}
    assert seen == expected


def test_the_list_of_jobs_can_lag_behind(run: Run, connect: Connect) -> None:
    sandbox = run()
    client = connect(sandbox)

    def create() -> str:
        return str(client.post(BULK, json=JOB).json()["result"]["job_id"])

    def listed() -> list[str]:
        body = client.get(BULK).json()
        assert body["result_info"]["count"] == len(body["result"])
        return [job["job_id"] for job in body["result"]]

    older = create()
    sandbox.state.faults.add("listBulkJobs", "lag", seconds=10)
    sandbox.state.advance(10)
    newer = create()
    assert listed() == [older]
    assert client.get(f"{BULK}/{newer}").status_code == 200
    sandbox.state.advance(9.5)
    assert listed() == [older]
    sandbox.state.advance(0.5)
    assert listed() == [newer, older]
    newest = create()
    assert listed() == [newer, older]
    sandbox.state.faults.clear()
    assert listed() == [newest, newer, older]


def test_a_slow_search_can_have_any_location(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("searchMessages", "slow_search", location="https://evil.example/steal")
    answer = connect(sandbox).get("investigate")
    assert (answer.status_code, answer.headers["location"]) == (202, "https://evil.example/steal")


def test_a_successful_response_can_have_a_notice_and_unknown_values(run: Run, connect: Connect) -> None:
    sandbox = run()
    sandbox.state.faults.add("createBulkJob", "notice")
    sandbox.state.faults.add(
        "createBulkJob",
        "rewrite",
        set={"status": "PAUSED", "action_params.zone": 7, "new.field": []},
        remove=["comment"],
    )
    body = connect(sandbox).post(BULK, json=JOB).json()
    assert [message["code"] for message in body["messages"]] == [10000]
    job = body["result"]
    assert (job["status"], job["action_params"]["zone"], job["new"]) == ("PAUSED", 7, {"field": []})
    assert "comment" not in job


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"operation": "createJob", "kind": "html"}, "unknown operation"),
        ({"operation": "*", "kind": "explode"}, "drop_before"),
        ({"operation": "*", "kind": "html", "seconds": 3}, "not a field of kind html"),
        ({"operation": "*", "kind": "delay", "seconds": 61}, "60"),
        ({"operation": "*", "kind": "status", "status": 200}, "400"),
        ({"operation": "*", "kind": "status", "code": 7}, "1000"),
        ({"operation": "*", "kind": "html", "times": 0}, "1"),
        ({"operation": "*", "kind": "html", "tmes": 2}, "[Ee]xtra"),
        ({"operation": "getBulkJob", "kind": "fail_job"}, "createBulkJob"),
        ({"operation": "getBulkJob", "kind": "lag"}, "listBulkJobs"),
        ({"operation": "*", "kind": "rate_limit", "block": True, "retry_after": "soon"}, "number"),
    ],
)
def test_an_invalid_fault_is_refused(run: Run, fault: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        FaultList().add(**fault)


def test_faults_are_scripted_listed_and_cleared_over_http(run: Run, connect: Connect) -> None:
    sandbox = run()
    with httpx.Client(base_url=sandbox.control_url, trust_env=False, verify=PLAIN) as control:
        made = control.post("faults", json={"operation": "listBulkJobs", "kind": "html", "times": 3})
        assert made.status_code == 201
        assert connect(sandbox).get(BULK).status_code == 502
        assert control.get("faults").json()["faults"] == [
            {"operation": "listBulkJobs", "kind": "html", "times": 3, "met": 1}
        ]
        assert control.delete("faults").json() == {"cleared": 1}
        assert connect(sandbox).get(BULK).status_code == 200
        refused = control.post("faults", json={"operation": "listBulkJobs", "kind": "html", "page": 3})
        assert refused.status_code == 400
        assert "not a field of kind html" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate"])
def test_without_a_server_a_broken_connection_is_an_exception(
    settings: Callable[..., Settings], kind: Literal["drop_before", "drop_after", "truncate"]
) -> None:
    account = open_account(settings()).account
    account.faults.add("verifyUserToken", kind)

    async def call() -> int:
        transport = httpx.ASGITransport(create_app(account))
        headers = {"Authorization": "Bearer sandbox-full-token"}
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=headers) as client:
            with pytest.raises(DroppedConnectionError):
                await client.get("/client/v4/user/tokens/verify")
            return (await client.get("/client/v4/user/tokens/verify")).status_code

    assert asyncio.run(call()) == 200
