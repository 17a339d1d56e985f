"""Asks the person at the terminal before a playbook's step changes mail."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

from connectors.errors import GuardrailRefusal, OutcomeUnknown, ParameterError
from platforms.cli.action_index import load
from platforms.cli.screen import Screen, is_terminal, safe, write
from platforms.cli.tables import facts, named_values
from playbooks.changes import Change, job_of, surest, told
from playbooks.format import ActionStep, Step
from playbooks.local import BeforeAction, Upcoming

OF_A_PLAN = ("action", "destination", "search_params", "messages", "recipients", "malicious", "warnings", "plan_hash")

# The terminal that a process belongs to, wherever its streams lead. A process of cron has none.
TERMINAL = "/dev/tty"

BEFORE_IT = "The run stands before it."


class Declined(Exception):
    """The person said no.

    No error of the pack on purpose: a playbook's `on_error` must not be able to go on after it.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        super().__init__()
        self.changes = changes


class NotApproved(GuardrailRefusal):
    """The run stands before the step that was not approved, and can be resumed."""

    def __init__(self, directory: Path, changes: Sequence[Change]) -> None:
        where = f"{told(changes)} The run stands before the step that was not approved." if changes else BEFORE_IT
        super().__init__(
            "the step was not approved and not run",
            help=f"{where} To resume: {resuming(directory)}",
            applied=surest(changes),
            job_id=job_of(changes),
        )
        if changes:
            # The code of a refusal promises that nothing was changed.
            self.exit_code = OutcomeUnknown.exit_code


class NobodyToAsk(ParameterError):
    """A playbook would change mail unasked, for there is no terminal to ask at."""

    default_help = "Nothing was run. Add --yes to run it without a question."

    def __init__(self, step: ActionStep) -> None:
        super().__init__(
            f"step {step.id!r} ({step.action}) asks a person before it changes anything, and there is no terminal to "
            "ask at"
        )


def require_person(screen: Screen, steps: Sequence[Step]) -> None:
    """Raises: NobodyToAsk where one of the steps asks first and nobody can be asked."""
    asking_first = [s for s in steps if isinstance(s, ActionStep) and load(s.action).asks_first(s.with_)]
    if asking_first and not can_ask(screen):
        raise NobodyToAsk(asking_first[0])


def can_ask(screen: Screen) -> bool:
    """Whether a person sees what is written and can type an answer."""
    return (screen.watched or screen.on_terminal) and can_answer()


def resuming(directory: Path) -> str:
    """The command that goes on with a run."""
    return f"cfes playbook run --resume {shlex.quote(str(directory))}"


def asking(screen: Screen, away: Callable[[], AbstractContextManager[None]], *, resumed: bool = False) -> BeforeAction:
    """A function that asks before each action that wants approval, once a step.

    A step whose action has begun in this process was approved here: to run it again is how it is found out what it
    changed. In a `resumed` run somebody else may have approved it: the first step is always asked about, after what
    the run has done so far. `require_person` refuses a run that could not ask. `away` takes what is drawn on the
    terminal off it while the question waits.
    """
    first = resumed

    def ask(upcoming: Upcoming) -> None:
        nonlocal first
        action = load(upcoming.command.action)
        if (upcoming.begun and not first) or not action.asks_first(upcoming.command.params):
            return
        stream, console = (sys.stderr, screen.err) if screen.watched else (sys.stdout, screen.out)
        with away():
            if first:
                console.print(safe(done_so_far(upcoming)))
            first = False
            console.print(safe(f"{action.title} (effect at worst: {action.effect})", "bold"))
            params = _worth_reading(upcoming.command.params)
            facts(console, [(name, value) for name, value in named_values(params) if value != ""])
            write(stream, "Go on? [y/N] ")
            answer = typed_answer()
            if answer is None:
                write(stream, "\nnobody to ask: add --yes\n")
        if answer is None or answer.strip().lower() not in ("y", "yes"):
            raise Declined(possible_changes(upcoming))

    return ask


def done_so_far(upcoming: Upcoming) -> str:
    """What a resumed run has changed, or may have changed, before the step that comes next."""
    found = possible_changes(upcoming)
    return f"This run was begun before. {told(found) if found else 'It has changed nothing so far.'}"


def possible_changes(upcoming: Upcoming) -> list[Change]:
    """What the run has changed, and the step that comes next where an earlier attempt of it had begun."""
    command, changes = upcoming.command, list(upcoming.changes)
    if upcoming.begun and command.step_id not in [change.step for change in changes]:
        changes.append(Change(command.step_id, command.action, "unknown", None))
    return changes


def _worth_reading(params: Mapping[str, Any]) -> dict[str, Any]:
    """Of a plan, what is to be decided; its breakdowns and its sample were there to be looked at before."""
    plan = params.get("plan")
    if not isinstance(plan, Mapping):
        return dict(params)
    return {**params, "plan": {name: plan[name] for name in OF_A_PLAN if name in plan}}


def never(upcoming: Upcoming) -> None:
    """Ask nothing: `--yes`."""


def can_answer() -> bool:
    """Whether somebody can type: at standard input, or at the terminal of this process. Never blocks."""
    if is_terminal(sys.stdin):
        return _in_foreground(sys.stdin)
    try:
        with Path(TERMINAL).open(encoding="utf-8") as terminal:
            return _in_foreground(terminal)
    except OSError:
        return False


def typed_answer() -> str | None:
    """Return what is typed at the terminal, even where standard input is a file. None where there is none."""
    if is_terminal(sys.stdin):
        return sys.stdin.readline()
    try:
        with Path(TERMINAL).open(encoding="utf-8") as terminal:
            return terminal.readline()
    except OSError:
        return None


def _in_foreground(terminal: TextIO) -> bool:
    # A job in the background would be stopped by the first read, without a word.
    try:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
