"""Messages are looked up by the scan time in their IDs. A table gives the state for each message and action log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from connectors.http.client import httpx
from connectors.objects.message import MessageDetails
from connectors.objects.message_action import MessageAction
from core.errors import ServiceUnavailable
from remediation.guardrails.change import Change
from remediation.messages import lookup as message_lookup
from remediation.messages.lookup import MOST_SEARCHES, look_up, needs_log, read_logs, scanned_at, state_of, windows
from tests.connectors.scripted import Scripted, connected, ok, refused

JUNK = Change("MOVE", "JunkEmail")
RELEASE = Change("RELEASE")


def id_at(at: str, number: int = 12345678) -> str:
    return f"4Njp3P0STMz2c02Q-{at}-{number}"


def log_of(*entries: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return an action log, oldest entry first. An entry: operation, folder, fields that override defaults."""
    return [
        {
            "completed_at": f"2026-11-20T16:0{place}:00Z",
            "operation": operation,
            "success": True,
            "properties": {"folder": folder},
            **(other[0] if other else {}),
        }
        for place, (operation, folder, *other) in enumerate(entries)
    ]


FAILED = {"success": False, "status": "Message not found"}
ONE = ["a@corp.example"]
TWO = ["a@corp.example", "b@corp.example"]


@pytest.mark.parametrize(("investigate_id", "at"), [
    (id_at("2024-01-05T10:00:00"), datetime(2024, 1, 5, 10, tzinfo=UTC)),
    (id_at("2024-13-05T10:00:00"), None), (id_at("0001-01-01T00:00:00"), None), (id_at("9999-12-31T23:59:59"), None),
    ("x-1", None), ("", None), ("4Njp3P0STMz2c02Q-2024-01-05", None),
    ("-2024-01-05T10:00:00-1", None), (id_at("２０24-01-05T10:00:00"), None),
])  # fmt: skip
def test_the_scan_time_is_read_from_a_valid_message_id(investigate_id: str, at: datetime | None) -> None:
    assert scanned_at(investigate_id) == at


def test_close_windows_are_merged_and_distant_ones_are_not() -> None:
    ids = [id_at("2026-11-20T10:00:00"), id_at("2026-11-20T10:00:40"), id_at("2026-11-20T12:00:00"), "no-time"]
    first, second = windows(ids)
    assert first.ids == frozenset(ids[:2])
    assert (first.start, first.end) == (
        datetime(2026, 11, 20, 9, 59, 55, tzinfo=UTC),
        datetime(2026, 11, 20, 10, 0, 45, tzinfo=UTC),
    )
    assert second.ids == {ids[2]}


def test_the_number_of_searches_is_limited() -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    ids = {id_at(f"{start + timedelta(minutes=17 * n):%Y-%m-%dT%H:%M:%S}", n) for n in range(3000)}
    searches = windows(ids)
    assert 1 <= len(searches) <= MOST_SEARCHES
    assert frozenset().union(*(window.ids for window in searches)) == ids


def test_a_lookup_stops_when_all_messages_are_found() -> None:
    one, other = id_at("2026-11-20T10:00:00"), id_at("2026-11-20T10:00:00", 2)
    found = [{"id": id_at("2026-11-20T10:00:01", 1)}, {"id": one}, {"id": other}]
    script = Scripted(ok(found, result_info={"count": 3, "next": "more"}))
    with connected(script) as api:
        assert list(look_up(api, [one, other])) == [one, other]
    query = parse_qs(script.requests[0].url.query.decode())
    assert query["detections_only"] == ["false"]
    assert (query["start"], query["end"]) == (["2026-11-20T09:59:55Z"], ["2026-11-20T10:00:05Z"])


def test_the_number_of_messages_read_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_lookup, "MOST_MESSAGES_READ", 3)
    other_messages = [{"id": f"x-{number}"} for number in range(5)]
    monkeypatch.setattr(message_lookup, "MOST_REQUESTED", 0)
    script = Scripted(ok(other_messages, result_info={"count": 5, "next": "more"}))
    with connected(script) as api:
        assert look_up(api, [id_at(f"2026-11-20T{hour}:00:00", n) for hour in (10, 12) for n in (1, 2)]) == {}


