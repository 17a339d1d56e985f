"""The data that a run and the runs of its sub-playbooks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from playbooks.engine.state import ActionTraits
from playbooks.language.format import Playbook

_UNKNOWN = ActionTraits()


@dataclass(frozen=True)
class Bundle:
    """The sub-playbooks by ID, the traits of actions by ID, and whether the run may have changed something so far."""

    parts: Mapping[str, Playbook]
    traits: Mapping[str, ActionTraits]
    changed: bool = False

    def traits_of(self, action: str) -> ActionTraits:
        """Return what is known of an action."""
        return self.traits.get(action, _UNKNOWN)
