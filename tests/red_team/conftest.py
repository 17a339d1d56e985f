"""The `cfes` fixture, for attacks through the command line."""

from __future__ import annotations

from tests.platforms.cli.conftest import cfes

__all__ = ["cfes"]
