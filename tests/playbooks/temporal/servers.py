"""A Temporal server for development, and workers in this process or in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client, RPCError, WorkflowHandle
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from core.clock import SystemClock
from core.errors import ConnectionSettingsError
from platforms.temporal_worker import WorkerActions
from playbooks.drivers.drive import RunActionFunction
from playbooks.drivers.temporal.client import Runs
from playbooks.drivers.temporal.connection import connect
from playbooks.drivers.temporal.converter import CONVERTER
from playbooks.drivers.temporal.messages import Pace
from playbooks.drivers.temporal.settings import TemporalSettings
from playbooks.drivers.temporal.worker import DEPLOYMENT, WorkerOptions, serve
from playbooks.drivers.temporal.workflow import PlaybookRun
from playbooks.language.errors import TemporalUnavailable

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).parent / "temporal"
START_SECONDS = 60.0

# A run continues in a new history after this many events. No other test has so many.
MOST_EVENTS = 90

# The modules that a workflow may import. The others are loaded anew for each run, and must be deterministic.
PASSED = ("playbooks", "core", "pydantic", "pydantic_core", "jinja2", "markupsafe")

# A lost worker is noticed within a second.
PACE = Pace(heartbeat=1.0)


def sandboxed() -> SandboxedWorkflowRunner:
    """Return the runner that refuses what is not deterministic: the clock, randomness, files, the network."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED))


class TemporalServer:
    """A server on a free port of this machine, with its data in one file. It can be killed and started again.

    in_memory: it has no file, and loses its data when it ends.
    """

    def __init__(self, folder: Path, log: Path, *, in_memory: bool = False) -> None:
        self._file = folder / "temporal.db"
        self._in_memory = in_memory
        self._log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> TemporalSettings:
        return TemporalSettings(address=f"127.0.0.1:{self.port}")

    def start(self) -> None:
        command = [str(PROGRAM), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--log-level", "error"]
        if not self._in_memory:
            command += ["--db-filename", str(self._file)]
        command += ["--dynamic-config-value", f"limit.historyCount.suggestContinueAsNew={MOST_EVENTS}"]
        with self._log.open("ab") as log:
            # The program looks for its settings and its updates in the home directory.
            environment = {"HOME": str(self._file.parent), "PATH": os.environ["PATH"]}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        asyncio.run(self._ready())

    async def _ready(self) -> None:
        ends = time.monotonic() + START_SECONDS
        while not await self._answers():
            assert self._process is not None and self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < ends, self._log.read_text()
            await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        try:
            await Runs(await connect(self.settings), self.settings).list(limit=1)
        except (TemporalUnavailable, ConnectionSettingsError):
            return False  # the default namespace is made after the start
        return True

    def kill(self) -> None:
        self._stop(signal.SIGKILL)

    def stop(self) -> None:
        self._stop(signal.SIGTERM)

    def _stop(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None


class Fleet:
    """Calls to a server from synchronous tests, and workers in this process. Each fleet has a task queue of its own."""

    def __init__(self, server: TemporalServer, task_queue: str, files: str = "") -> None:
        self.server = server
        self.settings = server.settings.model_copy(update={"task_queue": task_queue, "files": files})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client: Client = self.call(connect(self.settings))
        self.runs = Runs(self.client, self.settings, PACE)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, or raise its exception."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=120)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def worker(
        self,
        run_action: RunActionFunction | WorkerActions,
        *,
        is_sandboxed: bool = True,
        actions: int = 8,
        build_id: str | None = None,
    ) -> Iterator[Callable[[], None]]:
        """Run a worker in this process for the duration of the block, or until the yielded function is called."""
        stop = asyncio.Event()

        def run(action_id: str, params: dict[str, Any], **_: object) -> dict[str, Any]:
            return run_action(action_id, params)

        given_action = run_action if isinstance(run_action, WorkerActions) else run
        runner = sandboxed() if is_sandboxed else UnsandboxedWorkflowRunner()
        given = WorkerOptions(self.settings.task_queue, actions=actions, build_id=build_id, runner=runner)
        serving = serve(self.client, given_action, given, clock=SystemClock(), stop=stop)
        working = asyncio.run_coroutine_threadsafe(serving, self._loop)

        def end() -> None:
            self._loop.call_soon_threadsafe(stop.set)

        try:
            yield end
        finally:
            end()
            working.result(timeout=60)

    def handle(self, run_id: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(run_id)

    def events(self, run_id: str) -> list[str]:
        """Return the types of a run's events, in order."""
        history = self.call(self.handle(run_id).fetch_history())
        return [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in history.events]

    def replay(self, run_id: str) -> None:
        """Carry out a run's history again, in the sandbox. Raises if the workflow is not deterministic."""
        history = self.call(self.handle(run_id).fetch_history())
        replayer = Replayer(workflows=[PlaybookRun], workflow_runner=sandboxed(), data_converter=CONVERTER)
        self.call(replayer.replay_workflow(history))

    def take_new_runs(self, build_id: str) -> None:
        """Make a version of the workers the one that takes new runs, once the server knows it."""
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self.settings.namespace, deployment_name=DEPLOYMENT, build_id=build_id, identity="tests"
        )

        async def accepted() -> bool:
            try:
                await self.client.workflow_service.set_worker_deployment_current_version(request)
            except RPCError:
                return False
            return True

        wait_until(lambda: self.call(accepted()), every=0.3)

    def versions(self, run_id: str) -> set[str]:
        """Return the versions of the workers that have carried out a run."""
        history = self.call(self.handle(run_id).fetch_history())
        done = [event.workflow_task_completed_event_attributes for event in history.events]
        return {each.deployment_version.build_id for each in done if each.deployment_version.build_id}

    def workflow_run(self, run_id: str) -> str | None:
        """Return the server's ID of the history in which a run is now."""
        return self.call(self.handle(run_id).describe()).run_id

    def status(self, run_id: str) -> str | None:
        """Return the status of a run in the list of runs."""
        return next((run.status for run in self.call(self.runs.list()) if run.run_id == run_id), None)

    def reach(self, run_id: str, status: str) -> None:
        """Return once a run has this status."""
        wait_until(lambda: self.status(run_id) == status)


def wait_until(holds: Callable[[], object], seconds: float = 60.0, every: float = 0.05) -> None:
    """Return once the condition holds. every: seconds between two checks."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it does not happen"
        # A server and workers in processes of their own have no clock that a test can move.
        time.sleep(every)


class WorkerProcess:
    """`cfes worker` as a process of its own."""

    def __init__(self, fleet: Fleet, environment: Mapping[str, str], log: Path) -> None:
        variables = {
            "CFES_TEMPORAL_ADDRESS": fleet.settings.address,
            "CFES_TEMPORAL_TASK_QUEUE": fleet.settings.task_queue,
        }
        self._log = log.open("wb")
        self._path = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "platforms.cli", "worker"],
            cwd=ROOT,
            env={**os.environ, **variables, **environment},
            stdout=self._log,
            stderr=self._log,
        )

    def ready(self) -> None:
        wait_until(lambda: self.process.poll() is not None or "Working on" in self._path.read_text())
        assert self.process.poll() is None, self._path.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End the worker as an orchestrator does, and return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=60)
        self._log.close()
        return code
