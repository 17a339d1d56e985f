"""The queue of runs: what is due, and signals that come while a run is driven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platforms.runs.queue import RunQueue
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(tmp_path: Path, clock: FakeClock) -> Iterator[RunQueue]:
    queue = RunQueue(tmp_path, clock)
    yield queue
    queue.close()


def _due(queue: RunQueue) -> list[str]:
    return [run.run_id for run in queue.due(10)]


def test_the_run_that_was_due_first_comes_first(queue: RunQueue, clock: FakeClock) -> None:
    queue.add("a", None)
    queue.add("b", "ana")
    queue.set_due("a", 5)
    assert _due(queue) == ["b"]
    clock.sleep(5)
    assert _due(queue) == ["b", "a"]
    assert queue.depth() == 2
    found = queue.find("b")
    assert found is not None
    assert found.requested_by == "ana"


def test_a_run_that_begins_again_keeps_its_caller(queue: RunQueue) -> None:
    queue.add("a", "ana")
    queue.set_due("a", None)
    queue.add("a", "eve")
    assert [(run.run_id, run.requested_by) for run in queue.due(10)] == [("a", "ana")]


def test_a_signal_that_comes_while_a_run_is_driven_is_not_slept_over(queue: RunQueue, clock: FakeClock) -> None:
    queue.add("a", None)
    (driven,) = queue.due(10)
    clock.sleep(1)
    queue.set_due("a", 0)  # the signal
    queue.set_due_again(driven, 3600)  # the worker, which found nothing to do
    assert _due(queue) == ["a"]
    (driven,) = queue.due(10)
    queue.set_due_again(driven, 3600)
    assert _due(queue) == []


def test_a_cancellation_that_comes_as_a_run_ends_leaves_it_due(queue: RunQueue, clock: FakeClock) -> None:
    queue.add("a", None)
    (driven,) = queue.due(10)
    clock.sleep(1)
    queue.set_due("a", 0)
    queue.set_due_again(driven, None)
    assert _due(queue) == ["a"]


def test_the_service_that_drives_a_run_decides_when_it_is_due(queue: RunQueue, clock: FakeClock) -> None:
    queue.add("a", None)
    (driven,) = queue.due(10)
    (of_the_other_service,) = queue.due(10)
    queue.set_due_again(of_the_other_service, 60)
    queue.set_due_again(driven, 10)
    clock.sleep(10)
    assert _due(queue) == ["a"]


def test_the_queue_of_a_killed_service_has_its_runs(tmp_path: Path, clock: FakeClock, queue: RunQueue) -> None:
    queue.add("a", "ana")
    other = RunQueue(tmp_path, clock)
    assert [(run.run_id, run.requested_by) for run in other.due(10)] == [("a", "ana")]
    other.close()
