"""A problem of a playbook that the check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.errors import Problem


@dataclass(frozen=True)
class Finding:
    """A problem of a playbook. An error prevents a correct run; a warning is for the author to judge."""

    severity: Literal["error", "warning"]
    pointer: str
    message: str
    line: int | None = None

    def problem(self) -> Problem:
        """Return the finding as a problem of an error document."""
        return Problem(pointer=self.pointer, message=self.message)


def error(pointer: str, message: str) -> Finding:
    return Finding("error", pointer, message)


def warning(pointer: str, message: str) -> Finding:
    return Finding("warning", pointer, message)
