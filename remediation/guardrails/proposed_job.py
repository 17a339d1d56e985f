"""The job that a call asks for: its parameters, and the request made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from connectors.objects.job import ActionType, BulkJobRequest, Destination
from connectors.objects.search import SearchParams
from remediation.guardrails.change import Change
from remediation.guardrails.limits import Limits

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan


class JobCall(NamedTuple):
    """A job as a caller asks for it: a search or a plan, limits and overrides, the requester and the reason.

    action: None for the plan's action. plan: the document of preview-job. key: the idempotency key. comment: the
    reason. wait_follows: whether the caller waits for the job at once, with the same limit.
    """

    action: ActionType | None
    destination: Destination | None
    search: SearchParams | None
    plan: Mapping[str, Any] | None
    limits: Limits
    max_drift: float | None = None
    requested_by: str | None = None
    approvals: Sequence[str] = ()
    key: str | None = None
    comment: str | None = None
    wait_follows: bool = False


@dataclass(frozen=True)
class ProposedJob:
    """A job after the checks that need no count.

    request: as it is sent. asked: as the caller wrote it. key: the caller's idempotency key.
    """

    request: BulkJobRequest
    asked: BulkJobRequest
    plan: Plan | None
    limits: Limits
    requested_by: str | None = None
    max_drift: float | None = None
    approvals: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    key: str | None = None

    @property
    def change(self) -> Change:
        """Return the change that the job makes to each message."""
        return Change(self.request.action, self.request.destination)

    @property
    def drift_allowed(self) -> float:
        """Return the smaller drift of call and plan, in percent (see remediation.guardrails.plans.check)."""
        if self.plan is None:
            return 0.0
        return self.plan.max_drift if self.max_drift is None else min(self.max_drift, self.plan.max_drift)
