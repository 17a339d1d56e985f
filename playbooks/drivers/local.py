"""The local driver: run a playbook in this process, and resume it after a crash, a kill or Ctrl-C.

The journal is written before an action begins and after it ends (see `playbooks.drivers.journal`). An action that had
begun and not ended is run again on resume, with the same parameters. Actions are safe to repeat: those that create jobs
reuse the earlier job by its idempotency key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import instants
from core.clock import Clock
from core.errors import PackError
from core.json_values import Json, shown
from playbooks.drivers.journal import Entry, Journal
from playbooks.drivers.journal_key import JournalKey
from playbooks.engine.changes import Change, changes, resumable, with_changes
from playbooks.engine.commands import ActionFailed, ActionSucceeded, Event, Finished, RunAction, Sleep, Slept
from playbooks.engine.engine import advance, begin, next_commands, resumed
from playbooks.engine.state import ActionTraits, End, RunState, Status, StepRecord, open_state
from playbooks.language.errors import DirectoryUnusable, JournalUnwritable, PlaybookInvalid, RunMoved, StateRefused
from playbooks.language.format import Playbook, Step
from playbooks.language.loading import from_document

RunActionFunction = Callable[[str, dict[str, Json]], dict[str, Json]]


@dataclass(frozen=True)
class Upcoming:
    """An action that is about to begin. begun: an earlier attempt has begun. changes: the changes of the run so far."""

    command: RunAction
    begun: bool
    changes: list[Change]


BeforeAction = Callable[[Upcoming], None]

BeforeResume = Callable[[Sequence[Step]], None]


class Observer:
    """Observes a run. Each method does nothing unless it is overridden.

    `record` is the step's record in the state (playbooks.engine.state.StepRecord). `reached`: the steps that a resumed
    run has reached. `again`: an earlier process had begun the action and not ended it.
    """

    def resumed(self, reached: Sequence[tuple[Step, Mapping[str, Json]]]) -> None: ...

    def step_started(self, step: Step, command: RunAction, record: Mapping[str, Json], *, again: bool) -> None: ...

    def step_ended(self, step: Step, record: Mapping[str, Json]) -> None: ...

    def step_skipped(self, step: Step, record: Mapping[str, Json]) -> None: ...

    def sleeping(self, step: Step, command: Sleep, record: Mapping[str, Json]) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `steps`: the records of the steps that were reached, by step ID; times are RFC 3339.

    `resumable`: the run failed in an action, which `resume` repeats.
    """

    playbook: str
    run_id: str
    directory: str
    status: Status
    exit_code: int
    outputs: dict[str, Json]
    error: dict[str, Json] | None
    message: str | None
    started_at: str
    resumable: bool
    steps: dict[str, dict[str, Json]]

    def document(self) -> dict[str, Json]:
        """Return the outcome as one JSON document."""
        return dict(vars(self))

    def closing_document(self) -> dict[str, Json]:
        """Return the outcome without the records of the steps, which are in the journal."""
        return {name: value for name, value in self.document().items() if name != "steps"}


def run(
    playbook: Playbook,
    inputs: Mapping[str, Json],
    *,
    run_action: RunActionFunction,
    clock: Clock,
    run_id: str,
    directory: Path,
    key: JournalKey,
    observer: Observer | None = None,
    before_action: BeforeAction | None = None,
    traits: Mapping[str, ActionTraits] | None = None,
) -> Outcome:
    """Run a playbook to its end, with its journal and files in `directory`. `key` seals the journal.

    `run_action(action, params)` returns the action's result or raises PackError, which the Outcome then has. Any other
    exception, such as KeyboardInterrupt, is raised and leaves a journal to resume from. `before_action` is called
    before an action is recorded as begun; its exceptions are raised and leave the run before that action. `traits`:
    see `engine.begin`.

    Raises: PlaybookInvalid, ParameterError (inputs), JournalRefused (the directory has a run), RunInProgress,
    DirectoryUnusable and JournalUnwritable.
    """
    directory = _absolute(directory)
    _refuse_unnameable(directory)
    state = begin(playbook, inputs, run_id=run_id, now=clock.now(), directory=str(directory), traits=traits)
    with Journal(directory, key, create=True) as journal:
        journal.write(Entry(playbook.document(), state.document()))
        drive = _Drive(playbook, journal, run_action, clock, observer or Observer(), before_action)
        drive.report({}, state.steps)
        return drive.to_the_end(state, in_flight=None)


def resume(
    directory: Path,
    *,
    run_action: RunActionFunction,
    clock: Clock,
    key: JournalKey,
    observer: Observer | None = None,
    before_action: BeforeAction | None = None,
    before_resume: BeforeResume | None = None,
) -> Outcome:
    """Resume the run whose journal is in `directory`, with the playbook as it was when the run began.

    A run that failed in an action repeats the step of that action. A run that ended otherwise returns its outcome and
    runs nothing. `before_resume` is called with the remaining steps, before anything is run or written.

    Raises: JournalRefused (missing, damaged, edited, another key, a directory that others can change), RunMoved,
    StateRefused, RunInProgress, DirectoryUnusable and JournalUnwritable.
    """
    directory = _absolute(directory)
    with Journal(directory, key, create=False) as journal:
        entry = journal.read()
        try:
            playbook = from_document(entry.playbook)
        except PlaybookInvalid as error:
            raise StateRefused(f"this version can't read the journal's playbook: {error.message}") from None
        _refuse_moved(directory, entry.state.get("directory"))
        before = open_state(playbook, entry.state)
        state = resumed(playbook, before, now=clock.now(), interrupted=[()] if entry.in_flight else [])
        if before_resume is not None:
            before_resume([] if isinstance(state.pending, End) else playbook.steps[state.position :])
        journal.action_ran = bool(entry.in_flight)
        drive = _Drive(playbook, journal, run_action, clock, observer or Observer(), before_action)
        reached = [(step, state.steps[step.id]) for step in playbook.steps if step.id in state.steps]
        drive.observer.resumed([(step, record.model_dump(mode="json")) for step, record in reached])
        if resumable(playbook, before):
            journal.write(Entry(playbook.document(), state.document()))
            drive.report({}, {s.id: r for s, r in reached if r != before.steps.get(s.id)})
        return drive.to_the_end(state, in_flight=entry.in_flight)


