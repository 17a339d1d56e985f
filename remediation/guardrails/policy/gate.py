"""The organization's policy as the gate of a connector's writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.job import Destination
from core.errors import PolicyRefused, PolicyUnusable

if TYPE_CHECKING:
    from remediation.guardrails.policy.policy import Policy


def destination_refusal(policy: Policy, destination: Destination) -> PolicyRefused | None:
    """Return the refusal of a move to this folder; None if the policy allows it."""
    if policy.allows_destination(destination):
        return None
    return PolicyRefused(f"the policy does not allow messages to be moved to {destination}")


class PolicyGate:
    """Applies the policy in the file at `path`, which is read once, at the first check."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        """Return the policy; without a file, one that allows everything. Raises: PolicyUnusable."""
        if self._policy is None:
            # Most calls need none: its models are not built at every start.
            from remediation.guardrails.policy.loading import load_policy  # noqa: PLC0415
            from remediation.guardrails.policy.policy import NO_POLICY  # noqa: PLC0415

            self._policy = NO_POLICY if self._path is None else load_policy(self._path)
        return self._policy

    @property
    def observes(self) -> bool:
        return self.policy.observe

    def check_usable(self) -> None:
        _ = self.policy

    def check_destination(self, destination: Destination) -> None:
        refusal = destination_refusal(self.policy, destination)
        if refusal is not None:
            raise refusal

    def check_deletion(self) -> None:
        if self.policy.delete is not None and self.policy.delete.refused:
            raise PolicyRefused("the policy does not allow jobs to be deleted")


def attach_policy(api: EmailSecurity) -> PolicyGate:
    """Return the connector's gate, after attaching one for the connection's policy where it has none.

    Raises: PolicyUnusable if it has another kind of gate.
    """
    if api.gate is None:
        api.gate = PolicyGate(api.connection.policy_file)
    if not isinstance(api.gate, PolicyGate):
        raise PolicyUnusable("the connector has a write gate of another kind, which holds no policy")
    return api.gate


def policy_of(api: EmailSecurity) -> Policy:
    """Return the policy for calls of this connector. Raises: PolicyUnusable."""
    return attach_policy(api).policy
