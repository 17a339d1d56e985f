"""Show errors: as a block for people, as the error document for programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

from actions.contract.ending import EndedBySignal, interrupted_code
from actions.contract.streams import ended_with
from core.errors import MISSING, PackError
from platforms.cli.inputs.flag_words import document_in_flags
from platforms.cli.inputs.flags import Named
from platforms.cli.views.palette import BAD, STRONG
from platforms.cli.views.screen import Screen


@dataclass(frozen=True)
class Interruption:
    """The text at Ctrl-C, and two commands to copy: to resume, and to cancel the job that still runs."""

    message: str = "Interrupted."
    resume: str | None = None
    cancel: str | None = None

    def show(self, screen: Screen) -> None:
        screen.say(self.message, STRONG)
        for what, command in (("resume", self.resume), ("cancel", self.cancel)):
            if command is not None:
                screen.command(what, command)


_CHANGED = {"no": "nothing", "unknown": "not known: a change may have been made", "yes": "yes"}

_UNKNOWN_NAMED = re.compile(r"unknown \w+ '")

# Sentences of a message or a help that repeat the line `changed: nothing`.
_REPEATS_CHANGED = re.compile(
    r"(?:Nothing was (?:changed|checked|sent|run|started|signed|listed|created|revoked)[^.]*|Nothing was written"
    r"|No job was created)\.\s*"
)


@contextmanager
def report_errors(
    screen: Screen, flags: Sequence[Named] = (), on_interrupt: Callable[[], Interruption] = Interruption
) -> Iterator[None]:
    """Show the error that the block raises, and turn it into an exit code.

    flags: those of the command, to name the flag that a problem is about. on_interrupt: makes the text for Ctrl-C.
    Raises: typer.Exit.
    """
    try:
        yield
    except PackError as error:
        show(screen, error, flags)
        raise typer.Exit(error.exit_code) from None
    except (KeyboardInterrupt, EndedBySignal) as ended:
        on_interrupt().show(screen)
        raise typer.Exit(interrupted_code(ended)) from None


def show(screen: Screen, error: PackError, flags: Sequence[Named] = ()) -> None:
    """Show an error: its document on standard output for programs, a block on standard error for people, or both."""
    ended_with(error)
    document = {"error": document_in_flags(error.document()["error"], flags)}
    if screen.json:
        screen.write_json(document)
    if screen.shows_errors:
        _show_block(screen, document["error"], error.exit_code)


def show_closing_error(screen: Screen, error: Mapping[str, Any], exit_code: int) -> None:
    """Show the block of the error that a run ended with. The run's own document has the error for programs."""
    if screen.shows_errors:
        _show_block(screen, error, exit_code)


def _show_block(screen: Screen, error: Mapping[str, Any], exit_code: int) -> None:
    problems = list(error.get("problems") or ())
    message, help_ = str(error.get("message") or ""), str(error.get("help") or "")
    if error.get("applied") == "no":
        message, help_ = (_REPEATS_CHANGED.sub("", text).strip() for text in (message, help_))
    # Where the message repeats each problem, show each problem once.
    if problems and all(problem["message"] in message for problem in problems):
        listed = _line(problems[0]) if len(problems) == 1 else f"{len(problems)} problems"
        message = _introduction(message, problems[0]) + listed
        problems = problems if len(problems) > 1 else []
    # A line break from a mailbox must not look like a line of this program.
    screen.say(f"{error.get('type') or 'Error'}: {' '.join(message.splitlines())}", BAD)
    for problem in problems:
        screen.say(f"  {_line(problem)}")
    api_errors = [f"{e.get('code', '')} {e.get('message', '')}".strip() for e in error.get("api_errors") or ()]
    wait = error.get("retry_after_seconds")
    facts = {
        "changed": _changed(error),
        "job": error.get("job_id"),
        "HTTP status": error.get("http_status"),
        "API error": "; ".join(api_errors),
        "ray ID": error.get("ray_id"),
        "retry after": f"{wait:g} s" if isinstance(wait, int | float) else None,
        "next": help_,
        "exit code": exit_code,
    }
    screen.facts([(name, value) for name, value in facts.items() if value not in (None, "")])


def _introduction(message: str, problem: Mapping[str, str]) -> str:
    """Return the text of a message before its first problem, such as the name of the file."""
    for where in (problem.get("flag"), problem["pointer"] or "/"):
        before, found, _ = message.partition(f"{where}: {problem['message']}")
        if found:
            return before
    return ""


def _line(problem: Mapping[str, str]) -> str:
    """Return a problem behind the flag that it is about. A text that names its flag or variable is not changed."""
    where, text = _where(problem), problem["message"]
    names_itself = text.startswith(f"{where} ") or _UNKNOWN_NAMED.match(text) or where.startswith("/connection/")
    if names_itself or where == "/" or (text.startswith("'") and "flag" not in problem):
        return text
    return f"{where} {text}" if text == MISSING else f"{where}: {text}"


def _where(problem: Mapping[str, str]) -> str:
    """Return the flag that a problem is about, and the place in the flag's value; or the place in the parameters."""
    pointer, flag = problem["pointer"] or "/", problem.get("flag")
    if not flag:
        return pointer
    # `/plan/search_params/sender` is in the file that --plan names.
    name = flag.removeprefix("--set ").removeprefix("--").partition("=")[0].replace("-", "_")
    within = pointer.partition(f"/{name}/")[2]
    return f"{flag} /{within}" if within else flag


def _changed(error: Mapping[str, Any]) -> str | None:
    answer = _CHANGED.get(str(error.get("applied")))
    steps = ", ".join(f"{change['step']} ({change['action']})" for change in error.get("changes") or ())
    return f"{answer}, in step {steps}" if answer and steps else answer
