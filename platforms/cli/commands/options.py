"""The flags that commands share, and their help."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from core.errors import ParameterError
from platforms.cli.views.screen import MODES

PANEL = "Output"


class PlainCommand(TyperCommand):
    """A command whose help has one section per panel of flags."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                usual = "Options"
                if param.param_type_name == "argument":
                    # Typer adds the Python type to the name, which tells the user nothing.
                    usual, record = "Arguments", (param.metavar or record[0], record[1])
                panels.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        for title in sorted(panels, key=lambda panel: panel == PANEL):
            with formatter.section(title):
                formatter.write_dl(panels[title])


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

LOCAL, TEMPORAL = "local", "temporal"
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar=f"{LOCAL}|{TEMPORAL}",
        help="Where runs are: in the run store of this machine (local), or on a Temporal server.",
    ),
]


def is_temporal(engine: str) -> bool:
    """Return whether the engine is Temporal. Raises: ParameterError for an unknown engine."""
    if engine not in (LOCAL, TEMPORAL):
        raise ParameterError(f"--engine must be {LOCAL} or {TEMPORAL}", help="Nothing was run. Use one of them.")
    return engine == TEMPORAL
