"""A worker: carries out runs of one task queue until it is stopped."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig, WorkflowRunner

from core.clock import Clock
from playbooks.drivers.temporal.activity import ActionActivity, RunActionOf
from playbooks.drivers.temporal.workflow import PlaybookRun

DEPLOYMENT = "cfes"

# How long a run waits for the worker that has it in memory, before any other worker continues it.
FAILOVER = timedelta(seconds=5)

# An action that has begun ends before the worker does.
LONGEST_SHUTDOWN = timedelta(days=1)


@dataclass(frozen=True)
class WorkerOptions:
    """actions: how many run at the same time. cached_runs: how many runs stay in memory between their events.

    build_id: the worker's version. Runs that it began are continued only by workers of this version; None: by any
    worker without a version. runner: the sandbox of the client library costs memory for each run, so it is for tests.
    """

    task_queue: str
    actions: int = 8
    cached_runs: int = 1000
    build_id: str | None = None
    runner: WorkflowRunner = field(default_factory=UnsandboxedWorkflowRunner)


async def serve(
    client: Client, run_action: RunActionOf, options: WorkerOptions, *, clock: Clock, stop: asyncio.Event
) -> None:
    """Work until `stop` is set and the actions that have begun have ended.

    run_action: called in several threads at the same time; returns a result or raises PackError.
    """
    deployment = None
    if options.build_id is not None:
        version = WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=options.build_id)
        deployment = WorkerDeploymentConfig(
            version=version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
        )
    with ThreadPoolExecutor(options.actions, thread_name_prefix="action") as threads:
        worker = Worker(
            client,
            task_queue=options.task_queue,
            workflows=[PlaybookRun],
            activities=[ActionActivity(run_action, clock).run],
            activity_executor=threads,
            max_concurrent_activities=options.actions,
            max_cached_workflows=options.cached_runs,
            workflow_runner=options.runner,
            deployment_config=deployment,
            sticky_queue_schedule_to_start_timeout=FAILOVER,
            graceful_shutdown_timeout=LONGEST_SHUTDOWN,
        )
        async with worker:
            await stop.wait()
