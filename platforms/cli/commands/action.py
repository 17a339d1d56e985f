"""The command of an action: its parameters as flags, its result as a table or as JSON."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from actions.contract import catalog
from actions.contract.action import Action
from actions.contract.streams import jobs_so_far
from core.errors import MISSING, ParameterError, Problem
from platforms.cli.commands import options
from platforms.cli.inputs.documents import read_object
from platforms.cli.inputs.flag_words import in_flags, result_in_flags
from platforms.cli.inputs.flags import FILES_ONLY, SPREAD, Flag, document, flags_of, is_file, typed
from platforms.cli.views.errors import Interruption, report_errors
from platforms.cli.views.screen import Screen

# Actions that take long and report their progress.
LONG_ACTIONS = ("wait-for-job", "export-job-messages")


# The flags of every action's command. No parameter of an action may have these names.
OWN = {"params": options.Parameters, "output": options.Output, "verbose": options.Verbose}


def app(action_id: str) -> typer.Typer:
    """Return the command. Raises: ParameterError for an unknown action."""
    action = catalog.find(action_id)
    flags = sorted(flags_of(action.params), key=lambda flag: (not flag.required, flag.path[:-1] != ()))

    def command(**given: Any) -> None:
        screen = Screen(given["output"], verbose=given["verbose"])
        call = _Call(action, given)
        with report_errors(screen, flags, call.interrupted):
            _run(call, flags, screen)

    signature = [_option(flag, flags) for flag in flags] + [_own(name, kind) for name, kind in OWN.items()]
    if _asks(action):
        signature.append(_own("yes", options.Yes))
    if action.verdict is not None:
        signature.append(_own("exit_status", options.exit_status(inspect.getdoc(action.verdict) or "")))
    command.__dict__["__signature__"] = inspect.Signature(signature)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(action.id, cls=options.PlainCommand, help=in_flags(_help(action, flags), flags))(command)
    return single


@dataclass
class _Call:
    """One call of an action. params: those read so far. begun: the call may have changed something."""

    action: Action[Any, Any]
    given: Mapping[str, Any]
    params: dict[str, Any] = field(default_factory=dict)
    begun: bool = False

    def interrupted(self) -> Interruption:
        if not self.begun:
            return Interruption("Interrupted. Nothing was changed.")
        return interrupted(self.action, self.params, self.given)


def _run(call: _Call, flags: Sequence[Flag], screen: Screen) -> None:
    screen.configure_log()
    action, given = call.action, call.given
    base = read_object(given["params"], "--params") if given["params"] is not None else {}
    call.params, problems = document(flags, given, base)
    if problems:
        raise ParameterError(problems=problems + _other_problems(action, call.params, problems))
    params = call.params
    if _asks(action) and not given["yes"] and (screen.watched or screen.on_terminal):
        from platforms.cli.confirmation import confirm_call  # noqa: PLC0415 -- brings the engine of playbooks

        params = confirm_call(screen, action, params)
    call.begun = True
    with watching(screen, action):
        result = action.run(params)
    if screen.json:
        screen.write_json(result)
    else:
        from platforms.cli.views.result import show_result  # noqa: PLC0415 -- tables only on a terminal

        show_result(screen, action.id, result_in_flags(result, flags))
    if given.get("exit_status") and action.verdict is not None:
        raise typer.Exit(action.verdict(result))


def _other_problems(action: Action[Any, Any], params: Mapping[str, Any], known: Sequence[Problem]) -> list[Problem]:
    """Return the other problems of the parameters, so that all are reported at once.

    If the plan can't be read, missing parameters are not reported: the plan may have them.
    """
    try:
        action.check(params)
    except ParameterError as error:
        places = {problem["pointer"] for problem in known}
        others = [problem for problem in error.problems if problem["pointer"] not in places]
        return [one for one in others if "/plan" not in places or one["message"] != MISSING]
    return []


def watching(screen: Screen, action: Action[Any, Any]) -> AbstractContextManager[None]:
    """Show a progress bar during an action that takes long."""
    if not screen.live or action.id not in LONG_ACTIONS:
        return nullcontext()
    from platforms.cli.views.progress_bar import shown_for  # noqa: PLC0415 -- only on a terminal

    return shown_for(screen, action.title)


def interrupted(
    action: Action[Any, Any], params: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> Interruption:
    """Return the text for Ctrl-C during the action. given: the flags as typed."""
    job_id = params.get("job_id")
    if action.id in LONG_ACTIONS and job_id:
        return Interruption(
            f"Interrupted. Job {job_id} may still be running in Cloudflare.{_files_to_write(params, given)}",
            resume=shlex.join(["cfes", action.id, *typed(flags_of(action.params), params, given)]),
            cancel=shlex.join(["cfes", "cancel-job", "--job-id", str(job_id)]),
        )
    if action.effect == "read":
        return Interruption("Interrupted. Nothing was changed.")
    made = jobs_so_far()
    if made:
        # A create polls its new job for a while, so the job is known here.
        return Interruption(
            f"Interrupted. Job {made[-1]} may still be running in Cloudflare.",
            resume=shlex.join(["cfes", "wait-for-job", "--job-id", made[-1]]),
            cancel=shlex.join(["cfes", "cancel-job", "--job-id", made[-1]]),
        )
    advice = "Check before you run it again: cfes list-jobs"
    if params.get("idempotency_key"):
        advice = "You can safely run it again with the same --idempotency-key: it reuses an existing job."
    return Interruption(f"Interrupted. A change may have been made. {advice}")


def _files_to_write(params: Mapping[str, Any], given: Mapping[str, Any] | None) -> str:
    """Name the files that the resume command reads and that do not exist yet."""
    typed_as = given or {}
    names = [name for name in FILES_ONLY if params.get(name) and not is_file(typed_as.get(name))]
    return "".join(f" Save the {name} as {name}.json first." for name in names)


def _asks(action: Action[Any, Any]) -> bool:
    return action.approval == "required"


def _help(action: Action[Any, Any], flags: Sequence[Flag]) -> str:
    documented = inspect.getmodule(action.function)
    text = (documented.__doc__ or "").strip() if documented else ""
    names = " and ".join(f"'{permission}'" for permission in action.permissions)
    needs = f"Requires the API token permission{'s' if len(action.permissions) > 1 else ''} {names}." if names else ""
    effect = f"Maximum impact: {action.effect}. {needs}".strip()
    return "\n\n".join(
        part for part in (text or action.title, effect, _when_it_asks(flags) if _asks(action) else "") if part
    )


def _when_it_asks(flags: Sequence[Flag]) -> str:
    names = {flag.name for flag in flags}
    given = ["--yes", *(option for option in ("--plan", "--max-messages") if option[2:].replace("-", "_") in names)]
    listed = " or ".join(part for part in (", ".join(given[:-1]), given[-1]) if part)
    dry_run = ", or it is a dry run" if "dry_run" in names else ""
    return (
        f"On a terminal the command previews the change and asks for confirmation, unless you give {listed}{dry_run}. "
        "Without a terminal it never asks."
    )


def _option(flag: Flag, flags: Sequence[Flag]) -> inspect.Parameter:
    declared = f"{flag.option}/--no-{flag.option[2:]}" if flag.kind == "boolean" else flag.option
    option = typer.Option(
        declared,
        help=in_flags(flag.help, flags),
        metavar=flag.metavar or None,
        hidden=flag.deprecated,
        show_default=False,
        rich_help_panel="Search (messages must match all of these)" if flag.path[0] == SPREAD else "Options",
        autocompletion=_completing(flag.choices) if flag.choices else None,
    )
    kind = bool | None if flag.kind == "boolean" else str | None
    return inspect.Parameter(
        flag.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=None
    )


def _completing(choices: Sequence[str]) -> Callable[[], list[str]]:
    return lambda: list(choices)


def _own(name: str, kind: Any) -> inspect.Parameter:
    default = None if name in ("params", "output") else False
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
