"""`cfes playbook`: run, list, show and check playbooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.errors import ParameterError, Problem
from platforms.cli import options, playbook_run
from platforms.cli.commands import PlainCommand
from platforms.cli.documents import read_record
from platforms.cli.failures import told
from platforms.cli.playbook_checks import findings, require_sound
from platforms.cli.playbook_view import show_findings, show_list, show_playbook
from platforms.cli.screen import Screen
from playbooks import library
from playbooks.format import Playbook
from playbooks.inputs import from_text
from playbooks.plain_json import below

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


@dataclass(frozen=True)
class InputFlag:
    """The flag that gives one of a playbook's inputs."""

    option: str
    pointer: str


@app.command(cls=PlainCommand)
def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="ID_OR_PATH", autocompletion=_shipped, help="A shipped playbook's ID, or a YAML file."),
    ] = None,
    alert: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE|-", help="The alert: one JSON object, or one line of NDJSON."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another input; as often as needed.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the journal and the files go. [default: cfes-runs/ID-TIME-RANDOM]"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the run in this directory; give nothing else.")
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask before a step changes mail. Without a terminal nobody is asked."),
    ] = False,
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

    Every step is journalled: what is interrupted can be resumed. When standard output is no terminal, the closing
    document goes there: status, outputs, run_id, directory, error.
    """
    screen = Screen(output, verbose=verbose)
    terms = playbook_run.Terms(yes=yes, exit_status=exit_status)
    flags: list[InputFlag] = []  # filled when it is known which playbook is meant
    with told(screen, flags):
        screen.configure_log()
        if resume is not None:
            if name is not None or alert is not None or settings or directory is not None:
                raise ParameterError(
                    "--resume goes on with what the run was given: leave out everything else", help="Nothing was run."
                )
            raise typer.Exit(playbook_run.resume(screen, resume, terms))
        if name is None:
            raise ParameterError("which playbook? Give an ID or a YAML file, or --resume DIR", help=_known())
        playbook = library.find(name)
        flags += _flags(playbook)
        require_sound(playbook)
        inputs = inputs_of(playbook, alert, settings or ())
        raise typer.Exit(playbook_run.begin(screen, playbook, inputs, directory, terms))


@app.command("list", cls=PlainCommand)
def list_(output: options.Output = None) -> None:
    """List the playbooks that come with the pack."""
    screen = Screen(output)
    with told(screen):
        show_list(screen, library.available())


@app.command(cls=PlainCommand)
def show(name: Name, output: options.Output = None) -> None:
    """Show a playbook's inputs, steps and outputs."""
    screen = Screen(output)
    with told(screen):
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
    with told(screen):
        found = {name: findings(name) for name in names or _shipped()}
        show_findings(screen, found)


def inputs_of(
    playbook: Playbook, document: str | None, settings: Sequence[str], *, option: str = "--input"
) -> dict[str, Any]:
    """The inputs as they were given; `option` is the one that gave the document. Raises: ParameterError."""
    inputs: dict[str, Any] = {}
    if document is not None:
        if playbook.primary_input is None:
            raise ParameterError(f"playbook {playbook.id} takes no {option}; its inputs are given by --set")
        inputs[playbook.primary_input] = read_record(document, option)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            message = f"--set {setting[:100]!r} is not NAME=VALUE"
            raise ParameterError(problems=[Problem(pointer="", message=message)])
        if name in inputs:
            twice = f"{option} and --set" if name == playbook.primary_input and document is not None else "--set"
            message = f"is given more than once, by {twice}"
            raise ParameterError(problems=[Problem(pointer=below("", name), message=message)])
        inputs[name] = from_text(playbook, name, text)
    return inputs


def _flags(playbook: Playbook) -> list[InputFlag]:
    options_of: Mapping[str, str] = {name: f"--set {name}=…" for name in playbook.inputs}
    primary = playbook.primary_input
    return [InputFlag("--input" if name == primary else option, f"/{name}") for name, option in options_of.items()]


def _known() -> str:
    return f"Shipped are: {', '.join(_shipped()) or 'none'}."
