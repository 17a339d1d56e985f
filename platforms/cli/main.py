"""The entry point of `cfes`: every way in which a command can end becomes an exit code. Never a traceback."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from actions.contract.ending import ended_by_signals
from actions.contract.garbage import collected_once_loaded
from actions.contract.streams import kept_streams
from core.installation import command_to_add

EXTRA_MISSING = """cfes: the command line needs {name}, which is not installed. Nothing was run.
Add the extra `cli`: {command}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, which stays true where the output can't be written.

    arguments: None if the process is there for this command alone.
    """
    if arguments is None:
        gc.disable()
    with ended_by_signals(), kept_streams() as ledger:
        ledger.reader_may_leave = True
        code = ledger.settle(_run(sys.argv[1:] if arguments is None else arguments))
    # Threads of temporalio can crash the shutdown of the interpreter (temporalio/sdk-python, issue 300). Those of the
    # HTTP service may be in a wait of a minute, whose caller is gone.
    if arguments is None and {"temporalio", "platforms.http.server"} & sys.modules.keys():
        os._exit(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        from platforms.cli.outcome import run  # noqa: PLC0415 -- without the `cli` extra there is a reason to give
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        sys.stderr.write(EXTRA_MISSING.format(name=missing.name, command=command_to_add("cli")))
        return 2
    with collected_once_loaded():
        return run(arguments)
