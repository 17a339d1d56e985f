"""What went wrong, told in the shape that the reader needs: a block for people, the error document for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from actions.ending import EndedBySignal
from actions.streams import ended_with
from connectors.errors import InternalError, PackError
from platforms.cli.parting import Parting
from platforms.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from platforms.cli.flags import Named

INTERRUPTED = 130  # the shell's convention for a process ended by SIGINT

_CHANGED = {"no": "nothing", "unknown": "not known: a change may have been made", "yes": "yes"}


@contextmanager
def told(screen: Screen, flags: Sequence[Named] = (), on_interrupt: Callable[[], Parting] = Parting) -> Iterator[None]:
    """Turn what the block raises into output and an exit code.

    flags: those of the command, to name the flag that a problem is about. on_interrupt: what to say at Ctrl-C.
    Raises: typer.Exit.
    """
    try:
        yield
    except PackError as error:
        show(screen, error, flags)
        raise typer.Exit(error.exit_code) from None
    except (KeyboardInterrupt, EndedBySignal) as ended:
        on_interrupt().say(screen)
        raise typer.Exit(interrupted_code(ended)) from None


def interrupted_code(ended: BaseException) -> int:
    """Return the exit code of a command that was interrupted, by Ctrl-C or by a signal."""
    return ended.code if isinstance(ended, EndedBySignal) and isinstance(ended.code, int) else INTERRUPTED


def show(screen: Screen, error: PackError, flags: Sequence[Named] = ()) -> None:
    """The error document on standard output for programs, a block on standard error for people; both if both look."""
    ended_with(error)
    document = error.document()
    problems = document["error"].get("problems", ())
    if flags and problems:
        document["error"]["problems"] = [_with_flag(problem, flags) for problem in problems]
    if screen.json:
        screen.write_json(document)
    if screen.tells_people:
        _block(screen, document["error"], error.exit_code)


def show_ending(screen: Screen, error: Mapping[str, Any], exit_code: int) -> None:
    """The block for people, of the error that a run ended with: its document is in the run's own."""
    if screen.tells_people:
        _block(screen, error, exit_code)


def defect(error: BaseException) -> InternalError:
    """What nobody foresaw, told by kind and place only: a message from deep inside may quote anything."""
    place, frame = "", error.__traceback__
    while frame is not None:
        place = f"{frame.tb_frame.f_code.co_qualname} line {frame.tb_lineno}"
        frame = frame.tb_next
    return InternalError(f"{type(error).__name__} in {place}")


def _with_flag(problem: Mapping[str, str], flags: Sequence[Named]) -> dict[str, str]:
    from platforms.cli.flags import flag_at  # noqa: PLC0415 -- only a command with flags has them to name

    flag = flag_at(flags, problem["pointer"])
    return dict(problem) if flag is None else {**problem, "flag": flag}


def _block(screen: Screen, error: Mapping[str, Any], exit_code: int) -> None:
    problems = error.get("problems") or ()
    message = str(error.get("message") or "")
    if problems and all(problem["message"] in message for problem in problems):
        message = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    screen.say(f"{error.get('type') or 'Error'}: {message}", "bold red")
    for problem in problems:
        named = problem.get("flag")
        where = f"{named} ({problem['pointer']})" if named else problem["pointer"] or "/"
        screen.say(f"  {where}: {problem['message']}")
    api_errors = [f"{e.get('code', '')} {e.get('message', '')}".strip() for e in error.get("api_errors") or ()]
    wait = error.get("retry_after_seconds")
    facts = {
        "changed": _changed(error),
        "job": error.get("job_id"),
        "HTTP": error.get("http_status"),
        "API says": "; ".join(api_errors),
        "ray ID": error.get("ray_id"),
        "again in": f"{wait:g} s" if isinstance(wait, int | float) else None,
        "next": error.get("help"),
        "exit": exit_code,
    }
    screen.facts([(name, value) for name, value in facts.items() if value not in (None, "")])


def _changed(error: Mapping[str, Any]) -> str | None:
    said = _CHANGED.get(str(error.get("applied")))
    steps = ", ".join(f"{change['step']} ({change['action']})" for change in error.get("changes") or ())
    return f"{said}, in step {steps}" if said and steps else said
