"""Decides what a run does next. No clock, no randomness, no input or output: drivers do the doing.

    state = begin(playbook, inputs, run_id=…, now=…, directory=…)
    command = next_command(playbook, state)           # RunAction, Sleep or Finished
    state = advance(playbook, state, event, now=…)    # ActionSucceeded, ActionFailed or Slept

States are plain JSON documents (see `playbooks.engine.state`) and never changed in place. The next command stands in
the state, its parameters evaluated: after a crash exactly the same command is given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from core import instants
from core.errors import PackError
from core.json_values import Json, NotPlainJson, plain
from playbooks.engine.changes import Change, changes, error_document, resumable
from playbooks.engine.state import End, PendingRun, PendingSleep, PlaybookVersion, RunState, Status, opened
from playbooks.engine.walk import Walk
from playbooks.language import inputs as run_inputs
from playbooks.language.errors import PlaybookInvalid, StateRefused
from playbooks.language.format import ActionStep, Playbook, Step
from playbooks.language.program import compiled


@dataclass(frozen=True)
class RunAction:
    """Run the action with these parameters, then tell ActionSucceeded or ActionFailed."""

    step_id: str
    action: str
    params: dict[str, Json]


@dataclass(frozen=True)
class Sleep:
    """Let `seconds` pass, or wait until the instant `until` where they began to pass earlier; then tell Slept."""

    seconds: float
    step_id: str
    until: str
    why: Literal["repeat", "retry"]


@dataclass(frozen=True)
class Finished:
    """The run is over.

    `status` and `exit_code`: completed 0; refused 3 (a check said no); incomplete 8; failed: that of the error. Where
    steps before have changed something 2, 3 and 6 become 7: they would say that nothing was changed.
    `outputs` has every output of the playbook, null where the run ended before it could be known. `error` is the inner
    error document (`type`, `message`, `help`, …) unless completed: its `applied`, `job_id` and `help` are those of the
    whole run, and `changes` lists what steps have changed. `message` says to people why it ended early.
    """

    status: Status
    exit_code: int
    outputs: dict[str, Json]
    error: dict[str, Json] | None
    message: str | None


@dataclass(frozen=True)
class ActionSucceeded:
    """The action of the last RunAction gave this result, a JSON object."""

    result: Mapping[str, Json]


@dataclass(frozen=True)
class ActionFailed:
    """The action of the last RunAction failed: the inner error document, and the exit code that belongs to it."""

    error: Mapping[str, Json]
    exit_code: int = 1

    @classmethod
    def of(cls, error: PackError) -> ActionFailed:
        """The event for an exception of the pack."""
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
    """The first state of a run. `directory` is where its files go, as expressions see it; `now` has a zone.

    `effects` says of actions, by their ID, what they do: read, write or irreversible. With it the run's closing error
    tells of what earlier steps have changed.
    Raises PlaybookInvalid if an expression doesn't compile, ParameterError if inputs don't fit.
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
    """What is to be done now. Asked again of the same state it answers the same. Raises StateRefused."""
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
    """The state after what the last command led to. Raises StateRefused, also for an event that was not waited for."""
    run = opened(playbook, state)
    walk = Walk(compiled(playbook), run, now)
    match run.pending, event:
        case PendingRun(), ActionSucceeded():
            try:
                result: Any = plain(event.result)
            except NotPlainJson as error:
                walk.bad_result(f"is no plain JSON: {error}")
            else:
                walk.succeeded(result) if isinstance(result, dict) else walk.bad_result("is not a JSON object")
        case PendingRun(), ActionFailed():
            try:
                walk.failed(plain(event.error), event.exit_code)
            except NotPlainJson as error:
                walk.bad_result(f"is an error that is no plain JSON: {error}")
        case PendingSleep(), Slept():
            walk.slept()
        case _:
            waits_for = "nothing more" if run.pending is None else run.pending.kind
            raise StateRefused(f"the state waits for {waits_for}, and was told {type(event).__name__}")
    return run.document()


def changed(playbook: Playbook, state: Mapping[str, Json]) -> list[Change]:
    """What the run has changed so far, step by step. Raises StateRefused."""
    return changes(playbook, opened(playbook, state))


def left(playbook: Playbook, state: Mapping[str, Json]) -> list[Step]:
    """Return the steps that the run has yet to come to or to end; none once it has ended. Raises StateRefused."""
    run = opened(playbook, state)
    return [] if isinstance(run.pending, End) else list(playbook.steps[run.position :])


def can_resume(playbook: Playbook, state: Mapping[str, Json]) -> bool:
    """Whether `resumed` gives the run something to do: it has ended as failed, in an action. Raises StateRefused."""
    return resumable(playbook, opened(playbook, state))


def resumed(playbook: Playbook, state: Mapping[str, Json], *, now: datetime) -> dict[str, Json]:
    """The state to go on from: a run that failed in an action stands before that action again. Raises StateRefused."""
    run = opened(playbook, state)
    if resumable(playbook, run):
        Walk(compiled(playbook), run, now).again()
    return run.document()
