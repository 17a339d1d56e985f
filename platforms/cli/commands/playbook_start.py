"""`cfes playbook start`: start a run that workers carry out."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import ParameterError
from platforms import temporal_runs
from platforms.cli.commands import options
from platforms.cli.inputs.input_values import InputFlag, flags_of, inputs_of
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen
from playbooks import library


def start(
    name: Annotated[str, typer.Argument(metavar="ID_OR_PATH", help="A shipped playbook's ID, or a YAML file.")],
    documents: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="FILE|-", help="The alert, as for `cfes playbook run`."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE|@FILE", help="Another input, as for `cfes playbook run`."),
    ] = None,
    record: Annotated[
        int | None, typer.Option(metavar="N", help="Number of the alert to use, if the file has several.")
    ] = None,
    engine: options.Engine = options.TEMPORAL,
    output: options.Output = None,
) -> None:
    """Start a run on a Temporal server, and return at once. Workers carry it out: see `cfes worker`.

    Nobody is asked for confirmation. A playbook with a key has one run for each key: if that run is running or has
    completed, nothing is started.
    """
    screen = Screen(output)
    flags: list[InputFlag] = []  # filled once the playbook is read
    with report_errors(screen, flags):
        if not options.is_temporal(engine):
            raise ParameterError(
                "a run on this machine has no start",
                help="Nothing was started. Use `cfes playbook run`, or --engine temporal.",
            )
        playbook = library.find(name)
        flags += flags_of(playbook)
        notes: list[str] = []
        inputs = inputs_of(playbook, documents or (), settings or (), record=record, notes=notes)
        for note in notes:
            screen.say(note)
        started = temporal_runs.start(playbook, inputs)
        if screen.json:
            screen.write_json(started)
        news = "was started" if started["started"] else "exists already. Nothing was started"
        screen.say(f"The run {started['run_id']} {news}.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("start", cls=options.PlainCommand)(start)
