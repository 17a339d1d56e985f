"""The command line for those who attack through it."""

from __future__ import annotations

from tests.platforms.cli.conftest import cfes

__all__ = ["cfes"]
