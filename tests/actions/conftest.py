"""Fixtures for the tests that kill processes which create jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from actions import create_move_job, release_job
from connectors.email_security import EmailSecurity
from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.actions.workers import LAG_SECONDS, Call, Start, Worker
from tests.command_server import command_server
from tests.middlebox import Halt, middlebox


@pytest.fixture
def sandbox_with_idle_jobs(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox in real time, so that one of two jobs is the earlier; no job starts during a test."""
    return start_sandbox(manual_clock=False, pace=Pace(start_delay=3600))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the process that forks the workers."""
    with command_server(tmp_path_factory.mktemp("commands")) as address:
        yield address


@pytest.fixture
def start(server: str, sandbox: RunningSandbox, environment: dict[str, str]) -> Iterator[Start]:
    """A function that starts a process; its calls are held at the given halts."""
    with ExitStack() as stack:

        def start_worker(*halts: Halt, action: str = "create-move-job", stdout: int | None = None) -> Worker:
            box = stack.enter_context(middlebox(sandbox, *halts))
            return stack.enter_context(closing(Worker(server, box, environment, action, stdout)))

        yield start_worker


@pytest.fixture
def call(environment: dict[str, str]) -> Call:
    """A function that runs an action in this process, without interruption."""

    def run_action(params: dict[str, Any]) -> dict[str, Any]:
        run = create_move_job.run if "destination" in params else release_job.run
        with EmailSecurity.from_environment({**environment, "CFES_LISTING_LAG_SECONDS": LAG_SECONDS}) as api:
            return run(params, api)

    return run_action
