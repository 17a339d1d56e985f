"""An action run as a process: parameters as one JSON object on standard input, one JSON document on standard output.

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

# More than any real parameters; a file given by mistake must not fill the memory.
LARGEST_PARAMETERS_BYTES = 4 * 1024 * 1024

ONE_OBJECT = "Nothing was sent. Give one JSON object on standard input; {} where there are no parameters."

USAGE = """usage: python -m {module} [--exit-status] < PARAMETERS.json

{title}
Reads the parameters as one JSON object from standard input, writes one JSON document to standard output.
--exit-status: exit 8 where not everything succeeded (or not every row is there), 6 where it is not done yet.
Parameters: {parameters}
"""


def main(action: Action[Any, Any], arguments: Sequence[str] | None = None) -> None:
    """Run the action as this process, and exit with its code."""
    # A pydantic plugin would see every value, credentials too; and to look for one costs 20 ms a start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # It was turned off in actions/__init__.py.
    with collected_once_loaded(), ended_by_signals(), kept_streams() as ledger:
        code = _ended(action, sys.argv[1:] if arguments is None else arguments, ledger)
        code = ledger.settle(code)
    sys.exit(code)


def _ended(action: Action[Any, Any], arguments: Sequence[str], ledger: Ledger) -> int:
    """Write what comes of the call, and return its exit code."""
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
        advice = "A change may have been made: look before you run it again." if unknown else "Nothing was changed."
        jobs = f" Job: {', '.join(ledger.jobs)}." if ledger.jobs else ""
        sys.stderr.write(f"Interrupted. {advice}{jobs}\n")
        return code
    try:
        sys.stdout.write(json.dumps(document) + "\n")
    except (KeyboardInterrupt, EndedBySignal) as ended:
        # A reader that does not read: `settle` says what is lost.
        return interrupted_code(ended)
    return code


def _run(action: Action[Any, Any], arguments: Sequence[str]) -> tuple[dict[str, Any], int]:
    unknown = [argument for argument in arguments if argument != "--exit-status"]
    if unknown or ("--exit-status" in arguments and action.verdict is None):
        raise ParameterError(
            f"unknown argument {(unknown or arguments)[0][:100]!r}",
            help="Nothing was sent. Parameters are given as one JSON object on standard input; see --help.",
        )
    if sys.stdin is None:
        raise ParameterError("standard input is closed: give the parameters there, {} where there are none")
    result = action.run(read_parameters(sys.stdin.buffer))
    return result, action.verdict(result) if action.verdict and "--exit-status" in arguments else 0


def read_parameters(stream: IO[bytes]) -> dict[str, Any]:
    """Return the parameters in a stream. Raises: ParameterError unless they are one JSON object of a usual size."""
    data = stream.read(LARGEST_PARAMETERS_BYTES + 1)
    if len(data) > LARGEST_PARAMETERS_BYTES:
        raise ParameterError(f"the parameters are larger than {LARGEST_PARAMETERS_BYTES} bytes")
    return read_object(data, "the parameters are", ONE_OBJECT)
