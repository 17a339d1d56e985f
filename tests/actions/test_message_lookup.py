"""Looking messages up by the time in their IDs, and what their state says: as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from actions import message_lookup
from actions.message_lookup import MOST_SEARCHES, look_up, scanned_at, state_of, windows
from connectors.errors import ServiceUnavailable
from connectors.message import MessageDetails
from connectors.wire import httpx
from guardrails.named_messages import Change
from tests.connectors.scripted import Scripted, connected, ok, refused

JUNK = Change("MOVE", "JunkEmail")
RELEASE = Change("RELEASE")


def named(at: str, number: int = 12345678) -> str:
    return f"4Njp3P0STMz2c02Q-{at}-{number}"


def logged(*entries: tuple[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "completed_at": f"2026-11-20T16:0{place}:00Z",
            "operation": operation,
            "properties": {"folder": folder},
        }
        for place, (operation, folder) in enumerate(entries)
    ]


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
    one = named("2026-11-20T10:00:00")
    found = [{"id": named("2026-11-20T10:00:01", 1)}, {"id": one}]
    script = Scripted(ok(found, result_info={"count": 2, "next": "more"}))
    with connected(script) as api:
        assert list(look_up(api, [one])) == [one]
    query = parse_qs(script.requests[0].url.query.decode())
    assert query["detections_only"] == ["false"]
    assert (query["start"], query["end"]) == (["2026-11-20T09:59:55Z"], ["2026-11-20T10:00:05Z"])


def test_a_look_reads_no_more_messages_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_lookup, "MOST_MESSAGES_READ", 3)
    strangers = [{"id": f"x-{number}"} for number in range(5)]
    script = Scripted(ok(strangers, result_info={"count": 5, "next": "more"}))
    with connected(script) as api:
        assert look_up(api, [named("2026-11-20T10:00:00"), named("2026-11-20T12:00:00")]) == {}


def test_a_time_that_the_api_does_not_search_hides_no_other_message() -> None:
    early, late = named("2026-11-20T10:00:00"), named("2031-01-01T00:00:00")
    script = Scripted(ok([{"id": early}], result_info={"count": 1}), refused(400, message="start lies in the future"))
    with connected(script) as api:
        assert list(look_up(api, [late, early])) == [early]


def test_a_search_that_fails_is_an_error_and_no_absence() -> None:
    steps = [lambda _: httpx.Response(503)] * 6
    with connected(Scripted(*steps)) as api, pytest.raises(ServiceUnavailable):
        look_up(api, [named("2026-11-20T10:00:00")])


@pytest.mark.parametrize(("state", "fields"), [
    ("done", {"action_log": logged(("MOVE", "JunkEmail")), "delivery_status": ["moved"]}),
    ("done", {"action_log": logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail")), "client_recipients": ["a@corp.example"]}),
    ("done", {"action_log": logged(("MOVE", "JunkEmail"), ("PREVIEW", None), ("RECLASSIFY", None))}),
    ("done", {"action_log": logged(("MOVE", "JunkEmail"), ("MOVE", "JunkEmail")), "client_recipients": TWO,
              "delivery_status": ["moved"]}),
    ("not done", {"action_log": logged(("MOVE", "JunkEmail"), ("MOVE", "Inbox"))}),
    ("not done", {"action_log": logged(("QUARANTINE_RELEASE", "Inbox"))}),
    ("not done", {"action_log": [], "delivery_status": ["delivered"], "post_delivery_operations": None}),
    ("not done", {"action_log": [], "post_delivery_operations": ["PREVIEW", "SUBMISSION"]}),
    ("not done", {"delivery_status": ["delivered"]}),
    # Nothing says where it went, whether for all recipients, or anything at all.
    ("unknown", {"delivery_status": ["moved"]}),
    ("unknown", {"post_delivery_operations": ["MOVE"], "delivery_status": ["delivered"]}),
    ("unknown", {"action_log": logged(("MOVE", "JunkEmail")), "client_recipients": TWO,
                 "delivery_status": ["delivered", "moved"]}),
    ("unknown", {"action_log": logged(("MOVE", "Inbox"), ("MOVE", "JunkEmail")), "client_recipients": TWO}),
    ("unknown", {"action_log": logged(("MOVE", "Junk Email"))}),
    ("unknown", {"action_log": logged(("MOVE", None))}),
    ("unknown", {"action_log": [{"operation": "MOVE", "completed_at": "yesterday", "properties": None}]}),
    ("unknown", {"action_log": [{"operation": "MOVE", "completed_at": "2026-11-20T16:00:00Z", "properties": [1]}]}),
    # An operation of the log that failed, or of which it can't be told.
    ("unknown", {"action_log": [{**logged(("MOVE", "JunkEmail"))[0], "status": "FAILED"}]}),
    ("unknown", {"action_log": [*logged(("MOVE", "JunkEmail")), {"operation": "MOVE", "status": {"x": 1}}]}),
    ("done", {"action_log": [{**logged(("MOVE", "JunkEmail"))[0], "status": None}]}),
    ("unknown", {}),
])  # fmt: skip
def test_what_a_message_shows_of_a_move(state: str, fields: dict[str, Any]) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), JUNK) == state


@pytest.mark.parametrize(("state", "fields"), [
    ("done", {"is_quarantined": False, "action_log": logged(("QUARANTINE_RELEASE", "Inbox"))}),
    ("done", {"is_quarantined": False, "post_delivery_operations": ["QUARANTINE_RELEASE"]}),
    ("done", {"delivery_status": ["delivered"], "action_log": logged(("RELEASE", "Inbox"))}),
    ("not done", {"is_quarantined": True}),
    ("not done", {"delivery_status": ["quarantined"], "action_log": [{"operation": {"x": 1}}]}),
    ("unknown", {"is_quarantined": True, "action_log": logged(("QUARANTINE_RELEASE", "Inbox"))}),
    ("unknown", {"is_quarantined": False}),
    ("unknown", {"is_quarantined": False, "action_log": [{**logged(("RELEASE", "Inbox"))[0], "status": "FAILED"}]}),
    ("unknown", {}),
])  # fmt: skip
def test_what_a_message_shows_of_a_release(state: str, fields: dict[str, Any]) -> None:
    assert state_of(MessageDetails.read({"id": "x-1", **fields}, "it"), RELEASE) == state


def test_a_message_that_was_not_found_shows_nothing() -> None:
    assert state_of(None, JUNK) == "unknown"
