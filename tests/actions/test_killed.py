"""A create killed with `kill -9` at every boundary and run again makes one job."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import pytest

from sandbox.server import RunningSandbox
from tests.actions.workers import BOUNDARIES, CREATE, MOVE, RELEASE, UNKEYED, Call, Start, active_jobs, effects
from tests.exhaustive import exhaustive_unless
from tests.middlebox import WAIT_SECONDS


@pytest.fixture
def sandbox(sandbox_with_idle_jobs: RunningSandbox) -> RunningSandbox:
    return sandbox_with_idle_jobs


def is_reused(result: dict[str, Any]) -> bool:
    reused = any("already exists" in warning for warning in result["warnings"])
    assert result["created"] is not reused
    return reused


TELLING_BOUNDARIES = {
    "the count request is answered",
    "the create is sent and arrives after the kill",
    "the create is applied but not answered",
    "the check for duplicates is sent",
}


@pytest.mark.parametrize("where", exhaustive_unless(TELLING_BOUNDARIES, BOUNDARIES))
def test_a_killed_create_that_is_run_again_makes_one_job(where: str, sandbox: RunningSandbox, start: Start) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, MOVE)
    assert len(active_jobs(sandbox)) == boundary.made
    again = start().send(MOVE).result()
    assert [again["job_id"]] == active_jobs(sandbox)
    assert effects(sandbox) == [CREATE]
    assert is_reused(again) is boundary.made


@pytest.mark.parametrize(
    "where",
    [
        "the first list request is answered",
        "the create is sent and arrives after the kill",
        "the create is applied but not answered",
        "the check for duplicates is answered",
    ],
)
def test_a_killed_release_that_is_run_again_makes_one_job(
    where: str, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, RELEASE, "release-job")
    assert len(active_jobs(sandbox)) == boundary.made
    again = call(RELEASE)
    assert [again["job_id"]] == active_jobs(sandbox)
    assert effects(sandbox) == [CREATE]
    assert is_reused(again) is boundary.made


def test_a_create_killed_before_it_has_its_parameters_makes_nothing(
    sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    worker = start()
    worker.stdin.write(b'{"search_params": ')
    worker.stdin.flush()
    assert worker.kill_and_read() == b""
    assert worker.box.seen == []
    assert call(MOVE)["created"]
    assert effects(sandbox) == [CREATE]


def test_the_job_of_a_create_killed_while_printing_is_reused(sandbox: RunningSandbox, start: Start, call: Call) -> None:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        filler = b"x" * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        assert os.write(writing, filler) == len(filler)
        worker = start(stdout=writing).send(MOVE)
        # The worker has closed its connection and now blocks on the full pipe.
        assert worker.box.hung_up.wait(WAIT_SECONDS)
        worker.kill_and_read()
        os.close(writing)
        writing = -1
        with os.fdopen(reading, "rb") as rest:
            reading = -1
            assert rest.read() == filler
    finally:
        for end in (reading, writing):
            if end != -1:
                os.close(end)
    [made] = active_jobs(sandbox)
    again = call(MOVE)
    assert (again["job_id"], again["created"], effects(sandbox)) == (made, False, [CREATE])


def test_the_job_of_a_create_killed_after_printing_is_reused(sandbox: RunningSandbox, start: Start, call: Call) -> None:
    worker = start().send(MOVE)
    result = json.loads(worker.stdout.readline())
    worker.command.abandon()
    again = call(MOVE)
    assert (result["created"], again["created"], again["job_id"]) == (True, False, result["job_id"])
    assert (active_jobs(sandbox), effects(sandbox)) == ([result["job_id"]], [CREATE])


@pytest.mark.parametrize(
    "where",
    ["the create is sent and lost", "the create is sent and arrives after the kill"],
)
def test_a_second_call_without_a_key_makes_a_new_job(
    where: str, sandbox: RunningSandbox, start: Start, call: Call
) -> None:
    boundary = BOUNDARIES[where]
    boundary.kill(start, UNKEYED)
    again = call(UNKEYED)
    assert again["created"]
    assert again["job_id"] in active_jobs(sandbox)
    assert effects(sandbox) == [CREATE] * (1 + boundary.made)
