"""The extra `temporal`, which is imported only by the commands that use it."""

from __future__ import annotations

import importlib

from core.installation import command_to_add
from platforms.cli.errors import ExtraMissing


def require_temporal() -> None:
    """Check that the extra is installed. Raises: ExtraMissing."""
    try:
        importlib.import_module("temporalio")
    except ModuleNotFoundError:
        raise ExtraMissing(
            "Temporal needs temporalio, which is not installed",
            help=f"Nothing was run. Add the extra `temporal`: {command_to_add('temporal')}",
        ) from None
