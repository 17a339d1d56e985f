"""Runs on a Temporal server: start, list, show, signal, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    RPCTimeoutOrCancelledError,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from core import instants
from core.errors import AuthenticationFailed, ConnectionSettingsError, PackError, ParameterError
from core.json_values import Json, shown
from core.quantity import counted
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.drivers.temporal import messages, run_view
from playbooks.drivers.temporal.messages import Pace, RemoteCaller, RunInput, details_of
from playbooks.drivers.temporal.settings import TemporalSettings
from playbooks.engine.engine import run_key
from playbooks.engine.signals import Signal
from playbooks.engine.state import ActionTraits, RunState, open_state
from playbooks.language.errors import RunEnded, RunNotFound, TemporalUnavailable
from playbooks.language.filters import file_name
from playbooks.language.format import Playbook
from playbooks.language.inputs import accept

# How long a worker may take to answer for a run.
ANSWER = timedelta(seconds=10)

# How many running runs a list asks for their step at the same time.
DESCRIPTIONS_AT_ONCE = 20

# The server's answers to a query for which there is no worker.
_NO_ANSWER = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.FAILED_PRECONDITION)

_ENDS = {
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.TIMED_OUT: "failed",
}


def run_id_of(playbook: Playbook, inputs: Mapping[str, Json], unique: str) -> str:
    """Return the ID of a run: one for each key, else one that ends in `unique`. Raises as engine.run_key."""
    key = run_key(playbook, inputs)
    return f"{playbook.id}-{unique if key is None else file_name(key)}"


class Runs:
    """The runs of one namespace and task queue. Every method raises TemporalUnavailable and AuthenticationFailed."""

    def __init__(self, client: Client, settings: TemporalSettings, pace: Pace | None = None) -> None:
        self._client = client
        self._settings = settings
        self._pace = pace or Pace()

    async def start(
        self,
        playbook: Playbook,
        inputs: Mapping[str, Json],
        *,
        run_id: str,
        traits: Mapping[str, ActionTraits],
        now: datetime,
        caller: RemoteCaller | None = None,
    ) -> bool:
        """Start a run. Return False if a run with this ID is running or has completed; nothing is started then.

        Raises: PlaybookInvalid, ParameterError (the inputs, or a message that is too large), ConnectionSettingsError if
        the playbook writes files and no setting says where.
        """
        if not self._settings.files and run_view.writes_files(playbook):
            raise ConnectionSettingsError(
                f"the playbook {playbook.id} writes files, and CFES_TEMPORAL_FILES is not set",
                help="Nothing was started. Set CFES_TEMPORAL_FILES to the URL of a folder in an object store, such as "
                "s3://evidence/runs, or to a folder that all workers share.",
            )
        accept(playbook, inputs)
        given = RunInput(
            playbook=playbook.document(),
            inputs=dict(inputs),
            traits={name: found.model_dump(mode="json") for name, found in traits.items()},
            files=self._settings.files,
            pace=self._pace,
            caller=caller,
        )
        _refuse_large("the playbook and its inputs have", asdict(given))
        facts = {
            "key": run_key(playbook, inputs),
            "playbook_id": playbook.id,
            "playbook_sha256": playbook.sha256,
            "started_at": instants.format_shortest(now),
        }
        async with self._reported(f"The run may have begun: check with `cfes playbook show {run_id}`."):
            try:
                await self._client.start_workflow(
                    messages.WORKFLOW,
                    given,
                    id=run_id,
                    task_queue=self._settings.task_queue,
                    # Not USE_EXISTING, which has the same effect and does not report that the run exists.
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                    memo={messages.MEMO_RUN: facts},
                    static_summary=playbook.title,
                )
            except WorkflowAlreadyStartedError:
                return False
        return True

    async def list(self, limit: int = 100) -> list[RunSummary]:
        """Return the newest runs."""
        query = (
            f"WorkflowType = '{messages.WORKFLOW}' AND TaskQueue = '{self._settings.task_queue}' "
            "AND ExecutionStatus != 'ContinuedAsNew'"
        )
        gate = asyncio.Semaphore(DESCRIPTIONS_AT_ONCE)
        async with self._reported():
            found = [execution async for execution in self._client.list_workflows(query, limit=limit)]
            return await asyncio.gather(*(self._summary(execution, gate) for execution in found))

    async def find(self, run_id: str) -> RunSummary:
        """Return a run. Of several with one ID, the last one. Raises: RunNotFound."""
        async with self._reported():
            return await self._summary(await self._describe(run_id), asyncio.Semaphore(1))

    async def opened(self, run_id: str) -> tuple[Playbook, RunState]:
        """Return a run's playbook and its state. A worker answers for a run that has not ended. Raises: RunNotFound."""
        async with self._reported():
            execution = await self._describe(run_id)
            handle = self._client.get_workflow_handle(run_id)
            if execution.status == WorkflowExecutionStatus.RUNNING:
                state = await self._state(handle)
            else:
                state = (await self._outcome(handle, await self._summary(execution)))["state"]
            async for event in handle.fetch_history_events(page_size=1):
                payloads = event.workflow_execution_started_event_attributes.input.payloads
                [given] = await self._client.data_converter.decode(payloads, [RunInput])
                playbook = run_view.playbook_of(given.playbook)
                return playbook, open_state(playbook, state)
        raise self._not_found(run_id)

    async def outcome(self, run_id: str) -> dict[str, Json]:
        """Wait until a run has ended, and return its outcome; see `run_view.outcome_of`. Raises: RunNotFound."""
        async with self._reported():
            execution = await self._describe(run_id)
            return await self._outcome(self._client.get_workflow_handle(run_id), await self._summary(execution))

    async def signal(self, run_id: str, name: str, value: Json) -> None:
        """Send a signal, and return once the run has taken it.

        Raises: RunNotFound, RunEnded, and ParameterError if the run does not wait for the signal or refuses the value.
        """
        _refuse_large("the value has", value)
        async with self._reported("The signal may have been sent: check with `cfes playbook show`."):
            handle = await self._running(run_id)
            try:
                await handle.execute_update(messages.SIGNAL, Signal(name, value), rpc_timeout=ANSWER)
            except WorkflowUpdateFailedError as error:
                raise _refused(error.cause) from None

    async def cancel(self, run_id: str, reason: str) -> None:
        """Ask a run to end after the action that it runs. Raises: RunNotFound, RunEnded."""
        async with self._reported("The run may have been cancelled: check with `cfes playbook show`."):
            handle = await self._running(run_id)
            await handle.cancel(reason=reason)

    async def _summary(self, execution: WorkflowExecution, gate: asyncio.Semaphore | None = None) -> RunSummary:
        """Return the summary of a run. gate: if given, ask the server for the step of a run that runs an action."""
        memo = await execution.memo()
        facts, progress = memo.get(messages.MEMO_RUN) or {}, memo.get(messages.MEMO_PROGRESS) or {}
        status, at_step = progress.get("status", "running"), progress.get("at_step")
        if execution.status != WorkflowExecutionStatus.RUNNING:
            ended = status if status in ENDED else "failed"
            status, at_step = _ENDS.get(execution.status or WorkflowExecutionStatus.FAILED, ended), None
        elif status == "running" and gate is not None:
            async with gate:
                at_step = await self._active_step(execution)
        started = instants.format_shortest(execution.start_time)
        return RunSummary(
            run_id=execution.id,
            key=facts.get("key"),
            playbook_id=str(facts.get("playbook_id")),
            playbook_sha256=str(facts.get("playbook_sha256")),
            directory="",
            status=status,
            at_step=at_step,
            wake_at=progress.get("wake_at"),
            waits_for=progress.get("waits_for"),
            started_at=facts.get("started_at") or started,
            updated_at=instants.format_shortest(execution.close_time) if execution.close_time else started,
            revision=execution.history_length,
        )

    async def _active_step(self, execution: WorkflowExecution) -> str | None:
        """Return the step whose action runs, or None between two actions."""
        found = await self._client.get_workflow_handle(execution.id, run_id=execution.run_id).describe()
        return next((pending.activity_id for pending in found.raw_description.pending_activities), None)

    async def _state(self, handle: WorkflowHandle[Any, Any]) -> dict[str, Json]:
        """Return the state of a run that has not ended, from a worker."""
        try:
            state: dict[str, Json] = await handle.query(messages.STATE, rpc_timeout=ANSWER)
        except WorkflowQueryFailedError:
            raise self._no_worker() from None
        except RPCError as error:
            if error.status in _NO_ANSWER:
                raise self._no_worker() from None
            raise
        return state

    async def _outcome(self, handle: WorkflowHandle[Any, Any], run: RunSummary) -> dict[str, Json]:
        try:
            outcome: dict[str, Json] = await handle.result()
        except WorkflowFailureError as failure:
            details = details_of(failure.cause)
            if details is not None and "state" in details:
                return dict(details)
            why = details["error"]["message"] if details is not None else failure.cause
            raise RunEnded(
                f"the run {shown(run.run_id)} has no outcome: {why}",
                help="Check its job, if it created one. Then start the run again.",
            ) from None
        return outcome

    async def _describe(self, run_id: str) -> WorkflowExecution:
        execution = await self._client.get_workflow_handle(run_id).describe()
        if execution.workflow_type != messages.WORKFLOW:
            raise self._not_found(run_id)
        return execution

    async def _running(self, run_id: str) -> WorkflowHandle[Any, Any]:
        execution = await self._describe(run_id)
        if execution.status != WorkflowExecutionStatus.RUNNING:
            raise RunEnded(f"the run {shown(run_id)} has ended")
        return self._client.get_workflow_handle(run_id)

    def _not_found(self, run_id: str) -> RunNotFound:
        return RunNotFound(
            f"the namespace {self._settings.namespace} has no run {shown(run_id)}",
            help="Nothing was changed. `cfes playbook runs --engine temporal` lists the runs. CFES_TEMPORAL_NAMESPACE "
            "sets the namespace.",
        )

    @asynccontextmanager
    async def _reported(self, doubt: str = "Nothing was changed.") -> AsyncIterator[None]:
        """Turn the server's errors into errors of the pack. doubt: what a call without an answer may have done."""
        try:
            yield
        except RPCTimeoutOrCancelledError:
            # Only an update waits for a worker.
            raise self._no_worker(doubt) from None
        except RPCError as error:
            raise self._server_error(error, doubt) from None

    def _no_worker(self, doubt: str = "Nothing was changed.") -> TemporalUnavailable:
        return TemporalUnavailable(
            f"no worker of the task queue {self._settings.task_queue} answers for the run",
            help=f"{doubt} Start a worker with `cfes worker`, with the same CFES_TEMPORAL_TASK_QUEUE, and with the "
            "CFES_TEMPORAL_BUILD_ID that began the run.",
        )

    def _server_error(self, error: RPCError, doubt: str) -> PackError:
        match error.status:
            case RPCStatusCode.NOT_FOUND if "amespace" in error.message:
                return ConnectionSettingsError(
                    f"the Temporal server has no namespace {self._settings.namespace}",
                    help="Nothing was changed. Create it, or set CFES_TEMPORAL_NAMESPACE.",
                )
            case RPCStatusCode.NOT_FOUND:
                return RunNotFound(
                    f"the namespace {self._settings.namespace} has no such run",
                    help="Nothing was changed. `cfes playbook runs --engine temporal` lists the runs.",
                )
            case RPCStatusCode.UNAUTHENTICATED | RPCStatusCode.PERMISSION_DENIED:
                return AuthenticationFailed(
                    f"the Temporal server does not accept the credentials for the namespace {self._settings.namespace}",
                    help="Nothing was changed. Set CFES_TEMPORAL_API_KEY_FILE, or CFES_TEMPORAL_TLS_CERT_FILE and "
                    "CFES_TEMPORAL_TLS_KEY_FILE.",
                )
            case RPCStatusCode.INVALID_ARGUMENT:
                return ParameterError(
                    f"the Temporal server refuses the request: {error.message}", help="Nothing was changed."
                )
        return TemporalUnavailable(
            f"the Temporal server can't answer: {error.message or error.status.name}", help=f"{doubt} Try again later."
        )


def _refuse_large(what: str, value: object) -> None:
    """Refuse a message that the server would not take. Raises: ParameterError."""
    size = messages.bytes_of(value)
    if size > messages.LARGEST_BYTES:
        raise ParameterError(
            f"{what} {counted(size, 'byte')}, and Temporal stores at most {messages.LARGEST_BYTES:,}",
            help="Nothing was sent.",
        )


def _refused(cause: BaseException) -> PackError:
    """Return the error for a signal that the run has refused."""
    details = details_of(cause)
    if details is None:
        return TemporalUnavailable(
            f"the run can't take the signal: {cause}", help="Nothing was changed. Try again later."
        )
    error = details["error"]
    return ParameterError(error["message"], help=error["help"], problems=error.get("problems") or ())
