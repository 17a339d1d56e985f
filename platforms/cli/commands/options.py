"""The flags that every command has."""

from __future__ import annotations

from typing import Annotated

import typer

from platforms.cli.views.screen import MODES

PANEL = "Output"

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="|".join(MODES),
        help="What is written to standard output; auto: tables on a terminal, else JSON.",
        rich_help_panel=PANEL,
        autocompletion=lambda: list(MODES),
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log each call to standard error, on a terminal too.", rich_help_panel=PANEL),
]
Parameters = Annotated[
    str | None,
    typer.Option("--params", metavar="FILE|-", help="Parameters as one JSON object; flags override it."),
]
ExitStatus = Annotated[
    bool,
    typer.Option(
        "--exit-status",
        help="Exit 8 where not every message succeeded, 6 where the job has not ended.",
        rich_help_panel=PANEL,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
