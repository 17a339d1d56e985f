"""Compute what a run does next, without clock, randomness, input or output. Drivers carry out the commands.

    state = begin(playbook, inputs, run_id=…, now=…, directory=…)
    for place, command in next_commands(playbook, state).items(): …   # RunAction, Sleep, AwaitSignal or Finished
    state = advance(playbook, state, event, now=…, place=place)

A state is never changed in place. `state.document()` is plain JSON, and `open_state` reads it (see
`playbooks.engine.state`). The state has the next commands with their evaluated parameters, so that a crash does not
change a command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from core import instants
from core.errors import OutcomeUnknown, ParameterError, Problem
from core.json_values import Json, NotPlainJson, below, plain
from playbooks.engine.bundle import Bundle
from playbooks.engine.changes import changes, child_name, error_document, failed_action, resumable
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
from playbooks.engine.state import (
    ActionTraits,
    Doubt,
    End,
    PendingChildren,
    PendingRun,
    PendingSignal,
    PendingSleep,
    PlaybookVersion,
    RunState,
)
from playbooks.engine.walk import Walk
from playbooks.language import inputs as run_inputs
from playbooks.language.errors import ExpressionFailed, PlaybookInvalid, RunCancelled, StateRefused
from playbooks.language.format import ActionStep, PauseStep, Playbook, PlaybookStep
from playbooks.language.program import compiled, problems_of
from playbooks.language.shape import mismatches

MAX_KEY = 512


def begin(
    playbook: Playbook,
    inputs: Mapping[str, Json],
    *,
    run_id: str,
    now: datetime,
    directory: str,
    traits: Mapping[str, ActionTraits] | None = None,
    account: str | None = None,
) -> RunState:
    """Return the first state of a run. directory: the folder for its files; now: with a time zone.

    traits: what the engine knows of each action, by ID. With traits the engine continues and repeats actions by itself,
    and the run's closing error lists the changes of earlier steps. account: the account that the run belongs to.
    Raises: PlaybookInvalid if an expression does not compile, ParameterError if inputs or the key are invalid.
    """
    key = run_key(playbook, inputs)
    accepted = run_inputs.accept(playbook, inputs)
    state = RunState(
        playbook=PlaybookVersion(id=playbook.id, sha256=playbook.sha256),
        run_id=run_id,
        key=key,
        account=account,
        directory=directory,
        started_at=instants.format_shortest(now),
        inputs=accepted,
        traits={name: found for name, found in (traits or {}).items() if name in actions_of(playbook)},
    )
    Walk(playbook, state, now, _bundle(playbook, state)).settle()
    return state


def run_key(playbook: Playbook, inputs: Mapping[str, Json]) -> str | None:
    """Return the key of a run with these inputs, or None if the playbook has none. Raises as `begin`."""
    problems = problems_of(playbook)
    if problems:
        raise PlaybookInvalid(problems=problems)
    if playbook.key is None:
        return None
    accepted = run_inputs.accept(playbook, inputs)
    try:
        key = compiled(playbook).fields["/key"].value({"inputs": accepted})
    except ExpressionFailed as error:
        raise ParameterError(f"the run has no key: {error.message}", help=error.help) from None
    if not isinstance(key, str) or not key.strip() or len(key) > MAX_KEY:
        raise ParameterError.at("/key", f"the run's key must be a text of 1 to {MAX_KEY} characters")
    return key


def actions_of(playbook: Playbook) -> set[str]:
    """Return the IDs of the actions that the playbook and its sub-playbooks run."""
    every = (playbook, *playbook.parts.values())
    return {step.action for one in every for step in (*one.steps, *one.at_end) if isinstance(step, ActionStep)}


def next_commands(playbook: Playbook, state: RunState) -> dict[Place, Command]:
    """Return the commands to carry out now, by place. The same state always gives the same commands.

    Several commands are of sub-playbooks that run at the same time; their order is that of the items. The run itself
    has the place (). Raises: StateRefused.
    """
    return dict(_commands(playbook, state, playbook.parts, ()))


def advance(playbook: Playbook, state: RunState, event: Event, *, now: datetime, place: Sequence[str] = ()) -> RunState:
    """Return the state after an event of the command at `place`.

    Raises: StateRefused, also for an event that the state does not expect; ParameterError for a signal with a value
    that the pause does not accept.
    """
    after = _copied(playbook, state)
    if isinstance(event, Cancelled):
        _cancel(playbook, after, event, now)
    else:
        changed = isinstance(event, ActionFailed) and bool(changes(playbook, state))
        walk = Walk(playbook, after, now, _bundle(playbook, state, changed=changed))
        _advance(walk, event, tuple(place))
    return after


def resumed(playbook: Playbook, state: RunState, *, now: datetime, interrupted: Collection[Place] = ()) -> RunState:
    """Return the state to resume from. A run that failed in an action repeats that action. Raises: StateRefused.

    interrupted: the places of actions that ran when the process ended. They may have changed something, whatever
    their repetition reports: a create finds its own job and reports that it created none.
    """
    after = interrupted_at(playbook, state, interrupted)
    if resumable(playbook, after):
        _reopen(Walk(playbook, after, now, _bundle(playbook, state)))
    return after


def interrupted_at(playbook: Playbook, state: RunState, places: Collection[Place]) -> RunState:
    """Return the state in which the actions at these places may have changed something."""
    after = state.model_copy(deep=True)
    for place in places:
        _doubt(playbook, after, tuple(place))
    return after


def _bundle(playbook: Playbook, state: RunState, *, changed: bool = False) -> Bundle:
    return Bundle(playbook.parts, state.traits, changed)


def _commands(
    playbook: Playbook, state: RunState, parts: Mapping[str, Playbook], place: Place
) -> Iterator[tuple[Place, Command]]:
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    match state.pending:
        case PendingChildren() if isinstance(step, PlaybookStep):
            for index, child in enumerate(state.children):
                if not isinstance(child.pending, End):
                    yield from _commands(parts[step.playbook], child, parts, (*place, child_name(step, index)))
        case PendingRun() as run:
            yield place, RunAction(run.step_id, run.action, run.params, state.directory)
        case PendingSleep() as sleep:
            yield place, Sleep(sleep.seconds, sleep.step_id, sleep.until, sleep.why)
        case PendingSignal() as signal if isinstance(step, PauseStep):
            accepts = step.accepts.json_schema() if step.accepts is not None else None
            yield (
                place,
                AwaitSignal(
                    signal.name,
                    signal.step_id,
                    signal.seconds,
                    signal.until,
                    accepts,
                    signal.count,
                    tuple(signal.values),
                    signal.about,
                ),
            )
        case End() as end:
            yield place, Finished(end.status, end.exit_code, end.outputs, end.error, end.message)
        case _:
            raise StateRefused("the state is damaged: it has no next command")


def _advance(walk: Walk, event: Event, place: Place) -> None:
    state = walk.state
    if place:
        found = _child(walk.playbook, state, place[0])
        if found is None or not isinstance(state.pending, PendingChildren):
            raise StateRefused(f"the state has no command at {'/'.join(place)}")
        step, index = found
        child = _copied(walk.bundle.parts[step.playbook], state.children[index])
        state.children = [*state.children[:index], child, *state.children[index + 1 :]]
        _advance(walk.child_walk(step, index, child), event, place[1:])
        if isinstance(child.pending, End):
            walk.children_moved()
        return
    match state.pending, event:
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
        case PendingSleep() | PendingSignal(), Slept():
            walk.slept()
        case PendingSignal(), Signalled():
            walk.signalled(_accepted(walk, event.value))
        case _:
            kind = "" if state.pending is None else state.pending.kind
            raise StateRefused(f"expected {_EXPECTED.get(kind, 'no event')}, received {type(event).__name__}")


_EXPECTED = {
    "run": "the result of an action",
    "sleep": "the end of a pause",
    "signal": "a signal",
    "children": "an event of a sub-playbook",
}


def _accepted(walk: Walk, value: Json) -> Json:
    """Return the value of a signal for the current step. Raises: ParameterError."""
    step = walk.playbook.steps[walk.state.position]
    try:
        found = plain(value)
    except NotPlainJson as error:
        raise ParameterError.at(error.pointer, error.message) from None
    problems = mismatches(step.accepts.json_schema(), found) if isinstance(step, PauseStep) and step.accepts else []
    if problems:
        raise ParameterError(
            problems=[Problem(pointer=below("", "value") + p["pointer"], message=p["message"]) for p in problems]
        )
    return found


def _cancel(playbook: Playbook, state: RunState, event: Cancelled, now: datetime) -> None:
    if isinstance(state.pending, End):
        raise StateRefused("the run has already ended")
    state.children = [child.model_copy(deep=True) for child in state.children]
    error = RunCancelled(event.reason)
    Walk(playbook, state, now, _bundle(playbook, state)).cancel(error_document(error), error.exit_code, event.reason)


def _child(playbook: Playbook, state: RunState, name: str) -> tuple[PlaybookStep, int] | None:
    """Return the current step and the index of its run with this name, or None."""
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    if isinstance(step, PlaybookStep):
        names = [child_name(step, index) for index in range(len(state.children))]
        if name in names:
            return step, names.index(name)
    return None


def _copied(playbook: Playbook, state: RunState) -> RunState:
    """Return a copy whose current step can be changed. Everything else is shared and never changed."""
    steps = dict(state.steps)
    changing = [playbook.steps[state.position].id] if state.position < len(playbook.steps) else []
    if state.closing is not None:
        changing += [step.id for step in playbook.at_end]
    for step_id in changing:
        if step_id in steps:
            steps[step_id] = steps[step_id].model_copy()
    return state.model_copy(update={"steps": steps})


def _doubt(playbook: Playbook, state: RunState, place: Place) -> None:
    """Record that the action at this place may have changed something."""
    run, at = state, playbook
    for name in place:
        found = _child(at, run, name)
        if found is None:
            return
        step, index = found
        run, at = run.children[index], playbook.parts[step.playbook]
    if not isinstance(run.pending, PendingRun):
        return
    traits = state.traits.get(run.pending.action) or ActionTraits()
    record = run.steps[run.pending.step_id]
    if traits.effect != "read" and record.doubt is None:
        error = OutcomeUnknown("the process ended while the action ran")
        record.doubt = Doubt(error=error_document(error), exit_code=error.exit_code)


def _reopen(walk: Walk) -> None:
    """Repeat the action that has ended the run as failed, also in a sub-playbook.

    Of several sub-playbooks that have failed, those that failed without an action keep their end.
    """
    state = walk.state
    for closing in walk.playbook.at_end:
        state.steps.pop(closing.id, None)
    step = walk.playbook.steps[state.position]
    if not isinstance(step, PlaybookStep) or not state.children:
        state.pending = None
        walk.settle()
        return
    state.steps[step.id].status = "running"
    for index, child in enumerate(state.children):
        failed = isinstance(child.pending, End) and child.pending.status == "failed"
        within = walk.child_walk(step, index, child)
        if failed and failed_action(within.playbook, child, walk.bundle.parts) is not None:
            _reopen(within)
    walk.children_moved()
