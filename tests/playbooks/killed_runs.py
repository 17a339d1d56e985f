"""Runs of playbooks in processes of their own, which stop at a chosen store write or HTTP call.

A run passes two points for each write of the run store and each HTTP call: just before it, and just after it. The
processes are forks of one that has loaded the pack.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from actions.contract import catalog
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from connectors.http.network import Network
from core.errors import PackError
from platforms.playbook_session import RunPlace, Start, prepare_run, resume_of
from playbooks import library
from playbooks.drivers.drive import Hooks
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.held_run import HeldRun
from tests.clock import FakeClock
from tests.plain_http import PLAIN
from tests.playbooks.run_stores import KEY

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__, "tests.playbooks.warm_pack"])

PLAYBOOKS = {playbook.id: playbook for playbook in library.available()}

# Everything of a run that another process can see: its records, and its calls.
_BOUNDARIES: list[tuple[type, str]] = [(RunStore, "create"), (HeldRun, "write"), (Network, "handle_request")]

WAIT_SECONDS = 60

HALTED = "halted"


@dataclass(frozen=True)
class Started:
    """A run to begin or to go on with. now: the sandbox's time. connection: its settings, as `Connection` takes them.

    folder: for the run store and the run's files.
    """

    playbook_id: str
    inputs: dict[str, Any]
    connection: dict[str, str]
    clock_url: str
    now: str
    folder: Path


class RunningProcess:
    """A process that runs a playbook. `kill_at`, `halt_at`: the number of the point at which it stops, from 0."""

    def __init__(self, started: Started, *, kill_at: int | None = None, halt_at: int | None = None) -> None:
        self._pipe, other = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_stopping_run, args=(started, kill_at, halt_at, other), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def has_halted(self) -> bool:
        """Wait until the process halts. Return False if it ended before its point."""
        assert self._pipe.poll(WAIT_SECONDS)
        return bool(self._pipe.recv() == HALTED)

    def go_on(self) -> None:
        """Let a halted process go on."""
        self._pipe.send("go on")

    def ended(self) -> dict[str, Any] | None:
        """Wait for the end. Return `outcome` or `error`, and the number of `points`; None if it was killed."""
        assert self._pipe.poll(WAIT_SECONDS)
        try:
            document: dict[str, Any] | None = self._pipe.recv()
        except EOFError:
            document = None
        self._process.join(WAIT_SECONDS)
        assert self._process.exitcode == (-signal.SIGKILL if document is None else 0)
        self._pipe.close()
        return document


class _Points:
    """Counts the points of a run, and stops at one of them."""

    def __init__(self, kill_at: int | None, halt_at: int | None, pipe: Pipe) -> None:
        self.passed = 0
        self._kill_at = kill_at
        self._halt_at = halt_at
        self._pipe = pipe

    def pass_one(self) -> None:
        if self.passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.passed == self._halt_at:
            self._pipe.send(HALTED)
            self._pipe.recv()
        self.passed += 1

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def passing(*arguments: Any, **named: Any) -> Any:
            self.pass_one()
            result = function(*arguments, **named)
            self.pass_one()
            return result

        return passing


def run(started: Started) -> dict[str, Any]:
    """Begin the run, or go on with it, in this process. Return its outcome. Raises: PackError."""
    with (
        _clock(started) as clock,
        EmailSecurity(Connection.checked(started.connection), clock=clock, rng=random.Random(7)) as api,
        RunStore(started.folder / "store" / "runs.db", KEY, clock, lock_seconds=5) as store,
    ):
        start = _start(started, store)
        return start(Hooks(lambda action, params: catalog.find(action).run(params, api), clock)).document()


def _stopping_run(started: Started, kill_at: int | None, halt_at: int | None, pipe: Pipe) -> None:
    """Begin the run, or go on with it, up to the point. Send how it ended."""
    points = _Points(kill_at, halt_at, pipe)
    for owner, name in _BOUNDARIES:
        setattr(owner, name, points.around(getattr(owner, name)))
    document: dict[str, Any]
    try:
        document = {"outcome": run(started)}
    except PackError as error:
        document = error.document()
    pipe.send({**document, "points": points.passed})


@contextmanager
def _clock(started: Started) -> Iterator[FakeClock]:
    """Yield a clock that moves the sandbox's clock."""
    with httpx.Client(trust_env=False, verify=PLAIN) as client:
        yield FakeClock(started.now, lambda seconds: client.post(started.clock_url, json={"advance_seconds": seconds}))


def _start(started: Started, store: RunStore) -> Start:
    """Return how the run begins, or goes on: by its key, else by its ID."""
    playbook = PLAYBOOKS[started.playbook_id]
    begun = store.runs()
    if playbook.key is None and begun:
        return resume_of(store, begun[0].run_id)
    return prepare_run(store, playbook, started.inputs, RunPlace(started.folder / "run")).start
