"""Processes that create jobs, for the tests that kill them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from actions import create_move_job, release_job
from connectors.email_security import EmailSecurity
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.actions.workers import LAG_SECONDS, Call, Start, Worker
from tests.middlebox import Halt, middlebox


@pytest.fixture
def sandbox_at_a_standstill(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """In real time, so that of two jobs one is the earlier; but no job begins, let alone ends, while a test looks."""
    return start_sandbox(manual_clock=False, pace=Pace(start_delay=3600))


@pytest.fixture
def start(sandbox: RunningSandbox, environment: dict[str, str]) -> Iterator[Start]:
    """Starts a process whose calls are held at the halts."""
    workers: list[Worker] = []
    with ExitStack() as boxes:

        def started(*halts: Halt, action: str = "create_move_job", stdout: int = subprocess.PIPE) -> Worker:
            worker = Worker(boxes.enter_context(middlebox(sandbox, *halts)), environment, action, stdout)
            workers.append(worker)
            return worker

        yield started
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
            for stream in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def call(environment: dict[str, str]) -> Call:
    """The action run in this process: for calls that nothing happens to."""

    def called(params: dict[str, Any]) -> dict[str, Any]:
        run = create_move_job.run if "destination" in params else release_job.run
        with EmailSecurity.from_environment({**environment, "CFES_LISTING_LAG_SECONDS": LAG_SECONDS}) as api:
            return run(params, api)

    return called
