"""The write gate: the connector's check before each write."""

from __future__ import annotations

from typing import Protocol

from connectors.objects.job import Destination


class WriteGate(Protocol):
    """Decides whether a write may be sent. The connector checks read-only mode before.

    If a policy is configured and the connector has no gate, the connector refuses every write.
    """

    @property
    def observes(self) -> bool:
        """Return whether the policy only observes: a write is refused even after all checks. Raises: PolicyUnusable."""

    def check_usable(self) -> None:
        """Check that the policy can be read. Raises: PolicyUnusable."""

    def check_destination(self, destination: Destination) -> None:
        """Check that the policy allows moves to a folder. Raises: PolicyRefused, PolicyUnusable."""

    def check_deletion(self) -> None:
        """Check that the policy allows deleting jobs. Raises: PolicyRefused, PolicyUnusable."""
