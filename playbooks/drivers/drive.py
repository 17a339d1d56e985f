"""The loop of the local driver: carry out the commands of a run that this process holds, until it ends or is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from core import instants
from core.clock import Clock, Deadline
from core.errors import PackError, ParameterError
from core.json_values import Json
from playbooks.drivers.outcome import Outcome, outcome_of, progress_of
from playbooks.drivers.run_directory import make_files_directory
from playbooks.drivers.store.held_run import HeldRun
from playbooks.drivers.store.records import StoredSignal
from playbooks.engine.changes import Change, changes, with_changes
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
from playbooks.engine.engine import advance, next_commands
from playbooks.engine.history import Reached, steps_reached
from playbooks.engine.signals import is_named
from playbooks.engine.state import RunState
from playbooks.language.errors import RunRecordUnwritable
from playbooks.language.format import Playbook, Step

RunActionFunction = Callable[[str, dict[str, Json]], dict[str, Json]]

# How often a run looks for signals while it waits or sleeps, in seconds.
SIGNAL_INTERVAL = 1.0
CANCEL_INTERVAL = 30.0

CANCEL = "-cancel"
"""The signal that ends a run. No pause can have this name. Its value is the reason."""


@dataclass(frozen=True)
class Upcoming:
    """An action that is about to begin. path: its step, such as "job/create".

    begun: an earlier attempt has begun. changes: the changes of the run so far.
    """

    command: RunAction
    path: str
    begun: bool
    changes: list[Change]


BeforeAction = Callable[[Upcoming], None]

BeforeResume = Callable[[Sequence[Step]], None]


class Observer:
    """Observes a run. Each method does nothing unless it is overridden.

    `again`: an earlier process had begun the action and not ended it.
    """

    def began(self, run_id: str, directory: str) -> None: ...

    def resumed(self, reached: Sequence[Reached]) -> None: ...

    def step_started(self, at: Reached, command: RunAction, *, again: bool) -> None: ...

    def step_ended(self, at: Reached) -> None: ...

    def sleeping(self, at: Reached, command: Sleep) -> None: ...

    def waiting(self, at: Reached, command: AwaitSignal) -> None: ...

    def signal_refused(self, name: str, error: PackError) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Patience:
    """How long this process stays with a run that does nothing.

    signals: wait for signals; otherwise leave the run with the status `waiting`. longest_sleep: leave the run with the
    status `sleeping` before a longer sleep, in seconds; None sleeps as long as it takes.
    """

    signals: bool = False
    longest_sleep: float | None = None


@dataclass(frozen=True)
class Hooks:
    """How to run actions, and who watches.

    `run_action(action, params)` returns the action's result or raises PackError, which the Outcome then has. Any other
    exception, such as KeyboardInterrupt, is raised and leaves a run to resume. `before_action` is called before an
    action is recorded as begun; its exceptions are raised and leave the run before that action. `before_resume` is
    called with the remaining steps, before anything is run or written. `account`: the account of the actions, if known;
    a run stays with the account that it began with.
    """

    run_action: RunActionFunction
    clock: Clock
    observer: Observer | None = None
    before_action: BeforeAction | None = None
    before_resume: BeforeResume | None = None
    patience: Patience = Patience()
    account: str | None = None


# The next event, or: read the run's commands and signals again, or leave the run.
_Next: TypeAlias = tuple[Place, Event] | Literal["again", "leave"]


class Drive:
    """Carries out the commands of one run. in_flight: actions that an earlier process had begun and not ended."""

    def __init__(self, playbook: Playbook, held: HeldRun, hooks: Hooks, in_flight: Collection[Place] = ()) -> None:
        self.observer = hooks.observer or Observer()
        self._playbook = playbook
        self._held = held
        self._hooks = hooks
        self._clock: Clock = hooks.clock
        self._in_flight = set(in_flight)
        self._announced: set[tuple[Place, str]] = set()
        self._deadlines: dict[tuple[Place, str], Deadline] = {}

    def to_the_end(self, state: RunState) -> Outcome:
        """Drive the run until it has ended or is left. Raises: RunRecordUnwritable, and what the hooks raise."""
        while True:
            commands = next_commands(self._playbook, state)
            if isinstance(commands.get(()), Finished):
                break
            taken: list[StoredSignal] = []
            found = self._next(state, commands, taken)
            if found == "leave":
                break
            if found != "again":
                state = self._advance(state, commands, *found, taken=taken)
        outcome = outcome_of(self._playbook, state)
        self.observer.finished(outcome)
        return outcome

    def report(self, before: Iterable[Reached], after: Iterable[Reached]) -> None:
        """Notify the observer of each step that ended between two states."""
        ended = {at.path: at.record.started for at in before if at.record.status != "running"}
        for at in after:
            if at.record.status != "running" and ended.get(at.path) != at.record.started:
                self.observer.step_ended(at)

    def write(
        self, state: RunState, in_flight: Sequence[dict[str, Json]] = (), taken: Sequence[StoredSignal] = ()
    ) -> None:
        """Write the state. Raises: RunRecordUnwritable, with the run's changes so far."""
        progress = progress_of(self._playbook, state)
        try:
            self._held.write(state.text(), progress, in_flight, taken=[signal.seq for signal in taken])
        except RunRecordUnwritable as error:
            raise with_changes(error, changes(self._playbook, state)) from None

    def _next(self, state: RunState, commands: dict[Place, Command], taken: list[StoredSignal]) -> _Next:
        """Do what comes next and return its event: a cancellation, an action, a signal, or the end of a sleep."""
        signals = self._held.untaken_signals()
        cancels = [signal for signal in signals if signal.name == CANCEL]
        if cancels:
            taken += cancels
            reason = cancels[0].value
            return (), Cancelled(reason) if isinstance(reason, str) else Cancelled()
        for place, command in commands.items():
            if isinstance(command, RunAction):
                return place, self._act(state, place, command)
        pauses = {place: each for place, each in commands.items() if isinstance(each, AwaitSignal)}
        for place, pause in pauses.items():
            signal = next((each for each in signals if is_named(each.name, place, pause)), None)
            if signal is not None:
                taken.append(signal)
                return place, Signalled(signal.value)
        return self._rest(state, commands)

    def _act(self, state: RunState, place: Place, command: RunAction) -> Event:
        at = self._at(state, place, command)
        again = place in self._in_flight
        if self._hooks.before_action is not None:
            begun = again or at.record.attempts > 1 or at.record.doubt is not None
            self._hooks.before_action(Upcoming(command, at.path, begun, changes(self._playbook, state)))
        traits = state.traits.get(command.action)
        if traits is None or traits.effect != "read":
            # After a kill, an action that only reads leaves no doubt.
            since = instants.format_shortest(self._clock.now())
            self.write(state, [{"place": list(place), "step_id": command.step_id, "since": since}])
        self.observer.step_started(at, command, again=again)
        self._in_flight = set()
        try:
            if command.directory != state.directory:
                make_files_directory(command.directory)
            return ActionSucceeded(self._hooks.run_action(command.action, command.params))
        except PackError as error:
            return ActionFailed.of(error)

    def _rest(self, state: RunState, commands: dict[Place, Command]) -> _Next:
        """Sleep until the first command's time has come. A run that waits for a signal checks for it meanwhile."""
        resting = {place: each for place, each in commands.items() if isinstance(each, Sleep | AwaitSignal)}
        place, first = min(resting.items(), key=lambda item: instants.parse_timestamp(item[1].until))
        left = (instants.parse_timestamp(first.until) - self._clock.now()).total_seconds()
        # A clock that was set back must not make the sleep longer.
        deadline = self._deadlines.setdefault((place, first.until), Deadline(self._clock, min(left, first.seconds)))
        left = min(left, deadline.remaining())
        if left <= 0:
            return place, Slept()
        patience = self._hooks.patience
        waits = [each for each in resting.values() if isinstance(each, AwaitSignal)]
        if len(waits) == len(resting) and not patience.signals:
            return "leave"
        if patience.longest_sleep is not None and left > patience.longest_sleep:
            return "leave"
        for at, command in resting.items():
            if (at, command.until) not in self._announced:
                self._announced.add((at, command.until))
                reached = self._at(state, at, command)
                if isinstance(command, Sleep):
                    self.observer.sleeping(reached, command)
                else:
                    self.observer.waiting(reached, command)
        interval = SIGNAL_INTERVAL if waits else CANCEL_INTERVAL
        self._clock.sleep(min(left, interval))
        return (place, Slept()) if left <= interval else "again"

    def _advance(
        self,
        state: RunState,
        commands: dict[Place, Command],
        place: Place,
        event: Event,
        *,
        taken: Sequence[StoredSignal],
    ) -> RunState:
        """Return the state after an event, once it is stored. A signal with an invalid value changes nothing else."""
        try:
            after = advance(self._playbook, state, event, now=self._clock.now(), place=place)
        except ParameterError as error:
            if not isinstance(event, Signalled):
                raise
            self.observer.signal_refused(taken[0].name, error)
            after = state
        try:
            self.write(after, taken=taken)
        except RunRecordUnwritable as error:
            command = commands.get(place)
            if isinstance(command, RunAction) and command.action not in after.traits:
                path = path_of(place, command.step_id)
                found = [*changes(self._playbook, after), Change(path, command.action, "unknown", None)]
                raise with_changes(error, found) from None
            raise
        self.report(steps_reached(self._playbook, state), self._with_result(after, commands.get(place), place, event))
        return after

    def _with_result(self, state: RunState, command: Command | None, place: Place, event: Event) -> list[Reached]:
        """Return the steps that were reached. A sub-playbook that has ended keeps no result, which the event has."""
        reached = steps_reached(self._playbook, state)
        result = event.result if isinstance(event, ActionSucceeded) else None
        if not isinstance(result, dict) or not isinstance(command, RunAction):
            return reached
        path = path_of(place, command.step_id)
        record = next((at.record for at in reached if at.path == path and at.record.result is None), None)
        if record is None:
            return reached
        shown = record.model_copy(update={"result": result})
        return [replace(at, record=shown) if at.path == path else at for at in reached]

    def _at(self, state: RunState, place: Place, command: Command) -> Reached:
        path = path_of(place, getattr(command, "step_id", ""))
        return next(at for at in steps_reached(self._playbook, state) if at.path == path)
