"""An action run as a process: parameters as one JSON object on standard input, one JSON document on standard output.

Logs go to standard error. The exit codes are listed in core.errors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from actions.contract.action import Action
from actions.contract.ending import EndedBySignal, ended_by_signals, interrupted_code
from actions.contract.garbage import collected_once_loaded
from actions.contract.streams import Ledger, ended_with, kept_streams
from connectors import call_log
from core.errors import PackError, ParameterError
from core.json_values import read_json

# More than any real parameters; a file given by mistake must not fill the memory.
LARGEST_PARAMETERS_BYTES = 4 * 1024 * 1024

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
        configure_log(os.environ)
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
    """The parameters in `stream`. Raises: ParameterError where they are no JSON object of a sane size."""
    data = stream.read(LARGEST_PARAMETERS_BYTES + 1)
    if len(data) > LARGEST_PARAMETERS_BYTES:
        raise ParameterError(f"the parameters are larger than {LARGEST_PARAMETERS_BYTES} bytes")
    return parse_parameters(data)


def parse_parameters(data: bytes | str) -> dict[str, Any]:
    """One JSON object. Raises: ParameterError, also for a key that is given twice and for NaN and Infinity."""
    try:
        parsed = read_json(data)
    except RecursionError:
        raise ParameterError("the parameters are nested too deeply") from None
    except UnicodeDecodeError:
        raise ParameterError("the parameters are not valid JSON: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ParameterError(
            f"the parameters are not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            help="Nothing was sent. Give one JSON object on standard input; {} where there are no parameters.",
        ) from None
    except ValueError as error:
        raise ParameterError(f"the parameters are not valid JSON: {str(error)[:200]}") from None
    if not isinstance(parsed, dict):
        raise ParameterError("the parameters must be one JSON object")
    return parsed


def configure_log(environment: Mapping[str, str], default: str = "text") -> None:
    """Set the log as `CFES_LOG` says. Raises: ParameterError for a mode that does not exist."""
    mode = environment.get("CFES_LOG") or default
    if mode not in call_log.MODES:
        raise ParameterError(f"CFES_LOG must be one of {', '.join(call_log.MODES)}", help="Nothing was sent.")
    call_log.configure(mode)
