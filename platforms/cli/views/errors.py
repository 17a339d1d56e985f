"""What went wrong, told in the shape that the reader needs: a block for people, the error document for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from actions.contract.ending import EndedBySignal, interrupted_code
from actions.contract.streams import ended_with
from core.errors import NOTHING_CHANGED, InternalError, PackError
from platforms.cli.inputs.flag_words import document_in_flags
from platforms.cli.views.palette import BAD
from platforms.cli.views.parting import Parting
from platforms.cli.views.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from platforms.cli.inputs.flags import Named

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


def show(screen: Screen, error: PackError, flags: Sequence[Named] = ()) -> None:
    """The error document on standard output for programs, a block on standard error for people; both if both look."""
    ended_with(error)
    document = {"error": document_in_flags(error.document()["error"], flags)}
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


def _block(screen: Screen, error: Mapping[str, Any], exit_code: int) -> None:
    problems = list(error.get("problems") or ())
    message, help_ = str(error.get("message") or ""), str(error.get("help") or "")
    if error.get("applied") == "no":
        # The line `changed` says it.
        message, help_ = (NOTHING_CHANGED.sub("", text).strip() for text in (message, help_))
    # The message names each problem too: one reason is told once.
    if problems and all(problem["message"] in message for problem in problems):
        message = _line(problems[0]) if len(problems) == 1 else f"{len(problems)} problems"
        problems = problems if len(problems) > 1 else []
    screen.say(f"{error.get('type') or 'Error'}: {message}", BAD)
    for problem in problems:
        screen.say(f"  {_line(problem)}")
    api_errors = [f"{e.get('code', '')} {e.get('message', '')}".strip() for e in error.get("api_errors") or ()]
    wait = error.get("retry_after_seconds")
    facts = {
        "changed": _changed(error),
        "job": error.get("job_id"),
        "HTTP": error.get("http_status"),
        "API says": "; ".join(api_errors),
        "ray ID": error.get("ray_id"),
        "again in": f"{wait:g} s" if isinstance(wait, int | float) else None,
        "next": help_,
        "exit": exit_code,
    }
    screen.facts([(name, value) for name, value in facts.items() if value not in (None, "")])


def _line(problem: Mapping[str, str]) -> str:
    """Return a problem behind the flag that it is about; a text that names its flag or variable stays as it is."""
    from actions.contract.action import MISSING  # noqa: PLC0415 -- brings pydantic

    where, text = _where(problem), problem["message"]
    names_itself = text.startswith((f"{where} ", "unknown ")) or where.startswith("/connection/")
    if names_itself:
        return text
    return f"{where} {text}" if text == MISSING else f"{where}: {text}"


def _where(problem: Mapping[str, str]) -> str:
    """Return the flag that a problem is about, and the place in what it gives; or the place in the parameters."""
    pointer, flag = problem["pointer"] or "/", problem.get("flag")
    if not flag:
        return pointer
    # `/plan/search_params/sender` is in the file that --plan names.
    name = flag.removeprefix("--set ").removeprefix("--").partition("=")[0].replace("-", "_")
    within = pointer.partition(f"/{name}/")[2]
    return f"{flag} /{within}" if within else flag


def _changed(error: Mapping[str, Any]) -> str | None:
    said = _CHANGED.get(str(error.get("applied")))
    steps = ", ".join(f"{change['step']} ({change['action']})" for change in error.get("changes") or ())
    return f"{said}, in step {steps}" if said and steps else said
