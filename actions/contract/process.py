"""Run an action as a process: one JSON object on standard input, one JSON document on standard output.

Logs go to standard error. The exit codes are listed in core.errors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

from actions.contract.action import Action
from actions.contract.ending import EndedBySignal, ended_by_signals, interrupted_code
from actions.contract.garbage import collected_once_loaded
from actions.contract.streams import Ledger, ended_with, kept_streams
from connectors import call_log
from core.errors import PackError, ParameterError
from core.json_values import read_object

# More than any real parameters. A wrong file must not fill the memory.
LARGEST_PARAMETERS_BYTES = 4 * 1024 * 1024

ONE_OBJECT = "Nothing was sent. Give one JSON object on standard input; {} if there are no parameters."

USAGE = """usage: python -m {module} [--exit-status] < PARAMETERS.json

{title}
Reads the parameters as one JSON object from standard input, writes one JSON document to standard output.
--exit-status: exit 8 if not everything succeeded (or rows are missing), 6 if the action is not finished.
Parameters: {parameters}
"""


def main(action: Action[Any, Any], arguments: Sequence[str] | None = None) -> None:
    """Run the action as this process, and exit with its code."""
    # A pydantic plugin would see every value, including credentials. Looking for plugins takes 20 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # It was turned off in actions/__init__.py.
    with collected_once_loaded(), ended_by_signals(), kept_streams() as ledger:
        code = _ended(action, sys.argv[1:] if arguments is None else arguments, ledger)
        code = ledger.settle(code)
    sys.exit(code)


def _ended(action: Action[Any, Any], arguments: Sequence[str], ledger: Ledger) -> int:
    """Run the action, write the result or the error, and return the exit code."""
    if set(arguments) & {"-h", "--help"}:
        parameters = ", ".join(action.params.model_fields) or "none ({})"
        sys.stdout.write(USAGE.format(module=action.module, title=action.title, parameters=parameters))
        return 0
    try:
        call_log.configure("text")
        document, code = _run(action, arguments)
    except PackError as error:
        ended_with(error)
        document, code = error.document(), error.exit_code
    except (KeyboardInterrupt, EndedBySignal) as ended:
        code = interrupted_code(ended)
        unknown = action.effect != "read" or ledger.changed
        advice = "A change may have been made: check before you run it again." if unknown else "Nothing was changed."
        jobs = f" Job: {', '.join(ledger.jobs)}." if ledger.jobs else ""
        sys.stderr.write(f"Interrupted. {advice}{jobs}\n")
        return code
    try:
        sys.stdout.write(json.dumps(document) + "\n")
    except (KeyboardInterrupt, EndedBySignal) as ended:
        # The reader does not read. `settle` reports the loss.
        return interrupted_code(ended)
    return code


def _run(action: Action[Any, Any], arguments: Sequence[str]) -> tuple[dict[str, Any], int]:
    unknown = [argument for argument in arguments if argument != "--exit-status"]
    if unknown or ("--exit-status" in arguments and action.verdict is None):
        raise ParameterError(
            f"unknown argument {(unknown or arguments)[0][:100]!r}",
            help="Nothing was sent. Give the parameters as one JSON object on standard input; see --help.",
        )
    if sys.stdin is None:
        raise ParameterError("standard input is closed, and the parameters are read from it")
    result = action.run(read_parameters(sys.stdin.buffer))
    return result, action.verdict(result) if action.verdict and "--exit-status" in arguments else 0


def read_parameters(stream: IO[bytes]) -> dict[str, Any]:
    """Return the parameters in a stream. Raises: ParameterError unless they are one JSON object of a usual size."""
    data = stream.read(LARGEST_PARAMETERS_BYTES + 1)
    if len(data) > LARGEST_PARAMETERS_BYTES:
        raise ParameterError(f"the parameters are larger than {LARGEST_PARAMETERS_BYTES} bytes")
    return read_object(data, "the parameters are", ONE_OBJECT)
