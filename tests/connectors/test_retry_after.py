"""Retry-After in both forms, and with invalid values."""

from __future__ import annotations

import pytest

from connectors.http.retry_after import retry_after_seconds
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import OutcomeUnknown, PackError, RateLimited, ServiceUnavailable
from tests.clock import FakeClock
from tests.connectors.scripted import JOB_ID, Scripted, connected, job, ok, refused

CLOCK = "2026-11-20T16:00:00+00:00"
REQUEST = BulkJobRequest(action="MOVE", destination="JunkEmail", search_params=SearchParams(sender="a@phish.example"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("287", 287),
        (" 7\t", 7),
        ("0", 1),
        ("0000000000000", 1),
        ("2.5", 2.5),
        ("999999999", 86_400),
        ("9" * 10_000, 86_400),
        # As long as a response head allows; parsed quickly.
        ("0" * 90_000 + "5", 5),
        ("0" * 90_000 + "x", None),
        ("(" * 90_000, None),
        ("Fri, 20 Nov 2026 16:00:30 GMT", 30),
        ("Friday, 20-Nov-26 16:00:30 GMT", 30),
        ("Fri Nov 20 16:00:30 2026", 30),
        ("Fri, 20 Nov 2026 17:00:30 +0100", 30),
        ("Fri, 20 Nov 2026 15:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1e9", None),
        ("nan", None),
        ("infinity", None),
        ("soon", None),
        ("5, 10", 10),
        ("10,5", 10),
        ("5,", 5),
        ("soon, 5", 5),
        ("-5, soon", None),
        ("7, Fri, 20 Nov 2026 16:00:30 GMT", 30),
        ("Friday, 20-Nov-26 16:00:30 GMT, 7", 30),
        ("Fri Nov 20 16:00:30 2026 , 7", 30),
        ("Fri, 20 Nov 2026 16:00:30 GMT, Fri, 20 Nov 2026 16:00:40 GMT", 40),
        # As long as a response head allows.
        ("soon," * 18_000, None),
        ("," + " " * 90_000, None),
        ("٣", None),
        ("³", None),
        ("5\u00a05", None),
        ("Fri, 32 Nov 2026 16:00:30 GMT", None),
        ("Fri, 20 Nov 2026 16:00:30 +9999", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
    ],
)
def test_a_value_is_read_or_ignored(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}, FakeClock(CLOCK).now()) == seconds


@pytest.mark.parametrize("minutes", [-90, 90])
def test_a_date_is_compared_with_the_services_own_clock(minutes: int) -> None:
    clock = FakeClock(CLOCK)
    clock.advance(60 * minutes)
    headers = {"retry-after": "Fri, 20 Nov 2026 16:00:30 GMT", "date": "Fri, 20 Nov 2026 16:00:10 GMT"}
    assert retry_after_seconds(headers, clock.now()) == 20
    headers["date"] = "garbage"
    assert retry_after_seconds(headers, FakeClock(CLOCK).now()) == 30


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["30", "Fri, 20 Nov 2026 16:00:30 GMT"])
def test_a_read_waits_as_long_as_retry_after_says(status: int, value: str) -> None:
    clock = FakeClock(CLOCK)
    script = Scripted(refused(status, headers={"retry-after": value}), ok(job()))
    connected(script, clock).get_job(JOB_ID)
    assert clock.slept == [30]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_zero_still_backs_off(status: int) -> None:
    clock = FakeClock(CLOCK)
    script = Scripted(*[refused(status, headers={"retry-after": "0"}) for _ in range(6)])
    with pytest.raises(PackError) as caught:
        connected(script, clock).get_job(JOB_ID)
    assert len(clock.slept) == 5
    assert min(clock.slept) >= 1
    assert sum(clock.slept) > 10
    assert caught.value.document()["error"]["retry_after_seconds"] == 1


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServiceUnavailable)])
@pytest.mark.parametrize("value", ["3600", "Fri, 20 Nov 2026 17:00:00 GMT"])
def test_a_wait_beyond_the_allowance_fails_at_once_and_reports_the_wait(
    status: int, kind: type[PackError], value: str
) -> None:
    clock = FakeClock(CLOCK)
    script = Scripted(refused(status, headers={"retry-after": value}))
    with pytest.raises(kind) as caught:
        connected(script, clock, call_allowance_seconds=120).get_job(JOB_ID)
    assert caught.value.retry_after_seconds == 3600
    assert clock.slept == []


def test_a_write_refused_with_503_is_not_repeated_despite_retry_after() -> None:
    clock = FakeClock(CLOCK)
    script = Scripted(refused(503, headers={"retry-after": "1"}))
    with pytest.raises(OutcomeUnknown):
        connected(script, clock).create_job(REQUEST)
    assert (len(script.requests), clock.slept) == (1, [])


def test_seconds_in_an_error_are_whole_and_rounded_up() -> None:
    for given, shown in ((2.9, 3), (0.2, 1), (30.0000001, 30), (287, 287)):
        found = RateLimited("no", retry_after_seconds=given).document()["error"]["retry_after_seconds"]
        assert (found, type(found)) == (shown, int)
