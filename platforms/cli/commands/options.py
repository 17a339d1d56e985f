"""The flags that commands share."""

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
        help="Output format. auto: tables on a terminal, JSON otherwise.",
        rich_help_panel=PANEL,
        autocompletion=lambda: list(MODES),
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log each API call to standard error.", rich_help_panel=PANEL),
]
Parameters = Annotated[
    str | None,
    typer.Option("--params", metavar="FILE|-", help="A file with the parameters as a JSON object. Flags override it."),
]
ExitStatus = Annotated[
    bool,
    typer.Option(
        "--exit-status",
        help="Exit 8 if some messages did not succeed, 6 if the job has not ended.",
        rich_help_panel=PANEL,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")]
