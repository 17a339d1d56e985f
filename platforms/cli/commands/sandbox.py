"""`cfes sandbox`: start the sandbox."""

from __future__ import annotations

import importlib

import typer

from actions.contract.streams import bare_streams
from core.installation import command_to_add
from platforms.cli.errors import ExtraMissing

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    "sandbox",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def sandbox(context: typer.Context) -> None:
    """Start a fake Email Security API on this machine. See `cfes sandbox --help` for its flags."""
    require_extra()
    with bare_streams():
        raise typer.Exit(importlib.import_module("sandbox.cli").main(context.args, program="cfes sandbox"))


def require_extra() -> None:
    """Check that the packages of the sandbox are installed. Raises: ExtraMissing."""
    for name in ("fastapi", "uvicorn"):
        # find_spec is not enough: it also finds modules that None in sys.modules disables.
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise ExtraMissing(
                f"the sandbox needs {name}, which is not installed",
                help=f"Nothing was run. Add the extra `sandbox`: {command_to_add('sandbox')}",
            ) from None
