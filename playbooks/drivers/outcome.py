"""How a run ended, or where it is: for callers, and for lists of runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import PackError
from core.instants import whole_second
from core.json_values import Json
from playbooks.drivers.store.records import Progress
from playbooks.engine.changes import certain_change, changes, job_of, resumable, sentence_of
from playbooks.engine.commands import AwaitSignal, Command, Finished, Place, RunAction, Sleep, path_of
from playbooks.engine.engine import next_commands
from playbooks.engine.history import steps_reached
from playbooks.engine.signals import awaited_document, awaited_signals
from playbooks.engine.state import RunState, Status
from playbooks.language.errors import RunInterrupted, RunSleeps, SignalAwaited
from playbooks.language.format import Playbook


@dataclass(frozen=True)
class Outcome:
    """How a run ended, or stopped for now. `steps`: the records of the steps that were reached, by path.

    `status`: that of the end; `waiting` or `sleeping` for a run that its process has left (exit 6); `running` for a
    run with an action that has not ended (exit 6). `resumable`: the run failed in an action, which `resume` repeats, or
    has not ended. `waits_for`: the signal that a waiting run needs.
    """

    playbook: str
    run_id: str
    key: str | None
    directory: str
    status: Status | Literal["running", "waiting", "sleeping"]
    exit_code: int
    outputs: dict[str, Json]
    error: dict[str, Json] | None
    message: str | None
    started_at: str
    resumable: bool
    waits_for: dict[str, Json] | None
    steps: dict[str, dict[str, Json]]

    def document(self) -> dict[str, Json]:
        """Return the outcome as one JSON document."""
        return dict(vars(self))

    def closing_document(self) -> dict[str, Json]:
        """Return the outcome without the records of the steps, which are in the run store."""
        return {name: value for name, value in self.document().items() if name != "steps"}


def progress_of(playbook: Playbook, state: RunState, *, polls_are_running: bool = False) -> Progress:
    """Return where a run is, for lists of runs.

    polls_are_running: a run that pauses between two polls of an action has the status running, not sleeping.
    """
    commands = next_commands(playbook, state)
    place, first = next(iter(commands.items()))
    if isinstance(first, Finished):
        return Progress(status=first.status)
    at_step = path_of(place, first.step_id)
    pauses = [command for command in commands.values() if isinstance(command, Sleep | AwaitSignal)]
    idle = [each for each in pauses if not polls_are_running or isinstance(each, AwaitSignal) or each.why == "sleep"]
    if len(idle) < len(commands):
        return Progress(status="running", at_step=at_step)
    awaited = next(iter(awaited_signals(commands)), None)
    return Progress(
        status="sleeping" if awaited is None else "waiting",
        at_step=at_step,
        wake_at=min(each.until for each in idle),
        waits_for=awaited,
    )


def outcome_of(playbook: Playbook, state: RunState) -> Outcome:
    """Return how a run ended, or where it is: then with the status of its progress and exit code 6."""
    commands = next_commands(playbook, state)
    end = commands.get(())
    steps = {at.path: at.record.model_dump(mode="json") for at in steps_reached(playbook, state)}
    common: dict[str, Any] = {
        "playbook": state.playbook.id,
        "run_id": state.run_id,
        "key": state.key,
        "directory": state.directory,
        "started_at": state.started_at,
        "steps": steps,
    }
    if isinstance(end, Finished):
        return Outcome(**common, **vars(end), resumable=resumable(playbook, state), waits_for=None)
    found = changes(playbook, state)
    error = _left(commands, state.run_id)
    awaited = awaited_signals(commands)
    waits_for = next((awaited_document(name, each) for name, each in awaited.items()), None)
    if found:
        error.applied = certain_change(found)
        error.restate(error.message, help=f"{sentence_of(found)} {error.help}", job_id=job_of(found))
    return Outcome(
        **common,
        status="running" if running_step(commands) else "waiting" if awaited else "sleeping",
        exit_code=error.exit_code,
        outputs={},
        error=error.document()["error"],
        message=None,
        resumable=True,
        waits_for=waits_for,
    )


def _left(commands: Mapping[Place, Command], run_id: str) -> PackError:
    """Return the error of a run that no process drives."""
    step = running_step(commands)
    if step is not None:
        return RunInterrupted(
            f"the run was interrupted in step '{step}', and no process runs it",
            help=f"Resume it: cfes playbook resume {run_id}. The step runs again, which is safe.",
        )
    awaited = awaited_signals(commands)
    if awaited:
        name, first = next(iter(awaited.items()))
        missing = first.count - len(first.values)
        number = "" if first.count == 1 else f" ({missing} of {first.count} are missing)"
        return SignalAwaited(
            f"the run waits for the signal {name}{number} until {whole_second(first.until)}",
            help=f"To answer: {answer_to(run_id, name, first)}. Then resume the run: cfes playbook resume {run_id}",
        )
    wake_at = min(str(command.until) for command in commands.values() if isinstance(command, Sleep))
    return RunSleeps(
        f"the run sleeps until {whole_second(wake_at)}",
        help=f"To resume it then: cfes playbook resume {run_id}, or in a cron job: cfes playbook resume --due",
    )


def running_step(commands: Mapping[Place, Command]) -> str | None:
    """Return the path of a step whose action has not ended, or None."""
    found = (path_of(at, each.step_id) for at, each in commands.items() if isinstance(each, RunAction))
    return next(found, None)


def answer_to(run_id: str, name: str, awaited: AwaitSignal, flag: str = "") -> str:
    """Return the command that answers a pause. A plan is approved with a key; any other signal has a value.

    flag: the flag of another engine, whose runs take approvals as signals.
    """
    if "plan" in awaited.about and not flag:
        return f"cfes playbook approve {run_id} --key KEY"
    return f"cfes playbook signal {run_id} {shlex.quote(name)} @FILE{flag}"
