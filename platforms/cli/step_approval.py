"""Ask the person at the terminal before a playbook's step changes mail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

from rich.console import Console

from actions.contract import catalog
from actions.contract.action import Action
from core.errors import OutcomeUnknown, PackError
from core.text import visible
from platforms.cli.errors import NobodyToAsk, NotApproved
from platforms.cli.inputs.flag_words import result_in_flags
from platforms.cli.inputs.flags import Named
from platforms.cli.preview import Previews, bind_parameters, show_preview
from platforms.cli.views.layout import broken, facts, paragraph, width_of
from platforms.cli.views.palette import STRONG, WARNING
from platforms.cli.views.plan import effect_of
from platforms.cli.views.screen import Screen, is_terminal, write
from platforms.cli.views.tables import named_values
from playbooks.drivers.drive import Upcoming
from playbooks.engine.changes import Change, certain_change, job_of, sentence_of
from playbooks.language.format import ActionStep, Step

# The controlling terminal of a process, even if its streams are redirected. A process of cron has none.
TERMINAL = "/dev/tty"

BEFORE_IT = "The run stopped before this step."


class Declined(Exception):
    """The person answered no.

    Not an error of the pack, so that a playbook's `on_error` can't continue the run.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        super().__init__()
        self.changes = changes


def not_approved(run_id: str, changes: Sequence[Change]) -> NotApproved:
    """Return the error for a run that stopped before a step. changes: those of the run so far."""
    before = f"{sentence_of(changes)} The run stopped before the step that was not approved." if changes else BEFORE_IT
    error = NotApproved(
        "you did not approve the step, so it did not run",
        help=f"{before} To resume: {resuming(run_id)}",
        applied=certain_change(changes),
        job_id=job_of(changes),
    )
    if changes:
        # The exit code of a refusal would say that nothing was changed.
        error.exit_code = OutcomeUnknown.exit_code
    return error


def require_person(screen: Screen, steps: Sequence[Step], *, begun: str | None = None) -> None:
    """Check that somebody can confirm the steps that need it. begun: the ID of a resumed run. Raises: NobodyToAsk."""
    need_answer = [s for s in steps if isinstance(s, ActionStep) and catalog.find(s.action).asks_first(s.with_)]
    if need_answer and not can_ask(screen):
        step = need_answer[0]
        raise NobodyToAsk(
            f"step {step.id!r} ({step.action}) needs a confirmation before it changes anything, and there is no "
            "terminal to ask on",
            help=None if begun is None else f"Nothing was run. To skip the question: {resuming(begun)} --yes",
        )


def can_ask(screen: Screen) -> bool:
    """Return whether a person sees the output and can type an answer."""
    return (screen.watched or screen.on_terminal) and can_answer()


def resuming(run_id: str) -> str:
    """Return the command that resumes a run."""
    return f"cfes playbook resume {run_id}"


