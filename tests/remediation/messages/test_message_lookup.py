"""Looking messages up by the time in their IDs, and what their state says: as a table."""

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


def named(at: str, number: int = 12345678) -> str:
    return f"4Njp3P0STMz2c02Q-{at}-{number}"


def logged(*entries: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Entries of an action log, the oldest first: operation, folder, and fields that are otherwise."""
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
    (named("2024-01-05T10:00:00"), datetime(2024, 1, 5, 10, tzinfo=UTC)),
    (named("2024-13-05T10:00:00"), None), (named("0001-01-01T00:00:00"), None), (named("9999-12-31T23:59:59"), None),
    ("x-1", None), ("", None), ("4Njp3P0STMz2c02Q-2024-01-05", None),
    ("-2024-01-05T10:00:00-1", None), (named("２０24-01-05T10:00:00"), None),
])  # fmt: skip
def test_an_id_tells_when_its_message_was_scanned_or_nothing(investigate_id: str, at: datetime | None) -> None:
    assert scanned_at(investigate_id) == at


def test_close_windows_become_one_and_far_ones_stay_apart() -> None:
    ids = [named("2026-11-20T10:00:00"), named("2026-11-20T10:00:40"), named("2026-11-20T12:00:00"), "no-time"]
    first, second = windows(ids)
    assert first.ids == frozenset(ids[:2])
    assert (first.start, first.end) == (
        datetime(2026, 11, 20, 9, 59, 55, tzinfo=UTC),
        datetime(2026, 11, 20, 10, 0, 45, tzinfo=UTC),
    )
    assert second.ids == {ids[2]}


def test_there_are_never_more_searches_than_allowed() -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    ids = {named(f"{start + timedelta(minutes=17 * n):%Y-%m-%dT%H:%M:%S}", n) for n in range(3000)}
    made = windows(ids)
    assert 1 <= len(made) <= MOST_SEARCHES
    assert frozenset().union(*(window.ids for window in made)) == ids


def test_a_look_stops_reading_once_all_are_found() -> None:
    one, other = named("2026-11-20T10:00:00"), named("2026-11-20T10:00:00", 2)
    found = [{"id": named("2026-11-20T10:00:01", 1)}, {"id": one}, {"id": other}]
    script = Scripted(ok(found, result_info={"count": 3, "next": "more"}))
    with connected(script) as api:
        assert list(look_up(api, [one, other])) == [one, other]
    query = parse_qs(script.requests[0].url.query.decode())
    assert query["detections_only"] == ["false"]
    assert (query["start"], query["end"]) == (["2026-11-20T09:59:55Z"], ["2026-11-20T10:00:05Z"])


def test_a_look_reads_no_more_messages_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_lookup, "MOST_MESSAGES_READ", 3)
    strangers = [{"id": f"x-{number}"} for number in range(5)]
    monkeypatch.setattr(message_lookup, "MOST_REQUESTED", 0)
    script = Scripted(ok(strangers, result_info={"count": 5, "next": "more"}))
    with connected(script) as api:
        assert look_up(api, [named(f"2026-11-20T{hour}:00:00", n) for hour in (10, 12) for n in (1, 2)]) == {}


def test_a_time_that_the_api_does_not_search_hides_no_other_message() -> None:
    early, late = ([named(f"{day}T10:00:00", 1), named(f"{day}T10:00:00", 2)] for day in ("2026-11-20", "2031-01-01"))
    script = Scripted(
        ok([{"id": one} for one in early], result_info={"count": 2}),
        refused(400, message="start lies in the future"),
        *[refused(404, message="Message not found")] * 4,
    )
    with connected(script) as api:
        assert list(look_up(api, [*late, *early])) == early


def test_what_no_search_covers_is_asked_for_by_its_id_in_both_stores() -> None:
    alone, timeless = named("2026-11-20T10:00:00"), "no-time-in-it"
    absent = refused(404, message="Message not found")
    script = Scripted(ok({"id": alone}), absent, ok({"id": timeless}), absent, absent)
    with connected(script) as api:
        # What is no ID of a message would be another path of the API.
        assert list(look_up(api, [alone, timeless, "gone", "bulk", "move"])) == [alone, timeless]
    asked = [(request.url.path.rpartition("/")[2], request.url.query) for request in script.requests]
    assert asked == [
        (alone, b""), (timeless, b""), (timeless, b"submission=true"), ("gone", b""), ("gone", b"submission=true"),
    ]  # fmt: skip


def test_only_logs_that_can_tell_more_are_read_and_no_more_than_allowed() -> None:
    moved = {"delivery_status": ["moved"], "client_recipients": ONE}
    found = {
        one: MessageDetails.read({"id": one, **fields}, "it")
        for one, fields in {"a": moved, "b": {"delivery_status": ["delivered"]}, "c": moved, "d": moved}.items()
    }
    script = Scripted(ok(logged(("MOVE", "JunkEmail"))), refused(404, message="Message not found"))
    with connected(script) as api:
        logs = read_logs(api, found, JUNK, 2)
    assert list(logs) == ["a"]
    assert [request.url.path.split("/")[-2:] for request in script.requests] == [
        ["a", "action_log"],
        ["c", "action_log"],
    ]


def test_a_search_that_fails_is_an_error_and_no_absence() -> None:
    steps = [lambda _: httpx.Response(503)] * 6
    with connected(Scripted(*steps)) as api, pytest.raises(ServiceUnavailable):
        look_up(api, [named("2026-11-20T10:00:00"), named("2026-11-20T10:00:00", 2)])


MOVED = {"delivery_status": ["moved"], "client_recipients": ONE}
BOTH_MOVED = {"delivery_status": ["moved"], "client_recipients": TWO}


@pytest.mark.parametrize(("state", "fields", "log"), [
    # The message's own fields.
    ("not done", {"delivery_status": ["delivered"]}, None),
    ("not done", {"delivery_status": ["delivered"], "post_delivery_operations": ["PREVIEW", "SUBMISSION"]}, None),
    ("unknown", {}, None), ("unknown", MOVED, None),
    ("unknown", {"post_delivery_operations": ["MOVE"], "delivery_status": ["delivered"]}, None),
    # The embedded log is past its end of life: nothing rests on it.
    ("unknown", {**MOVED, "action_log": logged(("MOVE", "JunkEmail"))}, None),
    # One mailbox: the latest attempt that succeeded.
    ("done", MOVED, logged(("MOVE", "JunkEmail"))),
    ("done", MOVED, logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))),
    ("done", MOVED, logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))[::-1]),
    ("done", MOVED, logged(("MOVE", "JunkEmail"), ("PREVIEW", None), ("SUBMISSION", None))),
    ("done", MOVED, logged(("MOVE", "JunkEmail", {"success": None, "status": "OK"}))),
    ("done", MOVED, logged(("MOVE", "JunkEmail", {"completed_at": None, "started_at": "2026-11-20T16:00:00Z"}))),
    ("not done", MOVED, logged(("MOVE", "JunkEmail"), ("MOVE", "Inbox"))),
    ("not done", MOVED, logged(("QUARANTINE_RELEASE", "Inbox"))),
    # A first failure is not the last word, and one that failed last has moved nothing.
    ("done", MOVED, logged(("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail"))),
    ("done", MOVED, logged(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail", FAILED))),
    ("not done", MOVED, logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail", FAILED))),
    ("not done", {"client_recipients": ONE, "delivery_status": ["move_failed"]},
     logged(("MOVE", "JunkEmail", FAILED))),
    ("not done", {"client_recipients": ONE}, []),
    # What can't be told.
    ("unknown", MOVED, []), ("unknown", MOVED, logged(("MOVE", "JunkEmail", FAILED))),
    ("unknown", MOVED, logged(("MOVE", "Junk Email"))), ("unknown", MOVED, logged(("MOVE", None))),
    ("unknown", MOVED, logged(("MOVE", "JunkEmail", {"properties": None}))),
    ("unknown", MOVED, logged(("MOVE", "JunkEmail", {"completed_at": "yesterday"}))),
    ("unknown", MOVED, logged(("MOVE", "JunkEmail", {"completed_at": None, "started_at": None}))),
    ("unknown", MOVED, logged(("MOVE", "JunkEmail", {"success": None, "status": "Queued"}))),
    ("unknown", MOVED, logged(("MOVE", "JunkEmail"), ("MOVE", "Inbox", {"completed_at": "2026-11-20T16:00:00Z"}))),
    ("unknown", {**MOVED, "delivery_status": ["move_failed"]}, logged(("MOVE", "JunkEmail"))),
    # An operation of a later version, which may have moved it.
    ("unknown", MOVED, logged(("MOVE", "JunkEmail"), ("USER_MOVE", "Inbox"))),
    ("done", MOVED, logged(("MOVE", "JunkEmail"), ("NOTE", None), ("SUBMISSION", "JunkEmail"))),
    # Several mailboxes: an entry does not say whose copy it moved.
    ("done", BOTH_MOVED, logged(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("done", BOTH_MOVED, logged(("MOVE", "JunkEmail", FAILED), ("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("not done", BOTH_MOVED, logged(("MOVE", "Inbox"), ("MOVE", "DeletedItems"))),
    ("unknown", {**BOTH_MOVED, "delivery_status": ["delivered", "moved"]},
     logged(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail"))),
    ("unknown", BOTH_MOVED, logged(*[("MOVE", "Inbox")] * 2, *[("MOVE", "JunkEmail")] * 2)),
    ("unknown", {"delivery_status": ["moved"]}, logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail"))),
])  # fmt: skip
def test_what_a_message_and_its_log_show_of_a_move(state: str, fields: Any, log: list[Any] | None) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), read(log), JUNK) == state


HELD_NO_MORE = {"is_quarantined": False}


@pytest.mark.parametrize(("state", "fields", "log"), [
    ("done", {**HELD_NO_MORE, "post_delivery_operations": ["QUARANTINE_RELEASE"]}, None),
    ("done", HELD_NO_MORE, logged(("QUARANTINE_RELEASE", "Inbox"))),
    ("done", HELD_NO_MORE, logged(("QUARANTINE_RELEASE", "Inbox", FAILED), ("QUARANTINE_RELEASE", "Inbox"))),
    ("done", {"delivery_status": ["delivered"]}, logged(("RELEASE", "Inbox"))),
    ("not done", {"is_quarantined": True}, None),
    ("not done", {"delivery_status": ["quarantined"]}, logged(("QUARANTINE_RELEASE", None, FAILED))),
    ("unknown", {"is_quarantined": True}, logged(("QUARANTINE_RELEASE", "Inbox"))),
    ("unknown", HELD_NO_MORE, None),
    ("unknown", HELD_NO_MORE, logged(("QUARANTINE_RELEASE", "Inbox", FAILED))),
    ("unknown", HELD_NO_MORE, logged(("QUARANTINE_RELEASE", "Inbox", {"success": None, "status": "Queued"}))),
    ("unknown", {}, None),
])  # fmt: skip
def test_what_a_message_and_its_log_show_of_a_release(state: str, fields: Any, log: list[Any] | None) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), read(log), RELEASE) == state


def read(log: list[Any] | None) -> list[MessageAction] | None:
    return None if log is None else [MessageAction.read(entry, "it") for entry in log]


@pytest.mark.parametrize(("needed", "change", "fields"), [
    (True, JUNK, MOVED), (True, JUNK, {}), (False, JUNK, {"delivery_status": ["delivered"]}),
    (False, RELEASE, {"is_quarantined": True}), (True, RELEASE, HELD_NO_MORE),
    (False, RELEASE, {**HELD_NO_MORE, "post_delivery_operations": ["QUARANTINE_RELEASE"]}),
])  # fmt: skip
def test_a_log_is_read_only_where_the_message_leaves_the_answer_open(needed: bool, change: Change, fields: Any) -> None:
    assert needs_log(MessageDetails.read({"id": "x-1", **fields}, "it"), change) is needed


def test_a_message_that_was_not_found_shows_nothing() -> None:
    assert state_of(None, None, JUNK) == "unknown"
