"""One message: the flag `submission`, the action log, and the fields that the API removes on 2026-11-01."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.clock import parse_instant
from sandbox.server import RunningSandbox
from sandbox.settings import Pace

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]

BEFORE = parse_instant("2026-10-31T23:00:00Z")
JUNK = {"destination": "JunkEmail"}


def _log(client: httpx.Client, one: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"investigate/{one}/action_log", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_message_is_in_one_of_two_stores(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox, sandbox.read_token)
    (mail,), (submitted,) = deliver(sandbox, 1), deliver(sandbox, 1, submission=True)
    statuses = {
        (one, flag): client.get(f"investigate/{one}", params=flag and {"submission": flag}).status_code
        for one in (mail, submitted)
        for flag in ("", "false", "true")
    }
    assert statuses == {
        (mail, ""): 200, (mail, "false"): 200, (mail, "true"): 404,
        (submitted, ""): 404, (submitted, "false"): 404, (submitted, "true"): 200,
    }  # fmt: skip
    assert client.get(f"investigate/{mail}").json()["result"]["id"] == mail
    assert client.get("investigate/nothing-like-it").status_code == 404
    assert client.get(f"investigate/{mail}", params={"submission": "yes"}).status_code == 400


def test_each_attempt_has_a_log_entry_without_recipient_or_job(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    (one,) = deliver(sandbox, 1, to=["a@corp.example", "b@corp.example"])
    assert _log(client, one)["result"] == []
    sandbox.state.delivery.mailboxes["b@corp.example"] = "throttled"
    client.post("investigate/move", json={**JUNK, "ids": [one]})
    sandbox.state.delivery.mailboxes["b@corp.example"] = "ok"
    client.post(f"investigate/{one}/move", json=JUNK)
    assert client.get(f"investigate/{one}/preview").json()["result"]["screenshot"]
    entries = _log(client, one)["result"]
    logged = [(e["operation"], e["success"], e["properties"]["folder"]) for e in entries]
    assert logged == [
        ("PREVIEW", True, None),
        ("MOVE", True, "JunkEmail"),
        ("MOVE", True, "JunkEmail"),
        # The first attempt failed and a later one succeeded. The entry names the requested folder.
        ("MOVE", False, "JunkEmail"),
        ("MOVE", True, "JunkEmail"),
    ]
    assert entries[3]["status"] == "Throttled by the mail provider"
    assert {e["properties"]["requested_by"] for e in entries} == {"full"}
    assert "corp.example" not in str(entries)
    assert client.get(f"investigate/{one}").json()["result"]["post_delivery_operations"] == ["MOVE", "PREVIEW"]


def test_the_log_is_paged_by_number_with_counts(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    (one,) = deliver(sandbox, 1)
    for _ in range(3):
        client.post(f"investigate/{one}/move", json=JUNK)
    first, second = (_log(client, one, page=page, per_page=2) for page in (1, 2))
    assert (len(first["result"]), len(second["result"])) == (2, 1)
    assert first["result_info"] == {"count": 2, "page": 1, "per_page": 2, "total_count": 3}
    assert second["result_info"] == {"count": 1, "page": 2, "per_page": 2, "total_count": 3}
    assert client.get(f"investigate/{one}/action_log", params={"per_page": 1001}).status_code == 400


@pytest.mark.parametrize("path", ["", "/action_log", "/preview"])
def test_reading_a_message_needs_a_read_token(path: str, run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    (one,) = deliver(sandbox, 1)
    assert connect(sandbox, sandbox.read_token).get(f"investigate/{one}{path}").status_code == 200
    assert connect(sandbox, sandbox.revoked_token).get(f"investigate/{one}{path}").status_code == 401
    assert connect(sandbox).get(f"investigate/nothing{path}").status_code == 404


def test_fields_that_end_in_november_are_absent_from_then_on(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(at=BEFORE)
    client = connect(sandbox)
    (one,) = deliver(sandbox, 1)

    def ended() -> dict[str, set[str]]:
        search = client.get("investigate", params={"start": "2026-10-30T00:00:00Z"}).json()
        move = client.post("investigate/move", json={**JUNK, "ids": [one]}).json()["result"][0]
        release = client.post("investigate/release", json={"ids": [one]}).json()["result"][0]
        order = {"action": "MOVE", **JUNK, "search_params": {"message_id": "x", "action_log": True}}
        job = client.post("investigate/bulk", json=order).json()["result"]
        return {
            "message": {"ts", "findings", "action_log"} & search["result"][0].keys(),
            "move": {"completed_timestamp", "item_count"} & move.keys(),
            "release": {"postfix_id"} & release.keys(),
            "job": {"action_log"} & job["search_params"].keys(),
        }

    assert ended() == {
        "message": {"ts", "findings", "action_log"},
        "move": {"completed_timestamp", "item_count"},
        "release": {"postfix_id"},
        "job": {"action_log"},
    }
    sandbox.state.advance(3600)
    assert ended() == {key: set() for key in ("message", "move", "release", "job")}


def test_expected_disposition_ends_in_december(run: Run, connect: Connect) -> None:
    sandbox = run(at=parse_instant("2026-11-30T23:59:59Z"))
    client = connect(sandbox)
    order = {"action": "MOVE", **JUNK, "search_params": {"message_id": "x"}, "expected_disposition": "SPAM"}
    job = client.post("investigate/bulk", json=order).json()["result"]
    assert job["action_params"]["expected_disposition"] == "SPAM"
    sandbox.state.advance(1)
    assert client.get(f"investigate/bulk/{job['job_id']}").json()["result"]["action_params"] == {
        "type": "MOVE",
        **JUNK,
    }


@pytest.mark.parametrize(("share", "moved"), [(0.0, 0), (1.0, 4)])
def test_a_message_in_flight_may_be_moved_after_its_job_is_cancelled(
    share: float, moved: int, run: Run, connect: Connect, deliver: Deliver
) -> None:
    pace = Pace(start_delay=1.0, discover_rate=1000.0, process_rate=1.0, moved_in_flight=share)
    sandbox = run(pace=pace)
    client = connect(sandbox)
    deliver(sandbox, 10)
    order = {"action": "MOVE", **JUNK, "search_params": {"sender": "sender@bad.test"}}
    job_id = client.post("investigate/bulk", json=order).json()["result"]["job_id"]
    sandbox.state.advance(2)
    client.post(f"investigate/bulk/{job_id}/cancel")
    sandbox.state.advance(60)
    rows = client.get(f"investigate/bulk/{job_id}/messages").json()["result"]
    assert [row["status"] for row in rows] == ["CANCELLED"] * 10
    assert [change["job_id"] for change in sandbox.state.truth()["moved"]] == [job_id] * moved