class Gate:
    """Passes each action of a run before it begins. This gate lets every action pass.

    thinking: the seconds that a person took to answer, by step.
    """

    def __init__(self) -> None:
        self.thinking: dict[str, float] = {}

    def __call__(self, upcoming: Upcoming) -> None:
        """Let the action pass, or raise: the run then stays before it."""

    def bind(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters to run the action with."""
        return params

    def result_without_running(self, action: Action[Any, Any]) -> dict[str, Any] | None:  # noqa: ARG002 -- for subclasses
        """Return the result of an action that is not run; None for an action that is."""
        return None


class AskingGate(Gate):
    """Asks for confirmation before each action that needs it, once per step.

    An action that has already begun in this process was confirmed here, and runs again without a question. In a
    `resumed` run somebody else may have confirmed it, so the gate always asks before the first step, and shows what the
    run has done so far. `require_person` refuses a run that could not ask. `away` clears the progress line while the
    question waits. flags: the flags of the playbook's inputs.
    """

    def __init__(
        self,
        screen: Screen,
        away: Callable[[], AbstractContextManager[None]],
        previews: Previews,
        thinking: dict[str, float],
        *,
        resumed: bool,
        flags: Sequence[Named] = (),
    ) -> None:
        self.thinking = thinking
        self._screen = screen
        self._flags = flags
        self._away = away
        self._previews = previews
        self._first = resumed
        self._asked: Mapping[str, Any] | None = None
        self._bound: dict[str, Any] = {}

    def __call__(self, upcoming: Upcoming) -> None:
        action, params = catalog.find(upcoming.command.action), upcoming.command.params
        if (upcoming.begun and not self._first) or not action.asks_first(params):
            return
        console = console_of(self._screen)
        with self._away():
            if self._first:
                paragraph(console, done_so_far(upcoming))
            self._first = False
            paragraph(console, f"Step {upcoming.path}: {action.title}", STRONG)
            shown = self._preview(console, action, params)
            to_run = bind_parameters(action, params, shown)
            if shown is None:
                facts(console, [(name, value) for name, value in named_values(params) if value != ""])
            else:
                show_preview(self._screen, console, result_in_flags(shown, self._flags), to_run)
            asked = monotonic()
            agreed = agrees(self._screen, effect_of(action, shown))
            step = upcoming.path
            self.thinking[step] = self.thinking.get(step, 0.0) + monotonic() - asked
            if not agreed:
                raise Declined(possible_changes(upcoming))
        self._asked, self._bound = params, to_run

    def bind(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters for a step. After a confirmation they limit the step to what was shown."""
        return self._bound if params == self._asked else params

    def _preview(self, console: Console, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return self._previews.of(action, params)
        except PackError as error:
            paragraph(console, f"The preview failed: {error.message}", WARNING)
            return None


def done_so_far(upcoming: Upcoming) -> str:
    """Describe what a resumed run has changed, or may have changed, so far."""
    found = possible_changes(upcoming)
    return f"Resuming a run. {sentence_of(found) if found else 'The run has changed nothing so far.'}"


def possible_changes(upcoming: Upcoming) -> list[Change]:
    """Return the run's changes, and the next step if an earlier attempt of it has begun."""
    command, changes = upcoming.command, list(upcoming.changes)
    if upcoming.begun and upcoming.path not in [change.step for change in changes]:
        changes.append(Change(upcoming.path, command.action, "unknown", None))
    return changes


def console_of(screen: Screen) -> Console:
    """Return the console that shows a question."""
    return screen.err if screen.watched else screen.out


def agrees(screen: Screen, effect: str) -> bool:
    """Ask for confirmation. Only y and yes confirm; the end of the input does not. effect: one line."""
    stream = sys.stderr if screen.watched else sys.stdout
    question = broken(f"{visible(effect)}. Continue? [y/N]", width_of(console_of(screen)))
    write(stream, "\n".join(question) + " ")
    answer = typed_answer()
    if answer is None or not answer.endswith("\n"):
        write(stream, "\n")
    return answer is not None and answer.strip().lower() in ("y", "yes")


def can_answer() -> bool:
    """Return whether somebody can type, on standard input or on this process's terminal. Never blocks."""
    return in_foreground() is True


def in_foreground() -> bool | None:
    """Return whether this process is in the foreground of its terminal; None without a terminal."""
    if is_terminal(sys.stdin):
        return _runs_in_foreground_of(sys.stdin)
    try:
        with Path(TERMINAL).open(encoding="utf-8") as terminal:
            return _runs_in_foreground_of(terminal)
    except OSError:
        return None


def typed_answer() -> str | None:
    """Read a line from the terminal, even if standard input is a file. None if nothing can be read."""
    try:
        if is_terminal(sys.stdin):
            return sys.stdin.readline()
        with Path(TERMINAL).open(encoding="utf-8", errors="replace") as terminal:
            return terminal.readline()
    except (OSError, UnicodeDecodeError):
        return None


def _runs_in_foreground_of(terminal: TextIO) -> bool:
    # The shell would stop a background job at its first read, without a message.
    try:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
