"""The limits of a call, and the guardrails that it overrides on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from remediation.guardrails.policy.gate import policy_of

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity

# An older plan says little about today's mail. The window of a job is pinned when its plan is made.
OLDEST_PLAN = timedelta(hours=24)


@dataclass(frozen=True)
class Limits:
    """Limits on the messages and recipients of a change, and overrides of guardrails."""

    max_messages: int | None = None
    max_recipients: int | None = None
    allow_broad_search: bool = False
    allow_open_window: bool = False
    allow_irreversible: bool = False
    allow_malicious: bool = False

    @classmethod
    def among(cls, values: Mapping[str, Any]) -> Limits:
        """Return the limits and overrides among these values, by their names."""
        return cls(**{limit.name: values[limit.name] for limit in fields(cls) if limit.name in values})

    def under_policy(self, api: EmailSecurity) -> Limits:
        """Return the limits without the overrides that the policy does not list."""
        if not api.has_policy:
            return self
        ignored = [name for name in OVERRIDES if name not in policy_of(api).overrides]
        return replace(self, **dict.fromkeys(ignored, False))


OVERRIDES = [limit.name for limit in fields(Limits) if limit.name.startswith("allow_")]


def override_hint(api: EmailSecurity, name: str) -> str:
    """Return a sentence on how to use this override, or that the policy does not allow it."""
    if api.has_policy and name not in policy_of(api).overrides:
        return f"{name} has no effect: the policy (CFES_POLICY) does not list it in `overrides`."
    return f"Or set {name} to true."
