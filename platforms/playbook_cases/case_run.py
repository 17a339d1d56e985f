"""Run the cases of a test file, one after the other, each in a sandbox of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actions.contract import catalog
from core import instants
from core.errors import PackError, Problem
from core.json_values import Json, below, plain, shown
from core.strict_yaml import line_of
from platforms.playbook_cases.expectations import Ended, differences
from platforms.playbook_cases.format import Case, FaultSpec, StepDay
from platforms.playbook_cases.loading import ERRORS, Loaded
from platforms.playbook_cases.sandbox_world import World, world
from platforms.playbook_session import traits
from playbooks.drivers.run_directory import make_files_directory
from playbooks.engine.changes import child_name, error_document
from playbooks.engine.commands import (
    ActionFailed,
    ActionSucceeded,
    AwaitSignal,
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
from playbooks.engine.signals import is_named, signal_problems
from playbooks.engine.state import RunState, StepRecord, open_state
from playbooks.language.format import Playbook, PlaybookStep


@dataclass(frozen=True)
class CaseResult:
    """The result of a case. differences: pointer, message and line in the test file."""

    name: str
    ended: Ended
    differences: list[dict[str, Any]]

    @property
    def passed(self) -> bool:
        return not self.differences

    def document(self) -> dict[str, Json]:
        """Return the result as plain JSON."""
        ended = {name: value for name, value in vars(self.ended).items() if name != "jobs"}
        return plain(  # type: ignore[no-any-return]  # a map stays a map
            {
                "name": self.name,
                "passed": self.passed,
                "differences": self.differences,
                **ended,
                "jobs": len(self.ended.jobs),
            }
        )


def run_cases(loaded: Loaded, part_of_name: str = "") -> Iterator[CaseResult]:
    """Run each case whose name has this part, and yield its result. Raises: ParameterError for unreadable files."""
    for number, case in enumerate(loaded.file.cases):
        if part_of_name.casefold() not in case.name.casefold():
            continue
        pointer = below("/cases", number)
        with tempfile.TemporaryDirectory(prefix="cfes-test-") as directory:
            ended, problems = _run(loaded, case, Path(directory), pointer)
        problems += differences(case.expect, ended, below(pointer, "expect"))
        found = [{**problem, "line": line_of(loaded.lines, problem["pointer"])} for problem in problems]
        yield CaseResult(case.name, ended, found)


def _run(loaded: Loaded, case: Case, directory: Path, pointer: str) -> tuple[Ended, list[Problem]]:
    inputs = loaded.inputs_of(case)
    settings = {**loaded.file.sandbox, **case.sandbox}
    main = inputs.get(loaded.playbook.primary_input or "")
    if "alert" not in settings and isinstance(main, dict) and "AlertID" in main:
        settings["alert"] = main
    elif isinstance(settings.get("alert"), str):
        settings["alert"] = loaded.path.parent / str(settings["alert"]).removeprefix("@")
    with world(settings, case, loaded.path.parent, directory) as found:
        calm = case.model_copy(update={"faults": [], "steps": {}})
        for number in range(case.earlier_runs):
            _Run(loaded.playbook, calm, found, pointer).to_the_end(inputs, f"earlier-{number}")
        run = _Run(loaded.playbook, case, found, pointer)
        return run.to_the_end(inputs, "run"), run.problems


@dataclass
class _Run:
    """One run. begun: the paths of the steps that have begun. faults: those of the steps, by path."""

    playbook: Playbook
    case: Case
    world: World
    pointer: str
    problems: list[Problem] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    sent: set[int] = field(default_factory=set)

    def to_the_end(self, inputs: Mapping[str, Json], run_id: str) -> Ended:
        """Carry out every command, and return how the run ended."""
        clock = self.world.clock
        self.faults[""] = self.world.add_faults(self.case.faults)
        directory = self.world.directory / run_id
        directory.mkdir()
        try:
            state = begin(
                self.playbook, inputs, run_id=run_id, now=clock.now(), directory=str(directory), traits=traits()
            )
        except PackError as error:
            return self._ended({}, Finished("failed", error.exit_code, {}, error_document(error), None), None)
        while True:
            commands = next_commands(self.playbook, state)
            finished = commands.get(())
            if isinstance(finished, Finished):
                self._report_unused()
                return self._ended(
                    dict(_statuses(self.playbook, state, self.playbook.parts)), finished, finished.status
                )
            place, command = min(commands.items(), key=lambda item: self._order(*item))
            state = self._carry_out(state, place, command)

    def _order(self, place: Place, command: Command) -> tuple[int, float]:
        """Order the commands of runs at the same time: actions first, then signals, then what ends first."""
        if isinstance(command, AwaitSignal) and self._signal(place, command) is not None:
            return 1, 0
        if isinstance(command, Sleep | AwaitSignal):
            return 2, instants.parse_timestamp(command.until).timestamp()
        return 0, 0

    def _carry_out(self, state: RunState, place: Place, command: Command) -> RunState:
        if isinstance(command, RunAction):
            return self._run_action(state, place, command)
        index = self._signal(place, command) if isinstance(command, AwaitSignal) else None
        if isinstance(command, AwaitSignal) and index is not None:
            return self._send(state, place, command, index)
        self._sleep_until(command)
        return advance(self.playbook, state, Slept(), now=self.world.clock.now(), place=place)

    def _run_action(self, state: RunState, place: Place, command: RunAction) -> RunState:
        path = path_of(place, command.step_id)
        day = self._day(path, command.step_id)
        first = path not in self.begun
        self.begun.add(path)
        if first:
            self.world.clock.sleep(day.advance)
            self.faults[path] = self.world.add_faults(day.faults)
            if day.crash is not None:
                return self._crash(state, place, command, day)
        event = self._act(command, day)
        after = advance(self.playbook, state, event, now=self.world.clock.now(), place=place)
        if not _is_at(next_commands(self.playbook, after), place, command.step_id):
            name = path if path in self.case.steps else command.step_id
            self._end_faults(path, day.faults, below(self.pointer, "steps", name, "faults"))
        return after

    def _end_faults(self, path: str, faults: Sequence[FaultSpec], pointer: str) -> None:
        """End the faults of a step, or of the case (""). A fault that no call met is a problem of the case."""
        met = self.world.remove_faults(self.faults.pop(path, []))
        for index, (fault, was_met) in enumerate(zip(faults, met, strict=False)):
            if not was_met:
                message = f"the fault {fault.kind} of {fault.operation} did not happen: there was no such call"
                self.problems.append(Problem(pointer=below(pointer, index), message=message))

    def _send(self, state: RunState, place: Place, command: AwaitSignal, index: int) -> RunState:
        """Send a signal. A value that the pause does not accept is a problem of the case, and the run keeps waiting."""
        self.sent.add(index)
        signal = self.case.signals[index]
        self.world.clock.sleep(signal.after)
        problems = signal_problems(command, signal.value)
        at = below(self.pointer, "signals", index, "value")
        self.problems += [Problem(pointer=at + p["pointer"], message=f"refused: {p['message']}") for p in problems]
        if problems:
            return state
        return advance(self.playbook, state, Signalled(signal.value), now=self.world.clock.now(), place=place)

    def _crash(self, state: RunState, place: Place, command: RunAction, day: StepDay) -> RunState:
        """Return the state after the end of the process and a resume. What the action returned is lost."""
        if day.crash == "after":
            self._act(command, day)
        stored = open_state(self.playbook, state.document())
        return resumed(self.playbook, stored, now=self.world.clock.now(), interrupted=[place])

    def _act(self, command: RunAction, day: StepDay) -> Event:
        if day.result is not None:
            return ActionSucceeded(day.result)
        if day.error is not None:
            return ActionFailed.of(ERRORS[day.error.type](day.error.message))
        action = catalog.find(command.action)
        try:
            make_files_directory(command.directory)
            return ActionSucceeded(action.run(command.params, self.world.api if action.connection else None))
        except PackError as error:
            return ActionFailed.of(error)

    def _sleep_until(self, command: Command) -> None:
        if isinstance(command, Sleep | AwaitSignal):
            left = (instants.parse_timestamp(command.until) - self.world.clock.now()).total_seconds()
            self.world.clock.sleep(max(left, 0))

    def _day(self, path: str, step_id: str) -> StepDay:
        return self.case.steps.get(path) or self.case.steps.get(step_id) or StepDay()

    def _signal(self, place: Place, command: AwaitSignal) -> int | None:
        """Return the index of the next signal for a pause, if it comes before the time ends."""
        for index, signal in enumerate(self.case.signals):
            if index not in self.sent and is_named(signal.name, place, command):
                at = self.world.clock.now().timestamp() + signal.after
                return index if at < instants.parse_timestamp(command.until).timestamp() else None
        return None

    def _report_unused(self) -> None:
        self._end_faults("", self.case.faults, below(self.pointer, "faults"))
        for index, signal in enumerate(self.case.signals):
            if index not in self.sent:
                message = f"the signal {shown(signal.name)} was not sent: no pause waited for it in time"
                self.problems.append(Problem(pointer=below(self.pointer, "signals", index), message=message))
        reached = {path.rpartition("/")[2] for path in self.begun} | self.begun
        for name in self.case.steps:
            if name not in reached:
                message = f"nothing of this happened: the run did not reach an action in step {shown(name)}"
                self.problems.append(Problem(pointer=below(self.pointer, "steps", name), message=message))

    def _ended(self, steps: Mapping[str, str], finished: Finished, status: str | None) -> Ended:
        truth = self.world.truth()
        return Ended(
            status=status,
            exit_code=finished.exit_code,
            outputs=finished.outputs,
            error=finished.error,
            message=finished.message,
            steps=steps,
            jobs=truth["jobs"],
            moved=len(truth["moved"]),
            released=len(truth["released"]),
            calls=truth["calls"],
        )


def _is_at(commands: Mapping[Place, Command], place: Place, step_id: str) -> bool:
    """Return whether the run at this place is still in this step."""
    command = commands.get(place)
    return not isinstance(command, Finished | None) and command.step_id == step_id


def _statuses(playbook: Playbook, state: RunState, parts: Mapping[str, Playbook]) -> Iterator[tuple[str, str]]:
    """Yield the path and the status of each step that was reached, also in sub-playbooks."""
    yield from _recorded(state.steps, "")
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    for index, child in enumerate(state.children if isinstance(step, PlaybookStep) else ()):
        if isinstance(step, PlaybookStep):
            inner = _statuses(parts[step.playbook], child, parts)
            yield from ((f"{child_name(step, index)}/{path}", status) for path, status in inner)


def _recorded(steps: Mapping[str, StepRecord], before: str) -> Iterator[tuple[str, str]]:
    for step_id, record in steps.items():
        yield before + step_id, record.status
        yield from _recorded(record.inner, f"{before}{step_id}/")
