"""The flags that commands share."""

from __future__ import annotations

from typing import Annotated, Any

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


def exit_status(text: str) -> Any:
    """Return the flag --exit-status with this help."""
    return Annotated[bool, typer.Option("--exit-status", help=text, rich_help_panel=PANEL)]


ExitStatus = Annotated[
    bool,
    typer.Option(
        "--exit-status",
        help="Exit 8 or 6 if the result is not complete. `cfes ACTION --help` says when.",
        rich_help_panel=PANEL,
    ),
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")]