def test_a_refused_search_window_hides_no_other_message() -> None:
    early, late = ([id_at(f"{day}T10:00:00", 1), id_at(f"{day}T10:00:00", 2)] for day in ("2026-11-20", "2031-01-01"))
    script = Scripted(
        ok([{"id": one} for one in early], result_info={"count": 2}),
        refused(400, message="start lies in the future"),
        *[refused(404, message="Message not found")] * 4,
    )
    with connected(script) as api:
        assert list(look_up(api, [*late, *early])) == early


def test_messages_outside_all_searches_are_requested_by_id_in_both_stores() -> None:
    alone, timeless = id_at("2026-11-20T10:00:00"), "no-time-in-it"
    absent = refused(404, message="Message not found")
    script = Scripted(ok({"id": alone}), absent, ok({"id": timeless}), absent, absent)
    with connected(script) as api:
        # "bulk" and "move" would be other paths of the API.
        assert list(look_up(api, [alone, timeless, "gone", "bulk", "move"])) == [alone, timeless]
    requests = [(request.url.path.rpartition("/")[2], request.url.query) for request in script.requests]
    assert requests == [
        (alone, b""), (timeless, b""), (timeless, b"submission=true"), ("gone", b""), ("gone", b"submission=true"),
    ]  # fmt: skip


def test_only_needed_logs_are_read_and_their_number_is_limited() -> None:
    moved = {"delivery_status": ["moved"], "client_recipients": ONE}
    found = {
        one: MessageDetails.read({"id": one, **fields}, "it")
        for one, fields in {"a": moved, "b": {"delivery_status": ["delivered"]}, "c": moved, "d": moved}.items()
    }
    script = Scripted(ok(log_of(("MOVE", "JunkEmail"))), refused(404, message="Message not found"))
    with connected(script) as api:
        logs = read_logs(api, found, JUNK, 2)
    assert list(logs) == ["a"]
    assert [request.url.path.split("/")[-2:] for request in script.requests] == [
        ["a", "action_log"],
        ["c", "action_log"],
    ]


def test_a_failed_search_raises_an_error() -> None:
    steps = [lambda _: httpx.Response(503)] * 6
    with connected(Scripted(*steps)) as api, pytest.raises(ServiceUnavailable):
        look_up(api, [id_at("2026-11-20T10:00:00"), id_at("2026-11-20T10:00:00", 2)])


MOVED = {"delivery_status": ["moved"], "client_recipients": ONE}
BOTH_MOVED = {"delivery_status": ["moved"], "client_recipients": TWO}


