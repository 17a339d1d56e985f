"""Retries of an action that the engine makes by itself, and the idempotency key that makes them safe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from core.json_values import Json
from playbooks.engine.state import ActionTraits

# Nobody wants to wait for long at the beginning. Once something was changed, a run tries hard to get to its end.
RETRIES_BEFORE_A_CHANGE = 3
RETRIES_AFTER_A_CHANGE = 30

# Seconds before each retry if the error names none; the last one is repeated.
PAUSES = (5, 15, 45, 60)
MAX_PAUSE = 3600

MAX_KEY = 200


def automatic_delay(
    error: Mapping[str, Json], traits: ActionTraits, params: Mapping[str, Json], *, used: int, changed: bool
) -> float | None:
    """Return the seconds to wait before the action is repeated, or None if it is not.

    An error is repeated if it is `retryable`. If its outcome is unknown, the action must also be repeatable.
    """
    if used >= (RETRIES_AFTER_A_CHANGE if changed else RETRIES_BEFORE_A_CHANGE):
        return None
    if error.get("applied") == "no":
        safe = error.get("retryable") is True
    else:
        with_key = traits.keyed and isinstance(params.get("idempotency_key"), str)
        safe = error.get("applied") == "unknown" and (traits.effect == "read" or traits.repeatable or with_key)
    if not safe:
        return None
    hint = error.get("retry_after_seconds")
    if isinstance(hint, int | float) and not isinstance(hint, bool) and hint >= 0:
        return float(min(hint, MAX_PAUSE))
    return float(PAUSES[min(used, len(PAUSES) - 1)])


def with_default_key(
    params: dict[str, Json], traits: ActionTraits, key: str | None, playbook_id: str, path: Sequence[str]
) -> dict[str, Json]:
    """Return the parameters with an idempotency key, if the action takes one, has none, and the run has a key."""
    if key is None or not traits.keyed or params.get("idempotency_key") is not None:
        return params
    default = f"{playbook_id} {key} {'/'.join(path)}"
    if len(default) > MAX_KEY:
        default = hashlib.sha256(default.encode()).hexdigest()
    return {**params, "idempotency_key": default}
