"""`kill -9` at every boundary of a create, as a real process; then the same call again: one intent, one job."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.actions.workers import BOUNDARIES, CREATE, MOVE, RELEASE, UNKEYED, Call, Start, alive, effects
from tests.middlebox import WAIT_SECONDS


@pytest.fixture
def sandbox(sandbox_at_a_standstill: RunningSandbox) -> RunningSandbox:
    return sandbox_at_a_standstill


def adopted(result: dict[str, Any]) -> bool:
    told = any("already exists" in warning for warning in result["warnings"])
    assert result["created"] is not told
    return told


@pytest.mark.parametrize("where", BOUNDARIES)
def test_a_create_that_was_killed_and_is_run_again_makes_one_job(
    where: str, sandbox: RunningSandbox, start: Start
) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, MOVE)
    assert len(alive(sandbox)) == boundary.made
    again = start().given(MOVE).result()
    assert [again["job_id"]] == alive(sandbox)
    assert effects(sandbox) == [CREATE]
    assert adopted(again) is boundary.made


@pytest.mark.parametrize(
    "where",
    [
        "the first look is answered",
        "the create is sent, and arrives after its sender's death",
        "the create has taken effect, unanswered",
        "the look for twins is answered",
    ],
)
def test_a_release_that_was_killed_and_is_run_again_makes_one_job(
    where: str, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, RELEASE, "release-job")
    assert len(alive(sandbox)) == boundary.made
    again = call(RELEASE)
    assert [again["job_id"]] == alive(sandbox)
    assert effects(sandbox) == [CREATE]
    assert adopted(again) is boundary.made


def test_a_create_killed_before_it_has_its_parameters_made_nothing(
    sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    worker = start()
    worker.stdin.write(b'{"search_params": ')
    worker.stdin.flush()
    assert worker.killed() == b""
    assert worker.box.seen == []
    assert call(MOVE)["created"]
    assert effects(sandbox) == [CREATE]


def test_a_create_killed_while_it_waits_to_print_its_result_is_adopted(
    sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        filler = b"x" * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        assert os.write(writing, filler) == len(filler)
        worker = start(stdout=writing).given(MOVE)
        # It leaves the service with its work done; all that is left to it is the pipe, which is full.
        assert worker.box.hung_up.wait(WAIT_SECONDS)
        worker.killed()
        os.close(writing)
        writing = -1
        with os.fdopen(reading, "rb") as rest:
            reading = -1
            assert rest.read() == filler
    finally:
        for end in (reading, writing):
            if end != -1:
                os.close(end)
    [made] = alive(sandbox)
    again = call(MOVE)
    assert (again["job_id"], again["created"], effects(sandbox)) == (made, False, [CREATE])


def test_a_create_killed_right_behind_its_result_is_adopted(sandbox: RunningSandbox, start: Start, call: Call) -> None:
    worker = start().given(MOVE)
    told = json.loads(worker.stdout.readline())
    worker.command.abandon()
    again = call(MOVE)
    assert (told["created"], again["created"], again["job_id"]) == (True, False, told["job_id"])
    assert (alive(sandbox), effects(sandbox)) == ([told["job_id"]], [CREATE])


@pytest.mark.parametrize(
    "where",
    ["the create is sent, and gets lost", "the create is sent, and arrives after its sender's death"],
)
def test_without_a_key_a_second_call_is_a_new_intent(
    where: str, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, UNKEYED)
    again = call(UNKEYED)
    assert again["created"]
    assert again["job_id"] in alive(sandbox)
    assert effects(sandbox) == [CREATE] * (1 + boundary.made)
