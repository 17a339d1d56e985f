"""Pauses between polls of a running job: their bounds, and how soon the ends of simulated jobs are seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import wait_for_job
from benchmarks import simulated_jobs, waiting
from connectors.objects.job import HAS_ENDED
from remediation.jobs.polling import next_poll_seconds
from remediation.jobs.progress import POLLS_REMEMBERED, Poll
from tests.clock import FakeClock
from tests.connectors.scripted import JOB_ID, Scripted, connected, job, ok

RUNNING = [status for status, ended in HAS_ENDED.items() if not ended]
FOUR_HOURS = simulated_jobs.LONGEST_SECONDS
SHORTEST = wait_for_job.Params.model_fields["min_interval_seconds"].default
LONGEST = wait_for_job.Params.model_fields["max_interval_seconds"].default


@st.composite
def any_polls(draw: st.DrawFn) -> list[Poll]:
    """Draw polls as a service may answer them. Counters may fall, not change or contradict each other."""
    count = st.integers(0, 10**12)
    pauses = draw(st.lists(st.floats(0, 4000), min_size=1, max_size=POLLS_REMEMBERED))
    at, polls = 1_795_000_000.0, []
    for pause in pauses:
        at += pause
        polls.append(Poll(at, draw(count), draw(count), draw(st.sampled_from([*RUNNING, "PAUSED"]))))
    return polls


def even_polls(seconds: float, per_second: float, discovered: int) -> list[Poll]:
    """Return six polls of a job that has been processing at an even rate for this many seconds."""
    times = [seconds * number / 5 for number in range(6)]
    return [Poll(at, int(at * per_second), discovered, "PROCESSING") for at in times]


def pause_after(polls: list[Poll], **given: Any) -> float:
    bounds = {"shortest": SHORTEST, "longest": LONGEST, **given}
    return next_poll_seconds(polls, polls[-1].at - polls[0].at, **bounds)


@given(any_polls(), st.floats(0, 10**6), st.floats(0.5, 3600), st.floats(0, 3600), st.integers(0, 10**6))
def test_a_pause_stays_between_the_shortest_and_the_longest(
    polls: list[Poll], before: float, shortest: float, more: float, poll_count: int
) -> None:
    watched = polls[-1].at - polls[0].at + before
    assert shortest <= next_poll_seconds(polls, watched, shortest, shortest + more, poll_count) <= shortest + more


@given(st.floats(10, 5000), st.floats(0.5, 100), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_pending_messages_give_a_longer_pause(seconds: float, per_second: float, left: int, more: int) -> None:
    done = int(seconds * per_second)
    sooner = pause_after(even_polls(seconds, per_second, done + left))
    assert sooner <= pause_after(even_polls(seconds, per_second, done + left + more)) + 1e-6


@given(st.floats(0, 20_000), st.floats(0, 20_000))
def test_pauses_grow_while_nothing_is_processed(watched: float, longer: float) -> None:
    polls = [Poll(0, 0, 0, "PENDING")]
    sooner = next_poll_seconds(polls, watched, SHORTEST, LONGEST)
    assert sooner <= next_poll_seconds(polls, watched + longer, SHORTEST, LONGEST)


@pytest.mark.parametrize("before_processing", [0, 5, 60, 3000])
@pytest.mark.parametrize("moves_after", [0, 30, 200, 1000, FOUR_HOURS])
def test_any_job_is_polled_at_most_110_times_in_four_hours(before_processing: float, moves_after: float) -> None:
    """One message is always pending. Another appears whenever it is processed."""
    polls: list[Poll] = []
    at, poll_count, processing, done, moved_at = 0.0, 0, 0, 0, 0.0
    while at < FOUR_HOURS:
        poll_count += 1
        processing += at >= before_processing
        if processing > 1 and at - moved_at >= moves_after:
            done, moved_at = done + 1, at
        polls.append(Poll(at, done, done + 1, "PROCESSING" if processing else "DISCOVERING"))
        polls = polls[-POLLS_REMEMBERED:]
        at += next_poll_seconds(polls, at, SHORTEST, LONGEST, processing)
    assert poll_count <= 110


def test_a_steady_job_is_polled_just_after_its_end() -> None:
    # 10 of 310 messages are pending, at one a second: one poll before the end, and one that sees the end.
    before = pause_after(even_polls(300, 1, 310))
    assert 5 <= before <= 10
    assert before + pause_after(even_polls(300 + before, 1, 310)) <= 10 + 5


@pytest.mark.parametrize(("watched", "lag"), [(10, 1), (500, 5), (1000, 10), (3000, 20)])
def test_the_accepted_lag_is_a_share_of_the_time_watched_up_to_20_seconds(watched: float, lag: float) -> None:
    # One message of many is pending and may be processed at any moment.
    polls = [Poll(0, 0, 10**6, "PROCESSING"), Poll(watched, 10**6 - 1, 10**6, "PROCESSING")]
    assert pause_after(polls) == pytest.approx(lag, rel=0.01)


def test_the_accepted_lag_after_a_stall_is_a_tenth_of_the_stall() -> None:
    polls = [Poll(0, 0, 400, "PROCESSING"), Poll(100, 399, 400, "PROCESSING"), Poll(3100, 399, 400, "PROCESSING")]
    assert pause_after(polls) == pytest.approx(300, rel=0.01)


def test_the_end_of_a_stall_is_seen_without_a_long_pause() -> None:
    polls = [Poll(0, 0, 400, "PROCESSING"), *(Poll(100 + 10 * n, 300, 400, "PROCESSING") for n in range(20))]
    # The pending messages took 33 s at the earlier rate. The accepted lag comes on top.
    assert pause_after(polls) <= 33 + 20


def test_a_rate_measured_briefly_is_not_used_for_hours() -> None:
    polls = [Poll(0, 0, 10**6, "PROCESSING"), Poll(10, 10, 10**6, "PROCESSING")]
    # At this rate the job takes more than another week.
    assert next_poll_seconds(polls, 10_000, SHORTEST, LONGEST) <= 20 + 20


def test_the_rate_of_a_burst_applies_to_the_last_messages_only() -> None:
    # Bursts of 100 messages in 20 s, every 200 s. At the rate of a burst, 1,000 messages take 200 s. They take 2,000 s.
    polls = [Poll(200 * n + at, 100 * n, 2000, "PROCESSING") for n in range(10) for at in (0, 180)]
    polls += [Poll(2000, 1000, 2000, "PROCESSING")]
    assert pause_after(polls) > 500
    # The last hundred may be one burst.
    assert pause_after([poll._replace(discovered=1100) for poll in polls]) <= 20 + 20


def stalled_api(clock: FakeClock | None = None) -> tuple[Scripted, Any]:
    answer = ok(job(status="PROCESSING", total_messages_discovered=9, messages_pending=9))
    script = Scripted(*[lambda request: ok([]) if "messages" in request.url.path else answer] * 60)
    return script, connected(script, clock or FakeClock())


@pytest.mark.parametrize("timeout", [0, 7, 100, 1000])
def test_a_pause_does_not_exceed_the_timeout(timeout: float) -> None:
    clock = FakeClock()
    params = {"job_id": JOB_ID, "timeout_seconds": timeout, "stalled_after_seconds": 86_400}
    result = wait_for_job.run(params, stalled_api(clock)[1])
    assert not result["done"]
    assert clock.monotonic() == pytest.approx(timeout)


def test_a_job_that_has_not_started_processing_is_not_checked_for_retries() -> None:
    script = Scripted(*[ok(job(status="DISCOVERING"))] * 30)
    result = wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 86_400}, connected(script))
    assert result["stalled"]
    assert not any("messages" in request for request in script.calls())


def test_the_first_and_the_last_poll_of_a_stall_are_kept() -> None:
    """The job's earlier rate stays known, however long the stall lasts."""
    result = wait_for_job.run({"job_id": JOB_ID, "timeout_seconds": 86_400}, stalled_api()[1])
    resume = result["resume"]
    assert [poll[0] - resume["began_at"] > 299 for poll in resume["latest_polls"]] == [False, True]
    assert resume["polls_while_processing"] == resume["polls"] > 2


