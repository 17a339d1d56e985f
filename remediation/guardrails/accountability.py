"""Who asks for a change, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ParameterError, PolicyRefused, Problem
from remediation.guardrails.narrowing import FEWEST_VISIBLE, is_visible
from remediation.guardrails.policy.gate import policy_of

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity


def requester(api: EmailSecurity, given: str | None) -> str | None:
    """Return who asks: the environment takes precedence. Raises: ParameterError where a parameter names another."""
    known = api.connection.requested_by
    if known is not None and given is not None and given.casefold() != known.casefold():
        message = "is another person than CFES_REQUESTED_BY names"
        raise ParameterError(problems=[Problem(pointer="/requested_by", message=message)])
    return known or given


def check_reason(api: EmailSecurity, comment: str | None) -> None:
    """Raises: PolicyRefused where the policy asks for a reason and `comment` gives none."""
    if api.has_policy and policy_of(api).reason_needed and not is_visible(comment or ""):
        raise PolicyRefused(
            f"the policy asks for a reason, and `comment` has fewer than {FEWEST_VISIBLE} letters or digits",
            help="Nothing was changed. Say in `comment` why this is done.",
        )