@pytest.mark.parametrize(("state", "fields", "log"), [
    # The message's own fields.
    ("not done", {"delivery_status": ["delivered"]}, None),
    ("not done", {"delivery_status": ["delivered"], "post_delivery_operations": ["PREVIEW", "SUBMISSION"]}, None),
    ("unknown", {}, None), ("unknown", MOVED, None),
    ("unknown", {"post_delivery_operations": ["MOVE"], "delivery_status": ["delivered"]}, None),
    # The embedded log is deprecated and is not used.
    ("unknown", {**MOVED, "action_log": log_of(("MOVE", "JunkEmail"))}, None),
    # One mailbox: the latest attempt that succeeded.
    ("done", MOVED, log_of(("MOVE", "JunkEmail"))),
    ("done", MOVED, log_of(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))),
    ("done", MOVED, log_of(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))[::-1]),
    ("done", MOVED, log_of(("MOVE", "JunkEmail"), ("PREVIEW", None), ("SUBMISSION", None))),
    ("done", MOVED, log_of(("MOVE", "JunkEmail", {"success": None, "status": "OK"}))),
    ("done", MOVED, log_of(("MOVE", "JunkEmail", {"completed_at": None, "started_at": "2026-11-20T16:00:00Z"}))),
    ("not done", MOVED, log_of(("MOVE", "JunkEmail"), ("MOVE", "Inbox"))),
    ("not done", MOVED, log_of(("QUARANTINE_RELEASE", "Inbox"))),
    # A later success counts after a failure. A failed last attempt moved nothing.
    ("done", MOVED, log_of(("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail"))),
    ("done", MOVED, log_of(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail", FAILED))),
    ("not done", MOVED, log_of(("MOVE", "Inbox"), ("MOVE", "JunkEmail", FAILED))),
    ("not done", {"client_recipients": ONE, "delivery_status": ["move_failed"]},
     log_of(("MOVE", "JunkEmail", FAILED))),
    ("not done", {"client_recipients": ONE}, []),
    # Logs that leave the state unknown.
    ("unknown", MOVED, []), ("unknown", MOVED, log_of(("MOVE", "JunkEmail", FAILED))),
    ("unknown", MOVED, log_of(("MOVE", "Junk Email"))), ("unknown", MOVED, log_of(("MOVE", None))),
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail", {"properties": None}))),
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail", {"completed_at": "yesterday"}))),
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail", {"completed_at": None, "started_at": None}))),
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail", {"success": None, "status": "Queued"}))),
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail"), ("MOVE", "Inbox", {"completed_at": "2026-11-20T16:00:00Z"}))),
    ("unknown", {**MOVED, "delivery_status": ["move_failed"]}, log_of(("MOVE", "JunkEmail"))),
    # An operation of a later version, which may have moved it.
    ("unknown", MOVED, log_of(("MOVE", "JunkEmail"), ("USER_MOVE", "Inbox"))),
    ("done", MOVED, log_of(("MOVE", "JunkEmail"), ("NOTE", None), ("SUBMISSION", "JunkEmail"))),
    # Several mailboxes: an entry does not say whose copy it moved.
    ("done", BOTH_MOVED, log_of(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("done", BOTH_MOVED, log_of(("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("not done", BOTH_MOVED, log_of(("MOVE", "Inbox"), ("MOVE", "DeletedItems"))),
    ("unknown", {**BOTH_MOVED, "delivery_status": ["delivered", "moved"]},
     log_of(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("unknown", BOTH_MOVED, log_of(*[("MOVE", "Inbox")] * 2, *[("MOVE", "JunkEmail")] * 2)),
    ("unknown", {"delivery_status": ["moved"]}, log_of(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))),
])  # fmt: skip
def test_the_state_of_a_move_follows_from_the_message_and_its_log(
    state: str, fields: Any, log: list[Any] | None
) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), read_log(log), JUNK) == state


NOT_QUARANTINED = {"is_quarantined": False}


@pytest.mark.parametrize(("state", "fields", "log"), [
    ("done", {**NOT_QUARANTINED, "post_delivery_operations": ["QUARANTINE_RELEASE"]}, None),
    ("done", NOT_QUARANTINED, log_of(("QUARANTINE_RELEASE", "Inbox"))),
    ("done", NOT_QUARANTINED, log_of(("QUARANTINE_RELEASE", "Inbox", FAILED), ("QUARANTINE_RELEASE", "Inbox"))),
    ("done", {"delivery_status": ["delivered"]}, log_of(("RELEASE", "Inbox"))),
    ("not done", {"is_quarantined": True}, None),
    ("not done", {"delivery_status": ["quarantined"]}, log_of(("QUARANTINE_RELEASE", None, FAILED))),
    ("unknown", {"is_quarantined": True}, log_of(("QUARANTINE_RELEASE", "Inbox"))),
    ("unknown", NOT_QUARANTINED, None),
    ("unknown", NOT_QUARANTINED, log_of(("QUARANTINE_RELEASE", "Inbox", FAILED))),
    ("unknown", NOT_QUARANTINED, log_of(("QUARANTINE_RELEASE", "Inbox", {"success": None, "status": "Queued"}))),
    ("unknown", {}, None),
])  # fmt: skip
def test_the_state_of_a_release_follows_from_the_message_and_its_log(
    state: str, fields: Any, log: list[Any] | None
) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), read_log(log), RELEASE) == state


def read_log(log: list[Any] | None) -> list[MessageAction] | None:
    return None if log is None else [MessageAction.read(entry, "it") for entry in log]


@pytest.mark.parametrize(("needed", "change", "fields"), [
    (True, JUNK, MOVED), (True, JUNK, {}), (False, JUNK, {"delivery_status": ["delivered"]}),
    (False, RELEASE, {"is_quarantined": True}), (True, RELEASE, NOT_QUARANTINED),
    (False, RELEASE, {**NOT_QUARANTINED, "post_delivery_operations": ["QUARANTINE_RELEASE"]}),
])  # fmt: skip
def test_a_log_is_needed_only_if_the_message_does_not_show_its_state(needed: bool, change: Change, fields: Any) -> None:
    assert needs_log(MessageDetails.read({"id": "x-1", **fields}, "it"), change) is needed


def test_a_message_that_was_not_found_has_an_unknown_state() -> None:
    assert state_of(None, None, JUNK) == "unknown"
