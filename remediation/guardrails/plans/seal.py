"""The seal on a plan: it proves that preview-job made the plan, by a key that callers of actions do not have.

`plan_hash` names a plan and shows accidental edits, but anybody can compute it. The seal is an HMAC-SHA256 under
CFES_PLAN_KEY over the plan's hash, and so over its search, numbers and requester.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from core.derived_key import derive_key
from core.errors import PlanRefused

if TYPE_CHECKING:
    from pydantic import SecretStr

    from remediation.guardrails.plans.plan import Plan

# unchecked: the plan has a seal, and no key is set to check it.
SealState = Literal["sealed", "unsealed", "broken", "unchecked"]

# Plans that this process made itself: they never left it, so they need no seal.
_MADE_HERE: OrderedDict[str, None] = OrderedDict()
MOST_REMEMBERED = 256


def seal_of(plan_hash: str, key: SecretStr) -> str:
    """Return the seal on the plan with this hash."""
    return "hmac-sha256:" + hmac.digest(derive_key(key, "plan seal"), plan_hash.encode(), hashlib.sha256).hex()


def seal_plan(plan: Plan, key: SecretStr | None) -> Plan:
    """Return the plan with the seal of `key`; unchanged if there is no key."""
    return plan if key is None else plan.model_copy(update={"seal": seal_of(plan.plan_hash, key)})


def seal_state(plan: Plan, key: SecretStr | None) -> SealState:
    """Return whether the plan has the seal of this key. `plan` comes from `read_plan`, which checks its hash."""
    if plan.seal is None:
        return "unsealed"
    if key is None:
        return "unchecked"
    return "sealed" if hmac.compare_digest(plan.seal, seal_of(plan.plan_hash, key)) else "broken"


def remember(plan_hash: str) -> None:
    """Remember that this process made the plan with this hash."""
    _MADE_HERE[plan_hash] = None
    _MADE_HERE.move_to_end(plan_hash)
    if len(_MADE_HERE) > MOST_REMEMBERED:
        _MADE_HERE.popitem(last=False)


def check_seal(plan: Plan, key: SecretStr | None, *, required: bool) -> list[str]:
    """Return the warnings about a plan whose origin is not proved; none for a sealed one or one made here.

    required: whether the policy requires a plan or an approval.
    Raises: PlanRefused for a broken seal, and for a missing one where it is required.
    """
    state = seal_state(plan, key)
    if state == "sealed":
        return []
    if state == "broken":
        raise PlanRefused(
            "the plan's seal does not match CFES_PLAN_KEY: the plan was edited, or sealed with another key"
        )
    if required:
        why = "CFES_PLAN_KEY is not set here, so no seal can be checked" if key is None else "this plan has no seal"
        raise PlanRefused(
            f"the policy requires a plan that preview-job has sealed: {why}",
            help="Nothing was changed. Set the same CFES_PLAN_KEY where plans are made and where they are used "
            "(`cfes policy init` makes one), and make a new plan with preview-job.",
        )
    if plan.plan_hash in _MADE_HERE:
        return []
    return ["unverified plan: it comes from outside this run, and no seal proves that preview-job made it"]
