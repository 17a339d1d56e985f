"""Run a command and turn its end into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

from actions.contract.ending import INTERRUPTED
from core.errors import InternalError, PackError, ParameterError
from platforms.cli.command_list import app
from platforms.cli.views.errors import show
from platforms.cli.views.screen import Screen

# Typer has moved its base classes between versions; this one still inherits from them.
_COMMAND_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Never raises."""
    try:
        code = app(list(arguments), prog_name="cfes", standalone_mode=False)
    except SystemExit as ended:
        code = ended.code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except PackError as error:
        code = _failed(error)
    except _COMMAND_ERROR as error:
        code = _misused(error)
    except Exception as error:  # noqa: BLE001 -- an unexpected exception is reported without a traceback
        code = _failed(InternalError.of(error))
    return code if isinstance(code, int) else 0


def _failed(error: PackError) -> int:
    show(Screen(), error)
    return error.exit_code


def _misused(error: Any) -> int:
    """Report an invalid command line as a parameter error, with the command that shows the help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.message + "\n")
        return ParameterError.exit_code
    path = context.command_path if context is not None else "cfes"
    message = str(error.format_message()).rstrip(".")
    return _failed(ParameterError(message, help=f"Nothing was sent. See {path} --help."))
