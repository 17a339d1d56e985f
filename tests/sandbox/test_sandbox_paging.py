"""Paging of jobs and of a job's messages: by page number, with zeros in result_info."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.account import Account
from sandbox.message import Sender
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.exhaustive import exhaustive_unless

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]

AT_ONCE = Pace(start_delay=0, discover_rate=1e6, process_rate=1e6)
JOB = {"action": "MOVE", "destination": "DeletedItems", "search_params": {"sender": "sender@bad.test"}}


def _fill(account: Account, count: int) -> None:
    sender = Sender("sender@bad.test")
    with account.present() as now:
        for number in range(count):
            recipients = (f"user{number}@corp.example",)
            account.tenant.add(time=now, sender=sender, subject="x", recipients=recipients, disposition="SPAM")


def _job_with(run: Run, connect: Connect, rows: int, **changes: Any) -> tuple[RunningSandbox, httpx.Client, str]:
    sandbox = run(**{"pace": AT_ONCE, **changes})
    _fill(sandbox.state, rows)
    client = connect(sandbox)
    job_id = client.post("investigate/bulk", json=JOB).json()["result"]["job_id"]
    sandbox.state.advance(60)
    return sandbox, client, f"investigate/bulk/{job_id}/messages"


@pytest.mark.parametrize("rows", exhaustive_unless({0, 1000, 1001}, [0, 1, 999, 1000, 1001, 2500]))
def test_pages_contain_every_row_once(run: Run, connect: Connect, rows: int) -> None:
    _, client, path = _job_with(run, connect, rows)
    seen: list[str] = []
    for page in range(1, rows // 1000 + 3):
        body = client.get(path, params={"page": page, "per_page": 1000}).json()
        count = min(1000, max(0, rows - (page - 1) * 1000))
        info = {"count": count, "per_page": 1000, "next": None, "previous": None, "page": 0, "total_count": 0}
        assert body["result_info"] == info
        assert len(body["result"]) == count
        seen += [row["message_id"] for row in body["result"]]
    assert len(set(seen)) == len(seen) == rows


def test_a_page_has_twenty_rows_by_default(run: Run, connect: Connect) -> None:
    _, client, path = _job_with(run, connect, 45)
    assert [client.get(path, params={"page": page}).json()["result_info"]["count"] for page in (1, 2, 3)] == [20, 20, 5]


@pytest.mark.parametrize("params", [{"page": 0}, {"page": -1}, {"per_page": 0}, {"per_page": 1001}, {"page": "x"}])
def test_a_page_out_of_range_is_refused(run: Run, connect: Connect, params: dict[str, Any]) -> None:
    _, client, path = _job_with(run, connect, 1)
    for listing in (path, "investigate/bulk"):
        answer = client.get(listing, params=params)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["source"]["pointer"] == f"/{next(iter(params))}"


def test_a_page_far_beyond_the_end_is_empty(run: Run, connect: Connect) -> None:
    _, client, path = _job_with(run, connect, 1)
    assert client.get(path, params={"page": 10**30}).json()["result"] == []


def test_rows_are_listed_by_status(run: Run, connect: Connect) -> None:
    _, client, path = _job_with(run, connect, 5)
    assert client.get(path, params={"status": "COMPLETED"}).json()["result_info"]["count"] == 5
    assert client.get(path, params={"status": "FAILED"}).json()["result_info"]["count"] == 0
    assert client.get(path, params={"status": "DISCOVERING"}).status_code == 400


def test_the_order_of_rows_stays_while_a_job_runs(run: Run, connect: Connect) -> None:
    sandbox, client, path = _job_with(run, connect, 30, pace=Pace(start_delay=0, discover_rate=1e6, process_rate=0.1))
    first = [row["message_id"] for row in client.get(path, params={"per_page": 50}).json()["result"]]
    sandbox.state.advance(60)
    assert [row["message_id"] for row in client.get(path, params={"per_page": 50}).json()["result"]] == first


def test_in_recent_order_rows_shift_while_a_job_runs(run: Run, connect: Connect) -> None:
    pace = Pace(start_delay=0, discover_rate=1e6, process_rate=0.1)
    sandbox, client, path = _job_with(run, connect, 30, pace=pace, row_order="recent")
    first = client.get(path, params={"per_page": 15}).json()["result"]
    sandbox.state.advance(60)
    second = client.get(path, params={"per_page": 15, "page": 2}).json()["result"]
    assert {row["message_id"] for row in first} & {row["message_id"] for row in second}


def test_jobs_are_paged_too(run: Run, connect: Connect) -> None:
    client = connect(run())
    made = [client.post("investigate/bulk", json=JOB).json()["result"]["job_id"] for _ in range(25)]
    pages = [client.get("investigate/bulk", params={"page": page}).json() for page in (1, 2, 3)]
    assert [page["result_info"]["count"] for page in pages] == [20, 5, 0]
    assert [page["result_info"]["total_count"] for page in pages] == [0, 0, 0]
    assert [job["job_id"] for page in pages for job in page["result"]] == made[::-1]
