"""`cfes playbook`: run, list, show, check and test playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import ParameterError
from platforms.cli import plan_only as planning
from platforms.cli import playbook_run
from platforms.cli.commands import options, playbook_runs, playbook_start, playbook_temporal, playbook_test
from platforms.cli.inputs.input_values import InputFlag, flags_of, inputs_of, inputs_of_each
from platforms.cli.views.errors import report_errors
from platforms.cli.views.playbook import show_findings, show_list, show_playbook
from platforms.cli.views.screen import Screen
from platforms.playbook_checks import findings, require_sound
from playbooks import library
from playbooks.language.errors import PlaybookNotFound, RunNotFound

app = typer.Typer(
    name="playbook",
    help="Run playbooks (chains of actions, written in YAML), and list, resume, answer and cancel their runs.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)

playbook_start.register(app)


def _shipped() -> list[str]:
    return sorted(path.stem for path in library.FOLDER.glob("*.yaml"))


Name = Annotated[
    str,
    typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="A shipped playbook's ID, or a YAML file."),
]


@app.command(cls=options.PlainCommand)
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
            help="The alert: a file with a JSON object, a JSON array or NDJSON, plain or gzip. For a file with several "
            "alerts, add --record or --each. NAME=@FILE reads another input from a file.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE|@FILE",
            help="Another input; repeat the flag as needed. NAME=@FILE reads the value from a file (@-: standard "
            "input); use it for plans and approvals. NAME=@@TEXT gives the text @TEXT.",
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory for the run's files. [default: cfes-runs/RUN_ID]"),
    ] = None,
    record: Annotated[
        int | None, typer.Option(metavar="N", help="Number of the alert to use, if the file has several.")
    ] = None,
    each: Annotated[
        bool,
        typer.Option(
            "--each",
            help="Run the playbook once for each alert in the file. The exit code is the worst of all runs; from worst "
            "to best: 7, 1, 8, 5, 4, 6, 3, 2, 0.",
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Resume this run, as `cfes playbook resume RUN` does."),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Skip the confirmation before each step that changes mail. Required without a terminal."
        ),
    ] = False,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan-only",
            help="Stop before the first step that changes anything. Show what the step would do, and write its plan. "
            "Changes nothing and leaves no run.",
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="With --plan-only: a new file for the plan. [default: standard output]"),
    ] = None,
    exit_status: Annotated[
        bool,
        typer.Option(
            "--exit-status",
            help="Exit 8 unless the run's `outcome` is succeeded.",
            rich_help_panel=options.PANEL,
        ),
    ] = False,
    output: options.Output = None,
    verbose: options.Verbose = False,
) -> None:
    """Run a playbook.

    The command asks for confirmation before each step that changes mail. Without a terminal such a playbook needs
    --yes; otherwise it is not run (exit 2). The run saves its state after each step, so you can resume it with
    `cfes playbook resume`. A second start for the same alert follows the first run. A run that needs a signal, such as
    an approval, waits for it on a terminal; without one it ends with exit 6. If standard output is not a terminal, the
    run prints one JSON document: status, outputs, run_id, directory, error.
    """
    screen = Screen(output, verbose=verbose)
    flags: list[InputFlag] = []  # filled once the playbook is read
    terms = playbook_run.Terms(yes=yes, exit_status=exit_status, flags=flags)
    with report_errors(screen, flags):
        screen.configure_log()
        if resume is not None:
            alone = (name, documents, settings, directory, plan_only, out, record, each)
            if any(given not in (None, False, []) for given in alone):
                raise ParameterError(
                    "--resume can't be combined with inputs or other options",
                    help="Nothing was run. Leave them out: the run keeps the inputs that it began with.",
                )
            raise typer.Exit(playbook_run.resume(screen, resume, terms))
        if name is None:
            raise ParameterError(
                "no playbook is given",
                help=f"Nothing was run. Give the ID of a shipped playbook ({_known()}), a YAML file, or --resume RUN.",
            )
        if out is not None and not plan_only:
            raise ParameterError(
                "--out needs --plan-only", help="Nothing was run. Add --plan-only, or leave out --out."
            )
        if plan_only and directory is not None:
            raise ParameterError(
                "--directory can't be combined with --plan-only, which leaves no run",
                help="Nothing was run. Leave out --directory.",
            )
        if each and (plan_only or record is not None):
            raise ParameterError(
                "--each can't be combined with --plan-only or --record", help="Nothing was run. Leave them out."
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


@app.command("list", cls=options.PlainCommand)
def list_(output: options.Output = None) -> None:
    """List the shipped playbooks."""
    screen = Screen(output)
    with report_errors(screen):
        show_list(screen, library.available())


@app.command(cls=options.PlainCommand)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID_OR_PATH|RUN",
            autocompletion=_shipped,
            help="A shipped playbook's ID, a YAML file, or the ID of a run.",
        ),
    ],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Write only a Mermaid flowchart of the steps.")] = False,
    engine: options.Engine = options.LOCAL,
    output: options.Output = None,
) -> None:
    """Show a playbook's inputs, steps and outputs. Or show a run: its steps, its changes, and what it waits for."""
    screen = Screen(output)
    with report_errors(screen):
        if options.is_temporal(engine):
            playbook_temporal.show_run_of(screen, name)
            return
        try:
            playbook = library.find(name)
        except PlaybookNotFound as unknown:
            _show_run(screen, name, unknown)
        else:
            show_playbook(screen, playbook, mermaid=mermaid)


def _show_run(screen: Screen, name: str, unknown: PlaybookNotFound) -> None:
    """Show a run. Raises: PlaybookNotFound if the name is that of no run either."""
    if name.endswith((".yaml", ".yml")):
        raise unknown
    try:
        playbook_runs.show_run_of(screen, name)
    except RunNotFound as no_run:
        both = f"{unknown.message.rstrip('.')}. As a run: {no_run.message}"
        raise unknown.restate(both, help=f"{unknown.help} `cfes playbook runs` lists the runs.") from None


@app.command(cls=options.PlainCommand)
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="[default: all shipped playbooks]"),
    ] = None,
    output: options.Output = None,
) -> None:
    """Check playbooks without running them. List each problem and its place. Exit 2 if a playbook has an error."""
    screen = Screen(output)
    with report_errors(screen):
        found = {name: findings(name) for name in names or _shipped()}
        show_findings(screen, found)


app.command("test", cls=options.PlainCommand)(playbook_test.test)
playbook_runs.register(app)


def _say(screen: Screen, notes: list[str]) -> None:
    for note in notes:
        screen.say(note)


def _known() -> str:
    return ", ".join(_shipped())