def _refuse_unnameable(directory: Path) -> None:
    """Refuse a path that is not UTF-8, because no result could contain it. Raises: DirectoryUnusable."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        raise DirectoryUnusable(
            f"the run's directory {shown(str(directory), 500)} has a name that is not UTF-8",
            help="Nothing was run. Choose a directory whose whole path is UTF-8, the working directory included.",
        ) from None


def _absolute(directory: Path) -> Path:
    """Return the absolute path. Raises: DirectoryUnusable if the working directory was removed."""
    try:
        return directory.absolute()
    except OSError as error:
        raise DirectoryUnusable(
            f"the directory {shown(str(directory))} can't be used: the working directory was removed ({error.strerror})"
        ) from None


def _refuse_moved(directory: Path, began: Json) -> None:
    if isinstance(began, str) and Path(began).resolve() != directory.resolve():
        raise RunMoved(f"the run began in {shown(began, 500)}, and its journal is now in {shown(str(directory), 500)}")


@dataclass
class _Drive:
    playbook: Playbook
    journal: Journal
    run_action: RunActionFunction
    clock: Clock
    observer: Observer
    before_action: BeforeAction | None

    def to_the_end(self, state: RunState, *, in_flight: dict[str, Json] | None) -> Outcome:
        while True:
            place, command = next(iter(next_commands(self.playbook, state).items()))
            if isinstance(command, Finished):
                outcome = _outcome(self.playbook, state, command)
                self.observer.finished(outcome)
                return outcome
            step = next(step for step in self.playbook.steps if step.id == command.step_id)
            record = state.steps[step.id].model_dump(mode="json")
            if isinstance(command, Sleep):
                self.observer.sleeping(step, command, record)
                self._sleep(command)
                event: Event = Slept()
            elif isinstance(command, RunAction):
                if self.before_action is not None:
                    begun = in_flight is not None or record["attempts"] > 1 or record["doubt"] is not None
                    self.before_action(Upcoming(command, begun, changes(self.playbook, state)))
                self._begin(state, command)
                self.observer.step_started(step, command, record, again=in_flight is not None)
                event = self._act(command)
            in_flight = None
            after = advance(self.playbook, state, event, now=self.clock.now(), place=place)
            self._write(after, ran=command if isinstance(command, RunAction) else None)
            self.report(state.steps, after.steps)
            state = after

    def report(self, before: Mapping[str, StepRecord], after: Mapping[str, StepRecord]) -> None:
        """Notify the observer of each step that ended between two states."""
        for step in self.playbook.steps:
            record = after.get(step.id)
            was = before.get(step.id)
            if record is None or record.status == "running" or (was is not None and was.status != "running"):
                continue
            if record.status == "skipped":
                self.observer.step_skipped(step, record.model_dump(mode="json"))
            else:
                self.observer.step_ended(step, record.model_dump(mode="json"))

    def _begin(self, state: RunState, command: RunAction) -> None:
        in_flight = {"step_id": command.step_id, "since": instants.format_shortest(self.clock.now())}
        self._write(state, in_flight)
        self.journal.action_ran = True

    def _write(
        self,
        state: RunState,
        in_flight: dict[str, Json] | None = None,
        *,
        ran: RunAction | None = None,
    ) -> None:
        """Write the state. ran: the action whose result it has."""
        try:
            self.journal.write(Entry(self.playbook.document(), state.document(), in_flight))
        except JournalUnwritable as error:
            found = changes(self.playbook, state)
            if ran is not None and ran.action not in state.traits:
                found.append(Change(ran.step_id, ran.action, "unknown", None))
            raise with_changes(error, found) from None

    def _act(self, command: RunAction) -> Event:
        try:
            return ActionSucceeded(self.run_action(command.action, command.params))
        except PackError as error:
            return ActionFailed.of(error)

    def _sleep(self, command: Sleep) -> None:
        left = (instants.parse_timestamp(command.until) - self.clock.now()).total_seconds()
        # A clock that was set back must not make the sleep longer.
        seconds = min(left, command.seconds)
        if seconds > 0:
            self.clock.sleep(seconds)


def _outcome(playbook: Playbook, state: RunState, command: Finished) -> Outcome:
    return Outcome(
        playbook=state.playbook.id,
        run_id=state.run_id,
        directory=state.directory,
        status=command.status,
        exit_code=command.exit_code,
        outputs=command.outputs,
        error=command.error,
        message=command.message,
        started_at=state.started_at,
        resumable=resumable(playbook, state),
        steps={name: record.model_dump(mode="json") for name, record in state.steps.items()},
    )
