"""The clock: real with an offset, or manual."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sandbox.agenda import Agenda
from sandbox.clock import SECOND, ManualClock, RealClock, iso, parse_instant


def test_a_real_clock_starts_at_the_given_instant_and_never_goes_back() -> None:
    start = parse_instant("2026-11-20T16:02:35Z")
    clock = RealClock(start)
    seen = [clock.now() for _ in range(100)]
    assert start <= seen[0] < start + 60 * SECOND
    assert seen == sorted(seen)


def test_a_manual_clock_moves_only_by_advance() -> None:
    clock = ManualClock(parse_instant("2026-11-20T16:02:35Z"))
    assert clock.now() == clock.now()
    clock.advance(1.5)
    assert iso(clock.now()) == "2026-11-20T16:02:36.500000Z"
    with pytest.raises(ValueError, match="can advance"):
        clock.advance(-1)


@pytest.mark.parametrize(
    "text",
    ["2026-11-20", "2026-11-20T15:32:35", "2026-13-20T15:32:35Z", "0001-01-01T00:00:00+23:59", "20261120T153235Z", ""],
)
def test_an_invalid_date_or_one_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|not a valid date"):
        parse_instant(text)


@examples(deadline=None, derandomize=True, database=None)
@given(st.integers(min_value=parse_instant("0002-01-01T00:00:00Z"), max_value=parse_instant("9999-01-01T00:00:00Z")))
def test_instants_of_the_sandbox_round_trip(instant: int) -> None:
    assert parse_instant(iso(instant)) == instant


def test_zones_are_converted() -> None:
    assert parse_instant("2026-11-20T17:32:35+02:00") == parse_instant("2026-11-20t15:32:35.000z")


def test_due_events_run_in_order_and_may_add_events() -> None:
    agenda, ran = Agenda(), list[tuple[str, int]]()

    def first(at: int) -> None:
        ran.append(("first", at))
        agenda.enter(15, lambda then: ran.append(("between", then)))

    agenda.enter(20, lambda at: ran.append(("second", at)))
    agenda.enter(10, first)
    agenda.enter(99, lambda at: ran.append(("later", at)))
    agenda.run_until(50)
    assert ran == [("first", 10), ("between", 15), ("second", 20)]
