"""The rate limit: a number of calls per window for each token, after which every call is refused.

The API counts a user's dashboard, keys and tokens together. The sandbox has no users and counts each token.

The default is 1,200 calls in five minutes, with a block for the rest of the window. Every response has the headers
`Ratelimit: "default";r=50;t=30` (calls left, seconds to the reset) and `Ratelimit-Policy: "default";q=1200;w=300`. Only
a 429 has `retry-after`. The API's limit of 200/s per address is not simulated.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from sandbox.clock import SECOND, Instant

_MOST_BUDGETS: Final = 10_000


@dataclass(slots=True)
class Budget:
    """The window of a token."""

    ends: Instant
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state after a call: whether it is allowed, the calls left, and the seconds to the reset (rounded up)."""

    allowed: bool
    left: int
    resets_in: int


class RateLimit:
    """The budgets by token: `quota` calls in `window` seconds."""

    def __init__(self, quota: int = 1200, window: int = 300) -> None:
        self.quota = quota
        self.window = window
        self._budgets: OrderedDict[Hashable, Budget] = OrderedDict()

    def spend(self, token: Hashable, now: Instant) -> Allowance:
        """Count one call."""
        budget = self._budget(token, now)
        budget.used += 1
        return self._allowance(budget, now)

    def block(self, token: Hashable, seconds: float, now: Instant) -> Allowance:
        """Block the token for `seconds` from now."""
        budget = self._budget(token, now)
        budget.ends = now + round(seconds * SECOND)
        budget.used = self.quota + 1
        return self._allowance(budget, now)

    def headers(self, allowance: Allowance) -> list[tuple[str, str]]:
        shown = [
            ("Ratelimit", f'"default";r={allowance.left};t={allowance.resets_in}'),
            ("Ratelimit-Policy", f'"default";q={self.quota};w={self.window}'),
        ]
        if not allowance.allowed:
            shown.append(("retry-after", str(allowance.resets_in)))
        return shown

    def _allowance(self, budget: Budget, now: Instant) -> Allowance:
        return Allowance(
            allowed=budget.used <= self.quota,
            left=max(0, self.quota - budget.used),
            resets_in=max(1, math.ceil((budget.ends - now) / SECOND)),
        )

    def _budget(self, token: Hashable, now: Instant) -> Budget:
        budget = self._budgets.get(token)
        if budget is None or budget.ends <= now:
            budget = self._budgets[token] = Budget(now + self.window * SECOND)
        self._budgets.move_to_end(token)
        if len(self._budgets) > _MOST_BUDGETS:
            self._budgets.popitem(last=False)
        return budget
