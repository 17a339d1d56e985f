"""Asks the person at the terminal before a playbook's step changes mail."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from connectors.errors import GuardrailRefusal, OutcomeUnknown
from platforms.cli.action_index import load
from platforms.cli.screen import Screen, is_terminal, safe, write
from platforms.cli.tables import facts, named_values
from playbooks.changes import Change, job_of, surest, told
from playbooks.local import BeforeAction, Upcoming

OF_A_PLAN = ("action", "destination", "search_params", "messages", "recipients", "malicious", "warnings", "plan_hash")

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


def resuming(directory: Path) -> str:
    """The command that goes on with a run."""
    return f"cfes playbook run --resume {shlex.quote(str(directory))}"


def asking(screen: Screen, away: Callable[[], AbstractContextManager[None]]) -> BeforeAction:
    """A function that asks before each action that wants approval, once a step.

    A step whose action has begun was approved, or begun where nobody watched: what it may have changed can't be
    declined any more, and to run it again is how it is found out. Nobody is asked where neither output is a terminal:
    whoever starts a run there has decided. `away` takes what is drawn on the terminal off it while the question stands.
    """

    def ask(upcoming: Upcoming) -> None:
        action = load(upcoming.command.action)
        if action.approval != "required" or upcoming.begun or not (screen.watched or screen.on_terminal):
            return
        stream, console = (sys.stderr, screen.err) if screen.watched else (sys.stdout, screen.out)
        with away():
            console.print(safe(f"{action.title} (effect at worst: {action.effect})", "bold"))
            params = _worth_reading(upcoming.command.params)
            facts(console, [(name, value) for name, value in named_values(params) if value != ""])
            write(stream, "Go on? [y/N] ")
            answer = typed_answer()
            if answer is None:
                write(stream, "\nnobody to ask: add --yes\n")
        if answer is None or answer.strip().lower() not in ("y", "yes"):
            raise Declined(upcoming.changes)

    return ask


def _worth_reading(params: Mapping[str, Any]) -> dict[str, Any]:
    """Of a plan, what is to be decided; its breakdowns and its sample were there to be looked at before."""
    plan = params.get("plan")
    if not isinstance(plan, Mapping):
        return dict(params)
    return {**params, "plan": {name: plan[name] for name in OF_A_PLAN if name in plan}}


def never(upcoming: Upcoming) -> None:
    """Ask nothing: `--yes`."""


def typed_answer() -> str | None:
    """What is typed at the terminal, even where standard input is a file. None where there is none to type at."""
    if is_terminal(sys.stdin):
        return sys.stdin.readline()
    try:
        with Path("/dev/tty").open(encoding="utf-8") as terminal:
            return terminal.readline()
    except OSError:
        return None
