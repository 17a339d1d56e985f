"""`cfes run`: run an action with JSON parameters, as the process protocol defines: same documents and exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

from actions.contract import catalog
from actions.contract.streams import require_reader
from core.errors import ParameterError
from platforms import served_actions
from platforms.cli.commands import options
from platforms.cli.commands.action import interrupted, watching
from platforms.cli.inputs.documents import read_object
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("run", cls=options.PlainCommand)
def run(
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            autocompletion=lambda: [*catalog.titles(), served_actions.ADVANCE_RUN],
            help="The action's ID, such as create-move-job.",
        ),
    ],
    params: Annotated[
        str,
        typer.Option(
            "--params", metavar="FILE|-", help="A file with the parameters as one JSON object; - reads standard input."
        ),
    ] = "-",
    exit_status: options.ExitStatus = False,
    verbose: options.Verbose = False,
) -> None:
    """Run an action with its parameters as JSON, for scripts and schedulers.

    Writes one JSON document to standard output: the result or the error.
    """
    screen = Screen("json", verbose=verbose)
    given: dict[str, object] = {}
    require_reader()
    with report_errors(screen, on_interrupt=lambda: interrupted(served_actions.find(action), given)):
        screen.configure_log()
        found = served_actions.find(action)
        if exit_status and found.verdict is None:
            raise ParameterError(f"--exit-status does not apply to {found.id}", help="Nothing was sent.")
        given.update(read_object(params, "--params"))
        with watching(screen, found):
            result = found.run(given)
        screen.write_json(result)
        if exit_status and found.verdict is not None:
            raise typer.Exit(found.verdict(result))
