"""The tick driver: one step of a run per call, for loops that keep the state between calls, such as Step Functions.

A call takes the state that the call before returned, carries out at most one action, and returns the next state with
what to do next. A call that is repeated with the same state repeats its action. Actions are safe to repeat: those that
create jobs reuse the earlier job by its idempotency key. The state is sealed (see `playbooks.drivers.tick_state`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core import instants
from core.clock import Clock, whole_seconds
from core.errors import PackError, ParameterError, Problem
from core.json_values import Json, canonical
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.tick_state import Run, RunFiles, moved_to_file, seal_moved, seal_run
from playbooks.engine.changes import resumable
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
)
from playbooks.engine.engine import advance, interrupted_at, next_commands, resumed
from playbooks.engine.signals import Signal, awaited_document, awaited_signals, find_awaited, signal_problems
from playbooks.engine.state import End, RunState
from playbooks.language.format import Playbook

# Step Functions passes at most 262,144 bytes from one state to the next. The rest is for the state machine's own data.
LARGEST_ANSWER_BYTES = 200_000

# What the pauses have for people moves to files beyond this size, shared by all pauses.
LARGEST_ABOUT_BYTES = 50_000

# The first ones are enough to correct a signal.
MOST_PROBLEMS = 10

RunCommandFunction = Callable[[RunAction], dict[str, Json]]


@dataclass(frozen=True)
class RefusedSignal:
    """A signal that was not delivered. problems: what is wrong with its value."""

    name: str
    message: str
    problems: list[Problem]


def advance_run(
    run: Run,
    *,
    run_action: RunCommandFunction,
    clock: Clock,
    signals: Sequence[Signal] = (),
    cancel: str | None = None,
    repeated: bool = False,
) -> tuple[Run, list[RefusedSignal]]:
    """Return the run after the pauses that are over, the signals, and at most one action.

    run_action: carries out a command. It returns the action's result or raises PackError, which the state then has. Any
    other exception is raised; the call can be repeated. cancel: the reason to end the run now. repeated: an earlier
    call with this state may have run the action and not returned. A change that it may have made is then part of the
    run's result. A run that failed in an action repeats that action; a run that ended otherwise stays as it is.
    """
    playbook, state = run.playbook, run.state
    if cancel is not None:
        if isinstance(state.pending, End):
            return run, []
        if repeated:
            action = next(_actions(next_commands(playbook, state)), None)
            state = interrupted_at(playbook, state, [] if action is None else [action[0]])
        return replace(run, state=advance(playbook, state, Cancelled(cancel), now=clock.now())), []
    if resumable(playbook, state):
        state = resumed(playbook, state, now=clock.now())
    state = _after_pauses(playbook, state, clock)
    state, refused = _after_signals(playbook, state, clock, signals)
    found = next(_actions(next_commands(playbook, state)), None)
    if found is None:
        return replace(run, state=state), refused
    place, command = found
    if repeated:
        state = resumed(playbook, state, now=clock.now(), interrupted=[place])
    try:
        event: Event = ActionSucceeded(run_action(command))
    except PackError as error:
        event = ActionFailed.of(error)
    return replace(run, state=advance(playbook, state, event, now=clock.now(), place=place)), refused


def answer(
    run: Run, refused: Sequence[RefusedSignal], *, key: SealKey, files: RunFiles, now: datetime
) -> dict[str, Json]:
    """Return what the caller does next, within LARGEST_ANSWER_BYTES. Raises: PackError of `files`.

        {"next": "again", "sleep", "signal" or "done",
         "seconds": the pause before the next call, a whole number of at least 1,
         "run": {"state"} for the next call; once done, null, or the state of a failed run that can be resumed,
         "waits_for": the signals that the run waits for,  "refused_signals": [{"name", "message", "problems"}],
         "result": how the run ended, null before}

    `signal` means that only a signal, or the end of a pause's time after `seconds`, continues the run. While another
    action of the run is waiting, it is `sleep`.
    """
    commands = next_commands(run.playbook, run.state)
    end = commands.get(())
    pauses = awaited_signals(commands)
    found: dict[str, Json] = {
        "next": "done",
        "seconds": 1,
        "run": None,
        "waits_for": [_pause(name, pause, run, files, len(pauses)) for name, pause in pauses.items()],
        "refused_signals": [vars(one) for one in refused],
        "result": None,
    }
    if isinstance(end, Finished):
        found["result"] = _fitting_result(_result(run, end), run.state.directory, files)
        if not resumable(run.playbook, run.state):
            return found
    elif any(_actions(commands)):
        found["next"] = "again"
    else:
        found["next"] = "signal" if len(pauses) == len(commands) else "sleep"
        found["seconds"] = min(_seconds_of(command, now) for command in commands.values())
    whole = {**found, "run": {"state": seal_run(run, key)}}
    if _size(whole) <= LARGEST_ANSWER_BYTES:
        return whole
    return {**found, "run": {"state": seal_moved(run, key, files)}}


def _actions(commands: Mapping[Place, Command]) -> Iterator[tuple[Place, RunAction]]:
    return ((place, command) for place, command in commands.items() if isinstance(command, RunAction))


def _after_pauses(playbook: Playbook, state: RunState, clock: Clock) -> RunState:
    """Return the state after each pause whose time is over."""
    while True:
        now = clock.now()
        commands = next_commands(playbook, state).items()
        over = next((p for p, c in commands if isinstance(c, Sleep | AwaitSignal) and _left(c, now) <= 0), None)
        if over is None:
            return state
        state = advance(playbook, state, Slept(), now=now, place=over)


def _after_signals(
    playbook: Playbook, state: RunState, clock: Clock, signals: Sequence[Signal]
) -> tuple[RunState, list[RefusedSignal]]:
    refused = []
    for signal in signals:
        try:
            place, pause = find_awaited(next_commands(playbook, state), signal.name)
        except ParameterError as error:
            refused.append(RefusedSignal(signal.name, error.message, []))
            continue
        problems = signal_problems(pause, signal.value)
        if problems:
            refused.append(RefusedSignal(signal.name, "the pause does not accept its value", problems[:MOST_PROBLEMS]))
            continue
        state = advance(playbook, state, Signalled(signal.value), now=clock.now(), place=place)
    return state, refused


def _left(command: Sleep | AwaitSignal, now: datetime) -> float:
    return (instants.parse_timestamp(command.until) - now).total_seconds()


def _seconds_of(command: Command, now: datetime) -> int:
    """Return the pause before the next call. A clock that was set back does not make it longer."""
    if not isinstance(command, Sleep | AwaitSignal):
        return 1
    return max(1, whole_seconds(min(_left(command, now), command.seconds)))


def _pause(name: str, pause: AwaitSignal, run: Run, files: RunFiles, pauses: int) -> dict[str, Json]:
    found = awaited_document(name, pause)
    if _size(found["about"]) > LARGEST_ABOUT_BYTES // pauses:
        found["about"] = {"moved": moved_to_file(canonical(found["about"]), run.state.directory, "about", files)}
    return found


def _result(run: Run, end: Finished) -> dict[str, Json]:
    return {
        "playbook": run.state.playbook.id,
        "run_id": run.state.run_id,
        "directory": run.state.directory,
        "status": end.status,
        "exit_code": end.exit_code,
        "outputs": end.outputs,
        "error": end.error,
        "message": end.message,
        "started_at": run.state.started_at,
        "resumable": resumable(run.playbook, run.state),
        "moved": None,
    }


def _fitting_result(result: dict[str, Json], directory: str, files: RunFiles) -> dict[str, Json]:
    """Return the result. If it is too large, its outputs and its error move to a file."""
    if _size(result) <= LARGEST_ANSWER_BYTES // 2:
        return result
    moved = moved_to_file(canonical(result), directory, "result", files)
    error = result["error"]
    if error is not None:
        kept = ("type", "retryable", "applied", "job_id")
        error = {name: error[name] for name in kept if name in error}
        error["message"] = f"the error is in {moved['place']}"
    return {**result, "outputs": {}, "error": error, "message": None, "moved": moved}


def _size(document: Json) -> int:
    """Return the size as JSON with escapes, which no writer exceeds."""
    return len(json.dumps(document))
