"""`cfes playbook`: run, list, show and check playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import ParameterError
from platforms.cli import plan_only as planning
from platforms.cli import playbook_run
from platforms.cli.command_list import PlainCommand
from platforms.cli.commands import options
from platforms.cli.inputs.input_values import InputFlag, flags_of, inputs_of, inputs_of_each
from platforms.cli.views.errors import report_errors
from platforms.cli.views.playbook import show_findings, show_list, show_playbook
from platforms.cli.views.screen import Screen
from platforms.playbook_checks import findings, require_sound
from playbooks import library

app = typer.Typer(
    name="playbook",
    help="Run, list, show and check playbooks: chains of actions as YAML.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _shipped() -> list[str]:
    return sorted(path.stem for path in library.FOLDER.glob("*.yaml"))


Name = Annotated[
    str,
    typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="A shipped playbook's ID, or a YAML file."),
]


@app.command(cls=PlainCommand)
def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="A shipped playbook's ID, or a YAML file."),
    ] = None,
    documents: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|-",
            help="The alert: a file with a JSON object, an array or NDJSON, gzip or not. See --record and --each for a "
            "file with several. NAME=@FILE reads another input.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE|@FILE",
            help="Another input; as often as needed. NAME=@FILE reads it from a file (@-: standard input), as JSON or "
            "as text by the input's type: use it for plans and approvals. NAME=@@TEXT is the text @TEXT.",
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the journal and the files go. [default: cfes-runs/ID-TIME-RANDOM]"),
    ] = None,
    record: Annotated[
        int | None, typer.Option(metavar="N", help="Which record of the alert's file is meant, where it holds several.")
    ] = None,
    each: Annotated[
        bool,
        typer.Option(
            "--each",
            help="One run for each record of the alert's file, one after the other. The exit code is the worst: "
            "7, 1, 8, 5, 4, 6, 3, 2, 0 in this order.",
        ),
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Resume the run in this directory; give no inputs.")
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask before a step changes mail. Required where no terminal is."),
    ] = False,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan-only",
            help="Stop before the first step that changes anything, show what it would do, and write its plan. Asks "
            "nothing and leaves no run.",
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-", help="With --plan-only: a new file for the plan; else it goes to standard output."
        ),
    ] = None,
    exit_status: Annotated[
        bool,
        typer.Option(
            "--exit-status",
            help="Exit 8 unless the run's output `outcome` is succeeded.",
            rich_help_panel=options.PANEL,
        ),
    ] = False,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> None:
    """Run a playbook.

    Asks before each step that changes mail. Where there is no terminal to ask at, a playbook with such a step needs
    --yes: without it nothing is run (exit 2). Every step is journalled: an interrupted run can be resumed. Where
    standard output is not a terminal, the closing document goes there: status, outputs, run_id, directory, error.
    """
    screen = Screen(output, verbose=verbose)
    flags: list[InputFlag] = []  # filled when it is known which playbook is meant
    terms = playbook_run.Terms(yes=yes, exit_status=exit_status, flags=flags)
    with report_errors(screen, flags):
        screen.configure_log()
        if resume is not None:
            alone = (name, documents, settings, directory, plan_only, out, record, each)
            if any(given not in (None, False, []) for given in alone):
                raise ParameterError(
                    "--resume keeps the inputs that the run began with: leave out everything else",
                    help="Nothing was run.",
                )
            raise typer.Exit(playbook_run.resume(screen, resume, terms))
        if name is None:
            raise ParameterError("which playbook? Give an ID or a YAML file, or --resume DIR", help=_known())
        if out is not None and not plan_only:
            raise ParameterError("--out is for --plan-only", help="Nothing was run.")
        if plan_only and directory is not None:
            raise ParameterError("--plan-only leaves no run: leave out --directory", help="Nothing was run.")
        if each and (plan_only or record is not None):
            raise ParameterError(
                "--each runs every record: leave out --plan-only and --record", help="Nothing was run."
            )
        playbook = library.find(name)
        flags += flags_of(playbook)
        require_sound(playbook)
        notes: list[str] = []
        if each:
            every = inputs_of_each(playbook, documents or (), settings or (), notes)
            _say(screen, notes)
            raise typer.Exit(playbook_run.begin_each(screen, playbook, every, directory, terms))
        inputs = inputs_of(playbook, documents or (), settings or (), record=record, notes=notes)
        _say(screen, notes)
        if plan_only:
            raise typer.Exit(planning.plan_only(screen, playbook, inputs, out, terms))
        raise typer.Exit(playbook_run.begin(screen, playbook, inputs, directory, terms))


@app.command("list", cls=PlainCommand)
def list_(output: options.Output = None) -> None:
    """List the playbooks that come with the pack."""
    screen = Screen(output)
    with report_errors(screen):
        show_list(screen, library.available())


@app.command(cls=PlainCommand)
def show(name: Name, output: options.Output = None) -> None:
    """Show a playbook's inputs, steps and outputs."""
    screen = Screen(output)
    with report_errors(screen):
        show_playbook(screen, library.find(name))


@app.command(cls=PlainCommand)
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="[default: all that are shipped]"),
    ] = None,
    output: options.Output = None,
) -> None:
    """Check playbooks without running them: exit 2 where one has an error, with each problem and its place."""
    screen = Screen(output)
    with report_errors(screen):
        found = {name: findings(name) for name in names or _shipped()}
        show_findings(screen, found)


def _say(screen: Screen, notes: list[str]) -> None:
    for note in notes:
        screen.say(note)


def _known() -> str:
    return f"Shipped are: {', '.join(_shipped()) or 'none'}."
