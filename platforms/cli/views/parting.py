"""The text at Ctrl-C: what is still running, and the commands to resume or cancel it."""

from __future__ import annotations

from dataclasses import dataclass

from platforms.cli.views.palette import STRONG
from platforms.cli.views.screen import Screen


@dataclass(frozen=True)
class Parting:
    """A message and two commands to copy: resume, cancel."""

    message: str = "Interrupted."
    resume: str | None = None
    cancel: str | None = None

    def say(self, screen: Screen) -> None:
        """Show the text and the commands."""
        screen.say(self.message, STRONG)
        if self.resume is not None:
            screen.command("resume", self.resume)
        if self.cancel is not None:
            screen.command("cancel", self.cancel)
