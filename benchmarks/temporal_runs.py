"""Compares a run on Temporal with a workflow that calls bare activities of the same size.

`python -m benchmarks.temporal_runs [--runs N]`. A development server and both workers are on this machine. Each pair
runs a playbook of STEPS actions, and a workflow with as many activities that pass the same parameters and results. The
figure is the median of the ratios of adjacent pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.summary import Line, at_most, say, table
from core.clock import SystemClock
from core.json_values import Json
from playbooks.drivers.temporal.client import Runs
from playbooks.drivers.temporal.connection import connect
from playbooks.drivers.temporal.worker import WorkerOptions, serve
from playbooks.engine.state import ActionTraits
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document
from tests.playbooks.temporal.servers import TemporalServer

STEPS, RUNS = 10, 30
MOST_TIMES_BARE = 1.15
QUEUE, BARE_QUEUE = "runs", "bare"

# About the size of a job with its counters.
RESULT: dict[str, Json] = {"job": {f"field_{number}": "x" * 60 for number in range(25)}}
PARAMS: dict[str, Json] = {"job_id": "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d", "note": "x" * 200}


class Measured(NamedTuple):
    """Medians: seconds of a run, its events and bytes; of the playbook and of the bare workflow. ratio: of pairs."""

    seconds: float
    bare_seconds: float
    ratio: float
    events: int
    bare_events: int
    bytes: int
    bare_bytes: int


@activity.defn(name="bare")
def bare(params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 -- as large as the parameters of an action
    return RESULT


@workflow.defn(name="bare")
class BareActivities:
    """Calls the activity STEPS times."""

    @workflow.run
    async def run(self) -> None:
        for _ in range(STEPS):
            await workflow.execute_activity(bare, PARAMS, start_to_close_timeout=timedelta(minutes=1))


def playbook() -> Playbook:
    """Return a playbook of STEPS actions."""
    steps = [{"id": f"step-{number}", "action": "read", "with": PARAMS, "keep": []} for number in range(STEPS)]
    return from_document({"playbook": 1, "id": "bench", "title": "Bench", "steps": steps})


def measure(runs: int) -> Measured:
    """Run `runs` pairs on a server of their own."""
    with tempfile.TemporaryDirectory() as folder:
        server = TemporalServer(Path(folder), Path(folder, "server.log"))
        server.start()
        try:
            return asyncio.run(_measure(server, runs))
        finally:
            server.stop()


async def _measure(server: TemporalServer, number: int) -> Measured:
    settings = server.settings.model_copy(update={"task_queue": QUEUE})
    client = await connect(settings)
    runs, stop = Runs(client, settings), asyncio.Event()
    working = asyncio.create_task(
        serve(client, lambda *_, **__: RESULT, WorkerOptions(QUEUE), clock=SystemClock(), stop=stop)
    )
    with ThreadPoolExecutor(8) as threads:
        async with Worker(
            client,
            task_queue=BARE_QUEUE,
            workflows=[BareActivities],
            activities=[bare],
            activity_executor=threads,
            max_concurrent_activities=8,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            # The first pair opens connections and fills caches.
            pairs = [await _pair(client, runs, index) for index in range(number + 1)][1:]
    stop.set()
    await working
    ours, others = zip(*pairs, strict=True)
    return Measured(
        statistics.median(seconds for seconds, _, _ in ours),
        statistics.median(seconds for seconds, _, _ in others),
        statistics.median(one[0] / other[0] for one, other in pairs),
        *(round(statistics.median(one[part] for one in side)) for part in (1, 2) for side in (ours, others)),
    )


_Figures = tuple[float, int, int]


async def _pair(client: Client, runs: Runs, index: int) -> tuple[_Figures, _Figures]:
    began = time.perf_counter()
    run_id = f"run-{index}"
    traits = {"read": ActionTraits(effect="read")}
    await runs.start(playbook(), {}, run_id=run_id, traits=traits, now=datetime.now(UTC))
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(run_id)
    await handle.result()
    ours = time.perf_counter() - began
    began = time.perf_counter()
    other = await client.start_workflow(BareActivities.run, id=f"bare-{index}", task_queue=BARE_QUEUE)
    await other.result()
    bare_seconds = time.perf_counter() - began
    return (ours, *await _size(handle)), (bare_seconds, *await _size(other))


async def _size(handle: WorkflowHandle[Any, Any]) -> tuple[int, int]:
    """Return the number of events of a workflow, and their bytes."""
    events = [event async for event in handle.fetch_history_events()]
    return len(events), sum(event.ByteSize() for event in events)


def report(found: Measured) -> str:
    """Return the table of the figures."""
    head = f"{STEPS} actions | seconds | events | bytes | playbook / bare, pairs"
    return table(
        head,
        [
            f"| a playbook | {found.seconds:.3f} | {found.events} | {found.bytes:,} | {found.ratio:.2f} |",
            f"| bare activities | {found.bare_seconds:.3f} | {found.bare_events} | {found.bare_bytes:,} | |",
        ],
    )


def line(found: Measured) -> Line:
    """Return the line of the final table."""
    measured = f"{found.ratio:.2f} of bare activities; {found.events} events, {found.bytes:,} bytes"
    return Line("Temporal run", measured, [at_most(MOST_TIMES_BARE, "times as long", found.ratio)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    say(report(measure(parser.parse_args().runs)))
