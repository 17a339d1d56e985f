"""The activity that runs an action: heartbeats while it runs, polls that are due soon, errors as documents."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from temporalio import activity

from core.clock import Clock, Deadline
from core.errors import InternalError, OutcomeUnknown, PackError
from core.json_values import Json
from playbooks.drivers.run_directory import make_files_directory
from playbooks.drivers.temporal.messages import (
    ACTION,
    LARGEST_BYTES,
    ActionAnswer,
    ActionCall,
    Pace,
    RemoteCaller,
    bytes_of,
    failure_of,
)

# Heartbeats within one heartbeat timeout.
HEARTBEATS = 3


class RunActionOf(Protocol):
    """Runs an action for a run with its files in `directory`. Returns the result or raises PackError."""

    def __call__(
        self, action_id: str, params: dict[str, Json], *, directory: str, caller: RemoteCaller | None
    ) -> dict[str, Json]: ...


class ActionActivity:
    """Runs actions in the threads of a worker."""

    def __init__(self, run_action: RunActionOf, clock: Clock) -> None:
        self._run_action = run_action
        self._clock = clock

    # A thread that is interrupted in the middle of a write would leave its outcome unknown.
    @activity.defn(name=ACTION, no_thread_cancel_exception=True)
    def run(self, call: ActionCall) -> ActionAnswer:
        """Run the action. Raises: ApplicationError with the error's document, which the server never retries."""
        interrupted = activity.info().attempt > 1
        try:
            with _heartbeats(call.pace):
                make_files_directory(call.directory)
                return ActionAnswer(self._result(call), interrupted)
        except PackError as error:
            raise failure_of(error, interrupted=interrupted) from None
        except Exception as error:  # noqa: BLE001 -- the server would retry an exception that it does not know
            raise failure_of(InternalError.of(error), interrupted=interrupted) from None

    def _result(self, call: ActionCall) -> dict[str, Json]:
        """Return the action's result, after the polls that are due within the pace."""
        deadline = Deadline(self._clock, call.pace.poll_for)
        result = self._run(call, call.params)
        while (pause := _short_pause(call, result)) is not None and pause < deadline.remaining():
            activity.wait_for_worker_shutdown_sync(pause)
            if activity.is_cancelled() or activity.is_worker_shutdown():
                break
            try:
                result = self._run(call, {**call.params, "resume": result["resume"]})
            except PackError as error:
                if error.applied != "no":
                    raise
                # The next activity polls again and decides. The result up to here is not lost.
                break
        if bytes_of(result) > LARGEST_BYTES:
            raise OutcomeUnknown(
                f"the result of {call.action} has more than {LARGEST_BYTES} bytes: Temporal does not store it",
                help="The action was carried out. Lower its max_result_bytes, or export to a file.",
            )
        return result

    def _run(self, call: ActionCall, params: dict[str, Json]) -> dict[str, Json]:
        return self._run_action(call.action, params, directory=call.directory, caller=call.caller)


def _short_pause(call: ActionCall, result: dict[str, Json]) -> float | None:
    """Return the seconds to the action's next poll if this activity continues it, else None."""
    if not call.resumable or result.get("done") is not False or not isinstance(result.get("resume"), dict):
        return None
    seconds = result.get("next_poll_seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    return float(seconds) if 0 <= seconds < call.pace.short_pause else None


@contextmanager
def _heartbeats(pace: Pace) -> Iterator[None]:
    """Send heartbeats from a second thread while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(pace.heartbeat / HEARTBEATS):
            activity.heartbeat()

    context: Any = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(beat,), name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