def test_a_stall_is_reported_once_despite_a_resume() -> None:
    clock = FakeClock()
    _, api = stalled_api(clock)
    params = {"job_id": JOB_ID, "timeout_seconds": 3000}
    resume = wait_for_job.run(params, api)["resume"]
    reported_at = clock.monotonic()
    assert wait_for_job.run({**params, "resume": resume}, api)["stalled"]
    assert clock.monotonic() - reported_at == pytest.approx(3000)


def test_a_resume_object_of_an_earlier_version_is_accepted() -> None:
    resume = {"version": 1, "job_id": JOB_ID, "polls": 2, "began_at": 5.0, "moved_at": 5.0,
              "looks_at_processing": 1, "looks": [[5.0, 0, 0, "PENDING"]]}  # fmt: skip
    result = wait_for_job.run({"job_id": JOB_ID, "resume": resume}, connected(Scripted(ok(job(status="COMPLETED")))))
    assert (result["done"], result["polls"]) == (True, 3)
    running = connected(Scripted(ok(job(status="PROCESSING"))))
    again = wait_for_job.run({"job_id": JOB_ID, "resume": resume, "timeout_seconds": 0}, running)["resume"]
    assert (len(again["latest_polls"]), again["polls_while_processing"]) == (2, 2)


@pytest.fixture(scope="module")
def simulated_waits() -> dict[str, list[waiting.Wait]]:
    """Return a smaller sample of the waits of benchmarks/waiting.py."""
    return waiting.by_kind(waiting.waits(waiting.lives(simulated_jobs.KINDS.values(), 30, seed=7), seed=7))


