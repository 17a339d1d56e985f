"""Kill a run before or after one of its actions, and resume it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actions.contract import catalog
from connectors.email_security import EmailSecurity
from platforms.playbook_session import traits
from playbooks import library
from playbooks.drivers.outcome import Outcome
from playbooks.language.inputs import accept
from tests.playbooks import driving


class Killed(BaseException):
    """Raised to simulate a kill of the process; nothing may catch it."""


def run_killed_once(
    playbook_id: str, inputs: dict[str, Any], api: EmailSecurity, directory: Path, boundary: int
) -> Outcome:
    """Run a shipped playbook, kill it at a boundary, and resume it.

    boundary: 1 is before the first action, 2 after it, 3 before the second, and so on. Raises: AssertionError if the
    run ends before that.
    """
    playbook, calls = library.find(playbook_id), 0

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls * 2 - 1 == boundary:
            raise Killed
        result = catalog.find(action).run(params, api)
        if calls * 2 == boundary:
            raise Killed
        return result

    try:
        driving.run(
            playbook,
            accept(playbook, inputs),
            run_action=act,
            clock=api.clock,
            directory=directory,
            traits=traits(),
        )
    except Killed:
        calls = -1000
        return driving.resume(directory, run_action=act, clock=api.clock)
    raise AssertionError(f"the run ended before the boundary {boundary}")
