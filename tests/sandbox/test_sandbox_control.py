"""The controls below /_sandbox, and moves and releases by ID, which they report."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.server import RunningSandbox
from tests.sandbox.conftest import ALERT

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]


@pytest.fixture
def sandbox(run: Run) -> RunningSandbox:
    return run()


@pytest.fixture
def control(sandbox: RunningSandbox, wire: httpx.Client) -> httpx.Client:
    """A client of the controls."""
    wire.base_url = httpx.URL(sandbox.control_url)
    return wire


def test_health_reports_the_url_and_the_clock(sandbox: RunningSandbox, control: httpx.Client) -> None:
    assert control.get("health").json() == {
        "ready": True,
        "base_url": sandbox.base_url,
        "account_id": sandbox.account_id,
        "messages": 0,
        "now": "2026-11-20T16:02:35.000000Z",
        "clock": "manual",
    }


def test_a_manual_clock_is_advanced_over_http(control: httpx.Client) -> None:
    assert control.post("clock", json={"advance_seconds": 90}).json() == {"now": "2026-11-20T16:04:05.000000Z"}
    assert control.post("clock", json={"advance_seconds": -1}).status_code == 400
    assert control.post("clock", json={"advance_seconds": 1, "zone": "UTC"}).status_code == 400


def test_a_real_clock_cannot_be_advanced(run: Run, wire: httpx.Client) -> None:
    sandbox = run(manual_clock=False)
    answer = wire.post(f"{sandbox.control_url}/clock", json={"advance_seconds": 1})
    assert answer.status_code == 409
    assert sandbox.clock.now() >= sandbox.state.settings.at  # type: ignore[operator]


def test_mail_is_delivered_now_or_later_and_as_copies(
    sandbox: RunningSandbox, control: httpx.Client, connect: Connect
) -> None:
    mail = {
        "from": "billing@phish.test",
        "from_name": "=cmd()",
        "to": ["dana@corp.example"],
        "subject": "Pay",
        "disposition": "MALICIOUS",
        "links": ["https://portal.test/x"],
        "attachments": [{"name": "a.pdf", "sha256": "AB" * 32}],
        "message_id": "<own@phish.test>",
        "alert_id": "own-alert",
    }
    (made,) = control.post("mail", json=mail).json()["messages"]
    assert (made["message_id"], made["alert_id"]) == ("<own@phish.test>", "own-alert")
    later = {"like": made["id"], "to": ["lee@corp.example", "kim@corp.example"], "in_seconds": 5}
    assert len(control.post("mail", json=later).json()["messages"]) == 2
    client = connect(sandbox)
    assert client.get("investigate", params={"query": "ab" * 32}).json()["result_info"]["count"] == 1
    sandbox.state.advance(5)
    found = client.get("investigate", params={"query": "ab" * 32}).json()["result"]
    assert [message["client_recipients"] for message in found] == [
        ["kim@corp.example"],
        ["lee@corp.example"],
        ["dana@corp.example"],
    ]


@pytest.mark.parametrize(
    ("mail", "status"),
    [
        ({"to": ["a@corp.example"]}, 400),
        ({"to": [], "from": "b@bad.test"}, 400),
        ({"to": ["a@corp.example"], "from": "b@bad.test", "colour": "red"}, 400),
        ({"to": ["a@corp.example"], "from": "b@bad.test", "at": "2026-11-20T00:00:00Z", "in_seconds": 1}, 400),
        ({"to": ["a@corp.example"], "like": "no-such-message"}, 404),
    ],
)
def test_invalid_mail_is_refused(control: httpx.Client, mail: dict[str, Any], status: int) -> None:
    assert control.post("mail", json=mail).status_code == status


def test_a_mailbox_can_be_gone_or_throttled(
    sandbox: RunningSandbox, control: httpx.Client, connect: Connect, deliver: Deliver
) -> None:
    client = connect(sandbox)
    (message_id,) = deliver(sandbox, 1)
    seen = []
    for trouble in ("gone", "throttled", "ok"):
        control.post("mailboxes", json={"address": "user0000@corp.example", "trouble": trouble})
        (row,) = client.post("investigate/move", json={"ids": [message_id], "destination": "Inbox"}).json()["result"]
        seen.append((row["success"], row["status"]))
    assert seen == [(False, "Mailbox not found"), (False, "Throttled by the mail provider"), (True, "OK")]
    assert control.post("mailboxes", json={"address": "x@corp.example", "trouble": "burnt"}).status_code == 400
    assert control.post("mailboxes", json={"address": "x@corp.example", "trouble": None}).status_code == 200


def test_moving_by_ids_returns_one_row_per_message_and_recipient(
    sandbox: RunningSandbox, connect: Connect, deliver: Deliver
) -> None:
    client = connect(sandbox)
    (both,) = deliver(sandbox, 1, to=["dana@corp.example", "lee@corp.example"])
    (other,) = deliver(sandbox, 1)
    move = {"ids": [both, "4x-2026-11-20T00:00:00-00000099", other], "destination": "DeletedItems"}
    rows = client.post("investigate/move", json=move).json()["result"]
    assert [(row["recipient"], row["success"], row["status"]) for row in rows] == [
        ("dana@corp.example", True, "OK"),
        ("lee@corp.example", True, "OK"),
        (None, False, "Message not found"),
        ("user0000@corp.example", True, "OK"),
    ]
    assert {row["destination"] for row in rows} == {"DeletedItems"}
    one = client.post(f"investigate/{other}/move", json={"destination": "Inbox"})
    assert [row["success"] for row in one.json()["result"]] == [True]
    assert client.post("investigate/nothing/move", json={"destination": "Inbox"}).status_code == 404
    assert [change["folder"] for change in sandbox.state.truth()["moved"]] == ["DeletedItems"] * 3 + ["Inbox"]


@pytest.mark.parametrize("ids", [[], ["x"] * 1001, [7], "x", None])
def test_one_to_a_thousand_ids_can_be_moved(sandbox: RunningSandbox, connect: Connect, ids: object) -> None:
    client = connect(sandbox)
    answer = client.post("investigate/move", json={"ids": ids, "destination": "Inbox"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["source"]["pointer"].startswith("/ids")
    assert client.post("investigate/move", json={"ids": ["x"] * 1000, "destination": "Inbox"}).status_code == 200


def test_releasing_by_ids_returns_the_recipients_by_outcome(
    sandbox: RunningSandbox, connect: Connect, deliver: Deliver
) -> None:
    client = connect(sandbox)
    (held,) = deliver(sandbox, 1, delivery_status="quarantined", to=["dana@corp.example", "gone@corp.example"])
    (not_held,) = deliver(sandbox, 1)
    sandbox.state.delivery.mailboxes["gone@corp.example"] = "gone"
    rows = client.post("investigate/release", json={"ids": [held, not_held, "nothing"]}).json()["result"]
    assert rows == [
        {"id": held, "delivered": ["dana@corp.example"], "failed": [], "undelivered": ["gone@corp.example"]},
        {"id": not_held, "delivered": [], "failed": ["user0000@corp.example"], "undelivered": []},
        {"id": "nothing", "delivered": [], "failed": [], "undelivered": []},
    ]
    assert [change["recipient"] for change in sandbox.state.truth()["released"]] == ["dana@corp.example"]
    assert client.post("investigate/release", json={"ids": []}).status_code == 400


def test_the_truth_reports_calls_and_effects(
    sandbox: RunningSandbox, control: httpx.Client, connect: Connect, deliver: Deliver
) -> None:
    client = connect(sandbox)
    (message_id,) = deliver(sandbox, 1)
    job = {"action": "RELEASE", "search_params": {}, "comment": "why"}
    job_id = client.post("investigate/bulk", json=job).json()["result"]["job_id"]
    connect(sandbox, sandbox.read_token).post("investigate/bulk", json=job)
    client.post("investigate/bulk", json={"action": "MOVE", "search_params": {}})
    client.post("investigate/move", json={"ids": [message_id], "destination": "Inbox"})
    client.post(f"investigate/bulk/{job_id}/cancel")
    client.delete(f"investigate/bulk/{job_id}")
    truth = control.get("truth").json()
    assert truth["calls"] == {"createBulkJob": 3, "moveMessages": 1, "cancelBulkJob": 1, "deleteBulkJob": 1}
    assert [(effect["operation"], effect["touched"]) for effect in truth["effects"]] == [
        ("createBulkJob", [job_id]),
        ("moveMessages", [message_id]),
        ("cancelBulkJob", [job_id]),
        ("deleteBulkJob", [job_id]),
    ]
    (made,) = truth["jobs"]
    assert (made["comment"], made["status"], made["deleted"]) == ("why", "CANCELLED", True)
    assert truth["moved"][0]["id"] == message_id


def test_an_unknown_control_returns_404(control: httpx.Client) -> None:
    assert control.get("nothing").status_code == 404


@pytest.mark.parametrize(
    ("timestamps", "created"),
    [
        ("rfc3339", "2026-11-20T16:02:35.000000Z"),
        ("unix", 1795190555),
        ("unixnano", 1795190555_000_000_000),
    ],
)
def test_post_delivery_events_report_successes_and_failures(
    timestamps: str, created: object, run: Run, wire: httpx.Client, connect: Connect
) -> None:
    sandbox = run(alert=ALERT, messages=300, campaign_size=30, permanent_failures=0.3)
    client = connect(sandbox)
    search = {"sender": "billing@invoice-portal.example", "detections_only": False}
    order = {"action": "MOVE", "destination": "JunkEmail", "search_params": search}
    jobs = [client.post("investigate/bulk", json=order).json()["result"]["job_id"] for _ in range(2)]
    sandbox.state.advance(600)
    shown = client.get(f"investigate/bulk/{jobs[0]}").json()["result"]
    query = {"timestamps": timestamps, "job_id": jobs[0]}
    answer = wire.get(f"{sandbox.control_url}/post_delivery_events", params=query)
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["Success"] for event in events].count(True) == shown["messages_successful"] > 0
    assert [event["Success"] for event in events].count(False) == shown["messages_failed"] > 0
    assert {event["Operation"] for event in events} == {"move"}
    assert {event["RequestedAt"] for event in events} == {created}
    assert events == sorted(events, key=lambda event: event["CompletedAt"])
    all_events = wire.get(f"{sandbox.control_url}/post_delivery_events").text.splitlines()
    assert len(all_events) > len(events)
    assert wire.get(f"{sandbox.control_url}/post_delivery_events", params={"timestamps": "x"}).status_code == 400
