"""A run as a workflow: the engine decides, activities run actions, timers are sleeps, and an update is a signal.

Everything here is deterministic: a worker repeats it from the run's history after another worker was lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, CancelledError
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from core import instants
    from core.errors import OutcomeUnknown, PackError
    from core.json_values import Json
    from playbooks.drivers.outcome import progress_of
    from playbooks.drivers.temporal import run_view
    from playbooks.drivers.temporal.messages import (
        ACTION,
        MEMO_PROGRESS,
        SIGNAL,
        STATE,
        WORKFLOW,
        ActionAnswer,
        ActionCall,
        RunInput,
        details_of,
        failure_of,
        failure_with,
    )
    from playbooks.engine.commands import (
        ActionFailed,
        ActionSucceeded,
        AwaitSignal,
        Cancelled,
        Command,
        Event,
        Finished,
        Place,
        RunAction,
        Signalled,
        Sleep,
        Slept,
        path_of,
    )
    from playbooks.engine.engine import advance, begin, next_commands, resumed
    from playbooks.engine.signals import Signal, find_awaited
    from playbooks.engine.state import ActionTraits, RunState, open_state

# The engine decides on every retry of an error. The server repeats only an action whose worker was lost.
LOST_WORKER = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=20
)

# An action that sends heartbeats may take this long.
LONGEST_ACTION = timedelta(days=1)


@dataclass(frozen=True)
class _Done:
    """A command that was carried out. event: None if the action never began. interrupted: see ActionAnswer."""

    event: Event | None
    interrupted: bool = False


def _known_traits(given: dict[str, Any]) -> ActionTraits:
    """Return the traits that this version knows. A newer client may have sent others."""
    return ActionTraits(**{name: value for name, value in given.items() if name in ActionTraits.model_fields})


@workflow.defn(name=WORKFLOW)
class PlaybookRun:
    """One run. A run that completes returns its outcome. Any other end is a failure with the outcome in its details."""

    @workflow.init
    def __init__(self, given: RunInput) -> None:
        self._given = given
        self._tasks: dict[Place, asyncio.Task[_Done]] = {}
        self._changed = False
        self._cancel_reason: str | None = None
        self._refusal: PackError | None = None
        try:
            self._playbook = run_view.playbook_of(given.playbook)
            self._state = self._first_state()
        except PackError as error:
            self._refusal = error

    def _first_state(self) -> RunState:
        given, info = self._given, workflow.info()
        if given.state is not None:
            return open_state(self._playbook, given.state)
        return begin(
            self._playbook,
            given.inputs,
            run_id=info.workflow_id,
            now=workflow.now(),
            directory=run_view.directory_of(given.files, info.workflow_id, info.first_execution_run_id),
            traits={name: _known_traits(traits) for name, traits in given.traits.items()},
        )

    @workflow.run
    async def run(self, given: RunInput) -> dict[str, Json]:  # noqa: ARG002 -- `__init__` has read it
        """Carry out the run's commands until it ends. Return its outcome; see `run_view.outcome_of`."""
        if self._refusal is not None:
            raise failure_of(self._refusal)
        while True:
            self._collect()
            commands = next_commands(self._playbook, self._state)
            self._note_progress()
            end = commands.get(())
            if isinstance(end, Finished):
                return self._close(end)
            if not any(isinstance(commands[place], RunAction) for place in self._tasks):
                if self._cancel_reason is not None:
                    self._apply((), Cancelled(self._cancel_reason))
                    continue
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(self._rest())
            self._carry_out_all(commands)
            try:
                await workflow.wait_condition(
                    lambda: self._changed or any(task.done() for task in self._tasks.values())
                )
            except asyncio.CancelledError:
                self._cancel_reason = workflow.cancellation_reason() or "the run was cancelled"
                await self._cancel_tasks()
            self._changed = False

    @workflow.update(name=SIGNAL)
    def signal(self, signal: Signal) -> None:
        """Take a signal that the run waits for."""
        place, _ = find_awaited(next_commands(self._playbook, self._state), signal.name)
        self._apply(place, Signalled(signal.value))
        timer = self._tasks.pop(place, None)
        if timer is not None:
            timer.cancel()
        self._changed = True

    @signal.validator
    def check_signal(self, signal: Signal) -> None:
        """Refuse a signal that the run does not wait for, or whose value it does not accept. Leaves no trace."""
        try:
            if self._refusal is not None:
                raise self._refusal
            run_view.refuse_signal(self._playbook, self._state, signal)
        except PackError as error:
            raise failure_of(error) from None

    @workflow.query(name=STATE)
    def state(self) -> dict[str, Json]:
        """Return the state of the run."""
        if self._refusal is not None:
            raise failure_of(self._refusal)
        return self._state.document()

    def _collect(self) -> None:
        """Send the events of the commands that were carried out to the engine."""
        for place in [place for place, task in self._tasks.items() if task.done()]:
            task = self._tasks.pop(place)
            done = _Done(None) if task.cancelled() else task.result()
            if done.interrupted:
                self._state = resumed(self._playbook, self._state, now=workflow.now(), interrupted=[place])
            if done.event is not None:
                self._apply(place, done.event)

    def _apply(self, place: Place, event: Event) -> None:
        self._state = advance(self._playbook, self._state, event, now=workflow.now(), place=place)

    def _carry_out_all(self, commands: dict[Place, Command]) -> None:
        """Begin each command that is not being carried out. Begin no action if the run is about to leave."""
        may_act = self._cancel_reason is None and not workflow.info().is_continue_as_new_suggested()
        for place, command in commands.items():
            if place in self._tasks:
                continue
            if isinstance(command, Sleep | AwaitSignal):
                self._tasks[place] = asyncio.create_task(self._wait(command))
            elif isinstance(command, RunAction) and may_act:
                self._tasks[place] = asyncio.create_task(self._act(place, command))

    async def _cancel_tasks(self) -> None:
        """End the timers, and the actions that have not begun. An action that has begun ends first."""
        # Results that came with the request are taken before: a cancelled task would lose them.
        await workflow.wait_condition(lambda: True)
        for task in self._tasks.values():
            if not task.done():
                task.cancel()

    async def _wait(self, command: Sleep | AwaitSignal) -> _Done:
        left = (instants.parse_timestamp(command.until) - workflow.now()).total_seconds()
        if left > 0:
            await asyncio.sleep(left)
        return _Done(Slept())

    async def _act(self, place: Place, command: RunAction) -> _Done:
        traits = self._state.traits.get(command.action) or ActionTraits()
        path = path_of(place, command.step_id)
        heartbeat = timedelta(seconds=self._given.pace.heartbeat)
        scheduled_at = workflow.now()
        try:
            answer = await workflow.execute_activity(
                ACTION,
                ActionCall(
                    command.action,
                    command.params,
                    command.directory,
                    traits.resumable,
                    self._given.pace,
                    self._given.caller,
                ),
                activity_id=path,
                summary=path,
                result_type=ActionAnswer,
                start_to_close_timeout=LONGEST_ACTION,
                heartbeat_timeout=heartbeat,
                retry_policy=LOST_WORKER,
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            if isinstance(error.cause, CancelledError):
                # No worker has it now. One may have been lost with it, which takes a heartbeat at least.
                return _Done(None, interrupted=workflow.now() - scheduled_at >= heartbeat)
            details = details_of(error.cause)
            if details is not None:
                return _Done(ActionFailed(details["error"], details["exit_code"]), details["interrupted"])
            lost = OutcomeUnknown(f"every worker that ran the action was lost: {error.cause}")
            return _Done(ActionFailed.of(lost))
        return _Done(ActionSucceeded(answer.result), answer.interrupted)

    def _note_progress(self) -> None:
        """Write where the run is to its memo, for lists of runs. Short pauses between polls are no news."""
        found = dict(vars(progress_of(self._playbook, self._state, polls_are_running=True)))
        if found["status"] == "running":
            found = {"status": "running"}
        if found != workflow.memo_value(MEMO_PROGRESS, {"status": "running"}):
            workflow.upsert_memo({MEMO_PROGRESS: found})

    def _rest(self) -> RunInput:
        """Return the input of the workflow run that continues this run with a new history."""
        return replace(self._given, inputs={}, traits={}, state=self._state.document())

    def _close(self, end: Finished) -> dict[str, Json]:
        outcome = run_view.outcome_of(self._state, end)
        if end.status != "completed":
            raise failure_with(outcome)
        return outcome
