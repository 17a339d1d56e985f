"""What is said at Ctrl-C: what goes on without us, how to come back to it, how to stop it."""

from __future__ import annotations

from dataclasses import dataclass

from platforms.cli.views.palette import STRONG
from platforms.cli.views.screen import Screen


@dataclass(frozen=True)
class Parting:
    """resume, cancel: commands to copy."""

    message: str = "Interrupted."
    resume: str | None = None
    cancel: str | None = None

    def say(self, screen: Screen) -> None:
        """Tell the person."""
        screen.say(self.message, STRONG)
        if self.resume is not None:
            screen.command("resume", self.resume)
        if self.cancel is not None:
            screen.command("cancel", self.cancel)
