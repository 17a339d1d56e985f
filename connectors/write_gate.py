"""What a connector asks before it sends a write."""

from __future__ import annotations

from typing import Protocol

from connectors.objects.job import Destination


class WriteGate(Protocol):
    """Decides whether a write may be sent. The connection's read-only mode is checked before it.

    Where a policy is configured and the connector has no gate, every write is refused.
    """

    @property
    def observes(self) -> bool:
        """Whether every write is refused after all checks have passed. Raises: PolicyUnusable."""

    def check_usable(self) -> None:
        """Raises: PolicyUnusable."""

    def check_destination(self, destination: Destination) -> None:
        """Raises: PolicyRefused where messages may not be moved there; PolicyUnusable."""

    def check_deletion(self) -> None:
        """Raises: PolicyRefused where jobs may not be deleted; PolicyUnusable."""
