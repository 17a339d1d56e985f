"""`cfes worker`: carry out the runs of a Temporal task queue."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from connectors.connection import Connection
from platforms.cli.commands import options
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen
from platforms.temporal_extra import require_temporal

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("worker", cls=options.PlainCommand)
def worker(
    actions: Annotated[
        int, typer.Option("--actions", min=1, max=200, metavar="N", help="Number of actions to run at the same time.")
    ] = 8,
    verbose: options.Verbose = False,
) -> None:
    """Carry out the runs of a Temporal task queue, until Ctrl-C or SIGTERM.

    The settings are CFES_TEMPORAL_ADDRESS, CFES_TEMPORAL_NAMESPACE and CFES_TEMPORAL_TASK_QUEUE, and those of the
    actions, such as CLOUDFLARE_API_TOKEN. Before it ends, the worker finishes the actions that have begun. Other
    workers continue its runs.
    """
    screen = Screen("json", verbose=verbose)
    with report_errors(screen):
        screen.configure_log()
        require_temporal()
        from platforms.temporal_worker import work  # noqa: PLC0415 -- the extra
        from playbooks.drivers.temporal.settings import TemporalSettings  # noqa: PLC0415 -- the extra

        settings = TemporalSettings.from_environment(os.environ)
        # A worker without credentials would fail every run.
        Connection.from_environment()
        ready = f"Working on the task queue {settings.task_queue} of {settings.address}. Ctrl-C stops the worker."
        asyncio.run(work(settings, actions, lambda: screen.say(ready)))
