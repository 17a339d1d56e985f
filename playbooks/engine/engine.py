"""Compute what a run does next, without clock, randomness, input or output. Drivers carry out the commands.

    state = begin(playbook, inputs, run_id=…, now=…, directory=…)
    command = next_command(playbook, state)           # RunAction, Sleep or Finished
    state = advance(playbook, state, event, now=…)    # ActionSucceeded, ActionFailed or Slept

States are plain JSON documents (see `playbooks.engine.state`) and are never changed in place. The state has the next
command with its evaluated parameters, so that a crash does not change the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from core import instants
from core.errors import OutcomeUnknown, PackError
from core.json_values import Json, NotPlainJson, plain
from playbooks.engine.changes import error_document, resumable
from playbooks.engine.state import Doubt, End, PendingRun, PendingSleep, PlaybookVersion, RunState, Status, opened
from playbooks.engine.walk import Walk
from playbooks.language import inputs as run_inputs
from playbooks.language.errors import PlaybookInvalid, StateRefused
from playbooks.language.format import ActionStep, Playbook
from playbooks.language.program import compiled


@dataclass(frozen=True)
class RunAction:
    """Run the action with these parameters, then send ActionSucceeded or ActionFailed."""

    step_id: str
    action: str
    params: dict[str, Json]


@dataclass(frozen=True)
class Sleep:
    """Wait `seconds`, but at most until the instant `until`; then send Slept."""

    seconds: float
    step_id: str
    until: str
    why: Literal["repeat", "retry"]


@dataclass(frozen=True)
class Finished:
    """The run is over.

    `status` and `exit_code`: completed 0; refused 3 (a check refused); incomplete 8; failed: that of the error. If an
    earlier step has changed something, 2, 3 and 6 become 7, because they mean that nothing was changed.
    `outputs` has every output of the playbook; an output is null if the run ended before it was known. `error` is the
    inner error document (`type`, `message`, `help`, …), or null if completed: its `applied`, `job_id` and `help` are
    those of the whole run, and `changes` lists the changes of its steps. `message` is the reason for an early end.
    """

    status: Status
    exit_code: int
    outputs: dict[str, Json]
    error: dict[str, Json] | None
    message: str | None


@dataclass(frozen=True)
class ActionSucceeded:
    """The action of the last RunAction returned this result, a JSON object."""

    result: Mapping[str, Json]


@dataclass(frozen=True)
class ActionFailed:
    """The action of the last RunAction failed: the inner error document, and the exit code that belongs to it."""

    error: Mapping[str, Json]
    exit_code: int = 1

    @classmethod
    def of(cls, error: PackError) -> ActionFailed:
        """Return the event for an exception of the pack."""
        return cls(error_document(error), error.exit_code)


@dataclass(frozen=True)
class Slept:
    """The time of the last Sleep has passed."""


Command: TypeAlias = RunAction | Sleep | Finished
Event: TypeAlias = ActionSucceeded | ActionFailed | Slept


def begin(
    playbook: Playbook,
    inputs: Mapping[str, Json],
    *,
    run_id: str,
    now: datetime,
    directory: str,
    effects: Mapping[str, str] | None = None,
) -> dict[str, Json]:
    """Return the first state of a run. directory: the folder for its files; now: with a time zone.

    effects: read, write or irreversible, by action ID. With effects the run's closing error lists the changes of
    earlier steps. Raises: PlaybookInvalid if an expression does not compile, ParameterError if inputs are invalid.
    """
    program = compiled(playbook)
    if program.problems:
        raise PlaybookInvalid(problems=program.problems)
    used = {step.action for step in playbook.steps if isinstance(step, ActionStep)}
    state = RunState(
        playbook=PlaybookVersion(id=playbook.id, sha256=playbook.sha256),
        run_id=run_id,
        directory=directory,
        started_at=instants.format_shortest(now),
        inputs=run_inputs.accept(playbook, inputs),
        effects={name: effect for name, effect in (effects or {}).items() if name in used},
    )
    Walk(program, state, now).settle()
    return state.document()


def next_command(playbook: Playbook, state: Mapping[str, Json]) -> Command:
    """Return the next command. The same state always gives the same command. Raises: StateRefused."""
    pending = opened(playbook, state).pending
    match pending:
        case PendingRun():
            return RunAction(pending.step_id, pending.action, pending.params)
        case PendingSleep():
            return Sleep(pending.seconds, pending.step_id, pending.until, pending.why)
        case End():
            return Finished(pending.status, pending.exit_code, pending.outputs, pending.error, pending.message)
        case None:
            raise StateRefused("the state is damaged: it has no next command")


def advance(playbook: Playbook, state: Mapping[str, Json], event: Event, *, now: datetime) -> dict[str, Json]:
    """Return the state after an event. Raises: StateRefused, also for an event that the state does not expect."""
    run = opened(playbook, state)
    walk = Walk(compiled(playbook), run, now)
    match run.pending, event:
        case PendingRun(), ActionSucceeded():
            try:
                result: Any = plain(event.result)
            except NotPlainJson as error:
                walk.bad_result(f"is not plain JSON: {error}")
            else:
                walk.succeeded(result) if isinstance(result, dict) else walk.bad_result("is not a JSON object")
        case PendingRun(), ActionFailed():
            try:
                walk.failed(plain(event.error), event.exit_code)
            except NotPlainJson as error:
                walk.bad_result(f"is an error that is not plain JSON: {error}")
        case PendingSleep(), Slept():
            walk.slept()
        case _:
            kind = "" if run.pending is None else run.pending.kind
            expected = {"run": "the result of an action", "sleep": "the end of a pause"}.get(kind, "no event")
            raise StateRefused(f"expected {expected}, received {type(event).__name__}")
    return run.document()


def resumed(
    playbook: Playbook, state: Mapping[str, Json], *, now: datetime, interrupted: bool = False
) -> dict[str, Json]:
    """Return the state to resume from. A run that failed in an action repeats that action. Raises: StateRefused.

    interrupted: whether the process ended while the action ran. The action may then have changed something, whatever
    its repetition reports: a create finds its own job and reports that it created none.
    """
    run = opened(playbook, state)
    if interrupted and isinstance(run.pending, PendingRun) and run.effects.get(run.pending.action) != "read":
        record = run.steps[run.pending.step_id]
        if record.doubt is None:
            error = OutcomeUnknown("the process ended while the action ran")
            record.doubt = Doubt(error=error_document(error), exit_code=error.exit_code)
    if resumable(playbook, run):
        run.pending = None
        Walk(compiled(playbook), run, now).settle()
    return run.document()
