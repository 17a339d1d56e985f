"""The log of API calls: one line per call on standard error, without body, query and headers.

`CFES_LOG` selects the format: `text` (default), `json` (one object per line) or `off`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.errors import ParameterError

LOGGER = logging.getLogger("cfes.calls")
MODES = ("text", "json", "off")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        call = record.__dict__.get("call")
        if not isinstance(call, dict):
            return f"{_time(record)} {record.levelname.lower()} {record.getMessage()}"
        return (
            f"{_time(record)} {call['method']} {call['path']} {call['status'] or '-'} "
            f"ray={call['ray_id'] or '-'} {call['milliseconds']}ms attempt={call['attempt']}"
            + (f" {call['problem']}" if call["problem"] else "")
        )


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        call = record.__dict__.get("call")
        facts = call if isinstance(call, dict) else {"message": record.getMessage()}
        return json.dumps({"time": _time(record), "level": record.levelname.lower(), **facts})


def configure(usual: str) -> None:
    """Send the log to standard error as `CFES_LOG` says, else in the usual mode. Only platforms call this.

    Raises: ParameterError for an unknown mode.
    """
    mode = os.environ.get("CFES_LOG") or usual
    if mode not in MODES:
        raise ParameterError(
            f"CFES_LOG must be one of {', '.join(MODES)}", help="Nothing was sent. Set CFES_LOG to one of them."
        )
    LOGGER.handlers.clear()
    LOGGER.propagate = False
    if mode == "off":
        LOGGER.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if mode == "json" else _Text())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)


def call(facts: Mapping[str, Any]) -> None:
    """Log one attempt of a call: method, path, status, ray_id, milliseconds, attempt, problem."""
    LOGGER.info("call", extra={"call": dict(facts)})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"
