"""The requester of a change, and the reason for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ParameterError, PolicyRefused
from remediation.guardrails.narrowing import FEWEST_VISIBLE, is_visible
from remediation.guardrails.policy.gate import policy_of

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity


def requester(api: EmailSecurity, given: str | None) -> str | None:
    """Return the requester. CFES_REQUESTED_BY takes precedence.

    Raises: ParameterError if the parameter names another person.
    """
    known = api.connection.requested_by
    if known is not None and given is not None and given.casefold() != known.casefold():
        message = "must be the person in CFES_REQUESTED_BY, or not given"
        raise ParameterError.at("/requested_by", message)
    return known or given


def check_reason(api: EmailSecurity, comment: str | None) -> None:
    """Check that there is a reason where the policy requires one. Raises: PolicyRefused."""
    if api.has_policy and policy_of(api).reason_needed and not is_visible(comment or ""):
        raise PolicyRefused(
            f"the policy requires a reason, and `comment` has fewer than {FEWEST_VISIBLE} letters or digits",
            help="Nothing was changed. Give the reason in `comment`.",
        )
