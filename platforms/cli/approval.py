"""Asks the person at the terminal before a playbook's step changes mail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from actions.contract import Action
from connectors.errors import GuardrailRefusal
from platforms.cli.screen import Screen
from platforms.cli.tables import named_values

Ask = Callable[[Action[Any, Any], Mapping[str, Any]], None]


class Declined(Exception):
    """The person said no.

    No error of the pack on purpose: a playbook's `on_error` must not be able to go on after it.
    """


class NotApproved(GuardrailRefusal):
    """The run stands before the step that was not approved, and can be resumed."""


def asking(screen: Screen, away: Callable[[], AbstractContextManager[None]]) -> Ask:
    """A function that asks before each action that wants approval.

    Nobody is asked where nobody watches: whoever starts a run without a terminal has decided. `away` takes what is
    drawn on the terminal off it while the question stands.
    """

    def ask(action: Action[Any, Any], params: Mapping[str, Any]) -> None:
        if action.approval != "required" or not screen.watched:
            return
        with away():
            screen.say(f"{action.title} (effect at worst: {action.effect})", "bold")
            screen.facts([(name, value) for name, value in named_values(params) if value != ""])
            answer = _answer("Go on? [y/N] ")
        if answer is None or answer.strip().lower() not in ("y", "yes"):
            raise Declined

    return ask


def never(action: Action[Any, Any], params: Mapping[str, Any]) -> None:
    """Ask nothing: `--yes`."""


def _answer(question: str) -> str | None:
    """What is typed at the terminal, even where standard input is a file. None where there is none to type at."""
    sys.stderr.write(question)
    sys.stderr.flush()
    if sys.stdin.isatty():
        return sys.stdin.readline()
    try:
        with Path("/dev/tty").open(encoding="utf-8") as terminal:
            return terminal.readline()
    except OSError:
        sys.stderr.write("\nnobody to ask: add --yes\n")
        return None