@pytest.mark.parametrize(
    ("kind", "over", "most"),
    [("steady", 0.0, 40), ("discovering late", 0.0, 40), ("bursty", 0.1, 60), ("stalling", 0.25, 80)],
)
def test_a_four_hour_job_takes_few_calls(
    simulated_waits: dict[str, list[waiting.Wait]], kind: str, over: float, most: int
) -> None:
    """The goal is 40 calls. Jobs with gaps may take more: see docs/explanation/how-polling-works.md."""
    calls = waiting.calls_for_longest(simulated_waits[kind])
    assert sum(count > waiting.MOST_CALLS for count in calls) <= over * len(calls)
    assert max(calls) <= most


@pytest.mark.parametrize("kind", simulated_jobs.KINDS)
def test_the_median_end_is_seen_within_2_percent_of_the_duration(
    simulated_waits: dict[str, list[waiting.Wait]], kind: str
) -> None:
    assert waiting.lag_percent(simulated_waits[kind]) < waiting.MEDIAN_LAG_PERCENT


@pytest.mark.parametrize(
    ("kind", "most"), [("steady", 0.0), ("discovering late", 0.03), ("bursty", 0.1), ("stalling", 0.05)]
)
def test_few_ends_are_seen_over_30_seconds_late(
    simulated_waits: dict[str, list[waiting.Wait]], kind: str, most: float
) -> None:
    """The goal is none. docs/explanation/how-polling-works.md gives the measured share."""
    assert waiting.late(simulated_waits[kind]) <= most * len(simulated_waits[kind])


def test_the_end_of_a_short_job_is_seen_quickly(simulated_waits: dict[str, list[waiting.Wait]]) -> None:
    lags = sorted(wait.lag for wait in simulated_waits["steady"] if wait.band == "5 to 30 s")
    assert lags[len(lags) // 2] < 1.5
    assert lags[-1] < 5


def test_no_end_is_seen_later_than_the_longest_interval() -> None:
    lives = waiting.lives(simulated_jobs.UNPREDICTABLE.values(), 12, seed=7)
    # The duration of the call comes on top.
    within = LONGEST + waiting.SLOWEST_CALL_SECONDS
    assert max(wait.lag for wait in waiting.waits(lives, seed=7)) <= within
    assert max(wait.lag for wait in waiting.waits(lives[::3], seed=7, max_interval_seconds=30)) <= 30.25


@pytest.mark.parametrize("kind", [*simulated_jobs.KINDS.values(), *simulated_jobs.UNPREDICTABLE.values()])
def test_a_simulated_job_has_valid_statuses_and_counters(kind: Any) -> None:
    for life in waiting.lives([kind], 20, seed=7):
        before = (0, 0)
        for step in range(101):
            at = life.seconds * (step / 100)
            answer = life.answer(JOB_ID, at)
            now = life.counters(at)
            assert now[0] >= before[0]
            assert now[1] >= before[1]
            assert HAS_ENDED[answer["status"]] == (step == 100)
            assert answer["total_messages_discovered"] == sum(
                answer[f"messages_{name}"] for name in ("pending", "successful", "failed", "skipped", "cancelled")
            )
            before = now
