"""A worker killed among others with the same key: one job is left, in whatever order requests arrive."""

from __future__ import annotations

import random

import pytest

from sandbox.server import RunningSandbox
from tests.actions.workers import BOUNDARIES, CANCEL, CREATE, MOVE, Boundary, Call, Start, active_jobs, effects
from tests.exhaustive import exhaustive_unless
from tests.middlebox import LIST_AFTER_CREATE, Halt


@pytest.fixture
def sandbox(sandbox_with_idle_jobs: RunningSandbox) -> RunningSandbox:
    return sandbox_with_idle_jobs


@pytest.mark.parametrize(
    ("where", "own"),
    [
        ("the create is sent and lost", False),
        ("the check for duplicates is sent", True),
    ],
    ids=["before the second create", "after the second create"],
)
def test_a_late_create_of_a_killed_worker_during_the_second_call_leaves_one_job(
    where: str, own: bool, sandbox: RunningSandbox, start: Start
) -> None:
    """own: the create of the second call arrives first, so its job is kept."""
    halt, held = Halt(CREATE, "request"), BOUNDARIES[where]
    killed = start(halt).send(MOVE)
    halt.wait()
    killed.kill_and_read()
    meanwhile = Halt(held.operation, held.point)
    again = start(meanwhile).send(MOVE)
    meanwhile.wait()
    halt.resume()
    meanwhile.resume()
    result = again.result()
    assert ([result["job_id"]], result["created"]) == (active_jobs(sandbox), own)
    assert effects(sandbox) == [CREATE, CREATE, CANCEL]


def test_a_late_create_of_a_killed_worker_is_cancelled_by_the_next_call(
    sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    halt = Halt(CREATE, "request")
    killed = start(halt).send(MOVE)
    halt.wait()
    killed.kill_and_read()
    first = call(MOVE)
    halt.resume()
    assert len(active_jobs(sandbox)) == 2
    again = call(MOVE)
    assert (again["job_id"], again["created"]) == (first["job_id"], False)
    assert active_jobs(sandbox) == [first["job_id"]]


def test_a_job_that_is_not_listed_yet_leaves_no_second_job(sandbox: RunningSandbox, start: Start) -> None:
    """The second call doesn't see the first job and makes its own; the check for duplicates lists both."""
    BOUNDARIES["the create is applied but not answered"].kill(start, MOVE)
    [made] = active_jobs(sandbox)
    sandbox.state.faults.add("listBulkJobs", "lag", seconds=3600)
    halt = Halt(CREATE, "request")
    second = start(halt).send(MOVE)
    halt.wait()
    sandbox.state.faults.clear()
    halt.resume()
    again = second.result()
    assert (again["job_id"], again["created"]) == (made, False)
    assert active_jobs(sandbox) == [made]
    assert effects(sandbox) == [CREATE, CREATE, CANCEL]


@pytest.mark.parametrize(
    "where",
    exhaustive_unless(
        {Boundary(CREATE, "answer"), Boundary(CANCEL, "request")},
        [
            Boundary(CREATE, "answer"),
            Boundary(LIST_AFTER_CREATE, "answer"),
            Boundary(CANCEL, "request"),
            Boundary(CANCEL, "answer"),
        ],
    ),
    ids=lambda where: f"{where.operation} {where.point}",
)
def test_a_worker_killed_before_it_cancels_its_duplicate_leaves_one_job_after_the_next_call(
    where: Boundary, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    sent, halt = Halt(CREATE, "request"), Halt(where.operation, where.point)
    later = start(sent, halt).send(MOVE)
    sent.wait()
    first = call(MOVE)
    sent.over.set()
    halt.wait()
    later.kill_and_read()
    halt.lose()
    assert first["created"]
    again = call(MOVE)
    assert (again["job_id"], again["created"]) == (first["job_id"], False)
    assert active_jobs(sandbox) == [first["job_id"]]


@pytest.mark.parametrize("seed", [1, 7])
def test_one_of_three_concurrent_workers_is_killed_and_one_job_remains(
    seed: int, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    rng = random.Random(seed)
    where = rng.choice(
        [boundary for boundary in BOUNDARIES.values() if boundary.operation in (CREATE, LIST_AFTER_CREATE)]
    )
    sent = [Halt(CREATE, "request") for _ in range(3)]
    at_once = (where.operation, where.point) == (CREATE, "request")
    halt = sent[0] if at_once else Halt(where.operation, where.point)
    victim, *others = [start(*halts).send(MOVE) for halts in ((sent[0], halt), (sent[1],), (sent[2],))]
    # Each worker has seen no job yet and is about to create one.
    for create in sent:
        create.wait()
    for create in rng.sample(sent, 3):
        if create is not halt:
            create.over.set()
    halt.wait()
    victim.kill_and_read()
    if where.late:
        halt.resume()
    else:
        halt.lose()
    first = [other.result() for other in others]
    again = call(MOVE)
    assert active_jobs(sandbox) == [again["job_id"]]
    assert {result["job_id"] for result in first} == {again["job_id"]}
    assert not again["created"]
