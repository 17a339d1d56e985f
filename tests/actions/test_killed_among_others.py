"""A worker that is killed among others with the same key: whatever arrives when, one job is left."""

from __future__ import annotations

import random

import pytest

from sandbox.server import RunningSandbox
from tests.actions.workers import BOUNDARIES, CANCEL, CREATE, MOVE, Boundary, Call, Start, alive, effects
from tests.middlebox import LIST_AFTER_CREATE, Halt


@pytest.fixture
def sandbox(sandbox_at_a_standstill: RunningSandbox) -> RunningSandbox:
    return sandbox_at_a_standstill


@pytest.mark.parametrize(
    ("where", "own"),
    [
        ("the create is sent, and gets lost", False),
        ("the look for twins is asked", True),
    ],
    ids=["before its own", "after its own"],
)
def test_a_dead_callers_create_that_arrives_while_the_same_call_runs_again_leaves_one_job(
    where: str, own: bool, sandbox: RunningSandbox, start: Start
) -> None:
    """own: the second call's create came first, so that its job is the one that stays."""
    halt, held = Halt(CREATE, "request"), BOUNDARIES[where]
    dead = start(halt).given(MOVE)
    halt.wait()
    dead.killed()
    meanwhile = Halt(held.operation, held.point)
    again = start(meanwhile).given(MOVE)
    meanwhile.wait()
    halt.resume()
    meanwhile.resume()
    result = again.result()
    assert ([result["job_id"]], result["created"]) == (alive(sandbox), own)
    assert effects(sandbox) == [CREATE, CREATE, CANCEL]


def test_a_dead_callers_create_that_arrives_after_all_is_done_is_cleared_up_by_the_next_call(
    sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    halt = Halt(CREATE, "request")
    dead = start(halt).given(MOVE)
    halt.wait()
    dead.killed()
    told = call(MOVE)
    halt.resume()
    assert len(alive(sandbox)) == 2
    again = call(MOVE)
    assert (again["job_id"], again["created"]) == (told["job_id"], False)
    assert alive(sandbox) == [told["job_id"]]


def test_a_job_that_the_listing_does_not_show_yet_leaves_no_second_one(sandbox: RunningSandbox, start: Start) -> None:
    """The second call can't see the first one's job, and makes its own; by the look for twins both show."""
    BOUNDARIES["the create has taken effect, unanswered"].kill(start, MOVE)
    [made] = alive(sandbox)
    sandbox.state.faults.add("listBulkJobs", "lag", seconds=3600)
    halt = Halt(CREATE, "request")
    second = start(halt).given(MOVE)
    halt.wait()
    sandbox.state.faults.clear()
    halt.resume()
    again = second.result()
    assert (again["job_id"], again["created"]) == (made, False)
    assert alive(sandbox) == [made]
    assert effects(sandbox) == [CREATE, CREATE, CANCEL]


@pytest.mark.parametrize(
    "where",
    [
        Boundary(CREATE, "answer"),
        Boundary(LIST_AFTER_CREATE, "answer"),
        Boundary(CANCEL, "request"),
        Boundary(CANCEL, "answer"),
    ],
    ids=lambda where: f"{where.operation} {where.point}",
)
def test_the_later_of_two_workers_killed_before_it_has_given_up_its_job_leaves_one_after_the_same_call(
    where: Boundary, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    sent, halt = Halt(CREATE, "request"), Halt(where.operation, where.point)
    later = start(sent, halt).given(MOVE)
    sent.wait()
    told = call(MOVE)
    sent.over.set()
    halt.wait()
    later.killed()
    halt.lose()
    assert told["created"]
    again = call(MOVE)
    assert (again["job_id"], again["created"]) == (told["job_id"], False)
    assert alive(sandbox) == [told["job_id"]]


@pytest.mark.parametrize("seed", [1, 7])
def test_of_three_workers_at_once_one_is_killed_anywhere_and_one_job_stays(
    seed: int, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    rng = random.Random(seed)
    where = rng.choice(
        [boundary for boundary in BOUNDARIES.values() if boundary.operation in (CREATE, LIST_AFTER_CREATE)]
    )
    sent = [Halt(CREATE, "request") for _ in range(3)]
    at_once = (where.operation, where.point) == (CREATE, "request")
    halt = sent[0] if at_once else Halt(where.operation, where.point)
    victim, *others = [start(*halts).given(MOVE) for halts in ((sent[0], halt), (sent[1],), (sent[2],))]
    # Each has seen that there is no job yet, and is about to make one.
    for create in sent:
        create.wait()
    for create in rng.sample(sent, 3):
        if create is not halt:
            create.over.set()
    halt.wait()
    victim.killed()
    if where.late:
        halt.resume()
    else:
        halt.lose()
    told = [other.result() for other in others]
    again = call(MOVE)
    assert alive(sandbox) == [again["job_id"]]
    assert {result["job_id"] for result in told} == {again["job_id"]}
    assert not again["created"]
