"""The actions that platforms serve: those of the folder `actions`, and advance-run.

advance-run runs playbooks, which an action can't import, so its module is in this folder.
"""

from __future__ import annotations

from typing import Any

from actions.contract import catalog
from actions.contract.action import Action

ADVANCE_RUN = "advance-run"


def find(action_id: str) -> Action[Any, Any]:
    """Return the action with this ID; underscores count as hyphens. Raises: ParameterError with a suggestion."""
    if str(action_id).replace("_", "-") != ADVANCE_RUN:
        return catalog.find(action_id)
    from platforms.advance_run import ACTION  # noqa: PLC0415 -- brings the engine of playbooks

    return ACTION


def available() -> dict[str, Action[Any, Any]]:
    """Return every action by its ID, in alphabetical order."""
    return dict(sorted({**catalog.available(), ADVANCE_RUN: find(ADVANCE_RUN)}.items()))
