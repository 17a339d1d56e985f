"""Each caller may use its share of the requests in a sliding window."""

from __future__ import annotations

import threading

import pytest

from platforms.callers.limits import CallerLimits
from platforms.callers.records import Caller
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def caller(name: str = "tines", share: float = 1.0) -> Caller:
    return Caller(name, frozenset({"read"}), share)


def allowed(limits: CallerLimits, one: Caller, tries: int) -> int:
    return sum(limits.take(one) is None for _ in range(tries))


@pytest.mark.parametrize(("share", "most"), [(1.0, 100), (0.5, 50), (0.29, 29), (0.999, 99), (0.0001, 1)])
def test_a_caller_gets_its_share_of_the_quota(share: float, most: int, clock: FakeClock) -> None:
    assert allowed(CallerLimits(100, 60, clock=clock), caller(share=share), 200) == most


def test_the_limit_says_when_the_next_request_is_allowed(clock: FakeClock) -> None:
    limits = CallerLimits(2, 60, clock=clock)
    assert limits.take(caller()) is None
    clock.advance(20)
    assert limits.take(caller()) is None
    wait = limits.take(caller())
    assert wait == 40
    clock.advance(39)
    assert limits.take(caller()) == 1
    clock.advance(1)
    assert limits.take(caller()) is None
    assert limits.take(caller()) == 20


def test_no_window_ever_holds_more_than_the_share(clock: FakeClock) -> None:
    limits, taken = CallerLimits(10, 60, clock=clock), list[float]()
    for _ in range(500):
        if limits.take(caller(share=0.5)) is None:
            taken.append(clock.monotonic())
        clock.advance(1.7)
    for moment in taken:
        assert sum(moment <= other < moment + 60 for other in taken) <= 5
    assert len(taken) > 60


def test_one_caller_takes_nothing_from_another(clock: FakeClock) -> None:
    limits = CallerLimits(10, 60, clock=clock)
    assert allowed(limits, caller("busy"), 100) == 10
    assert allowed(limits, caller("quiet"), 100) == 10


def test_a_refused_request_does_not_count(clock: FakeClock) -> None:
    limits = CallerLimits(1, 60, clock=clock)
    assert allowed(limits, caller(), 50) == 1
    clock.advance(60)
    assert limits.take(caller()) is None


def test_a_smaller_share_counts_for_requests_before_it(clock: FakeClock) -> None:
    limits = CallerLimits(10, 60, clock=clock)
    for _ in range(10):
        limits.take(caller())
        clock.advance(1)
    wait = limits.take(caller(share=0.2))
    assert wait is not None
    clock.advance(wait)
    assert limits.take(caller(share=0.2)) is None


def test_a_clock_that_is_set_back_changes_nothing(clock: FakeClock) -> None:
    limits = CallerLimits(1, 60, clock=clock)
    limits.take(caller())
    clock.set_forward(days=-1)
    assert limits.take(caller()) == 60


def test_callers_without_requests_use_no_memory(clock: FakeClock) -> None:
    limits = CallerLimits(10, 60, clock=clock)
    for number in range(50):
        limits.take(caller(f"c{number}"))
    clock.advance(60)
    limits.take(caller("other"))
    assert len(limits._requests) == 1


def test_threads_together_get_exactly_the_share() -> None:
    limits, counts = CallerLimits(1000, 300), list[int]()
    threads = [
        threading.Thread(target=lambda: counts.append(allowed(limits, caller(share=0.5), 400))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 500
