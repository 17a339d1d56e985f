"""The plans of this session by their hash, so that an agent need not repeat a long plan."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from core.errors import ParameterError
from core.json_values import shown

MOST_PLANS = 100


class Plans:
    """Keeps the newest plans. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def add(self, plan: dict[str, Any]) -> None:
        """Keep a result of preview-job."""
        plan_hash = plan.get("plan_hash")
        if isinstance(plan_hash, str):
            with self._lock:
                self._plans[plan_hash] = plan
                self._plans.move_to_end(plan_hash)
                while len(self._plans) > MOST_PLANS:
                    self._plans.popitem(last=False)

    def with_plan(self, params: Mapping[str, Any], pointer: str = "/plan") -> dict[str, Any]:
        """Return the parameters with the plan in place of its hash. Raises: ParameterError for an unknown hash."""
        given = params.get("plan")
        if not isinstance(given, str):
            return dict(params)
        with self._lock:
            plan = self._plans.get(given)
        if plan is None:
            raise ParameterError.at(
                pointer,
                f"no plan of this session has the plan_hash {shown(given)}",
                help="Nothing was changed. Call preview_job again, or give its whole result.",
            )
        return {**params, "plan": plan}
