"""The number and groups of the approvals that the policy requires, and whether the approvers are enough."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import ApprovalRefused
from core.quantity import counted
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.policy.people import named_among, same_person, unmatched_groups

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity
    from connectors.objects.job import Reach
    from remediation.guardrails.policy.policy import Policy

UNPROVED = "CFES_REQUESTED_BY is not set; set it, and make a new plan"
PROVE_IT = (
    "Nothing was changed. Set CFES_REQUESTED_BY where the actions run, make a new plan with preview-job, and have it "
    "approved."
)


@dataclass(frozen=True)
class Need:
    """The approvals that are needed.

    groups: one approval from each, by different people. service_account: `count` includes one more, because the
    requester is a service account.
    """

    count: int = 0
    groups: tuple[str, ...] = ()
    service_account: bool = False

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        groups = f", one from each of {', '.join(self.groups)}" if self.groups else ""
        return (
            counted(self.count, "approval")
            + groups
            + (" (one of them because the requester is a service account)" if self.service_account else "")
        )


def need_of(policy: Policy, reach: Reach, requesters: Collection[str]) -> Need:
    """Return the approvals that the policy requires.

    requesters: who asks, and who asked for the plan. Where one of them is a service account, one more approval is
    needed: the person behind the account is not known, and may be one of the approvers.
    """
    count = policy.approvals_needed(reach)
    if not count:
        return Need()
    by_account = any(named_among(name, policy.service_accounts) for name in requesters)
    groups = policy.groups_needed(reach)
    return Need(count + by_account, groups, service_account=by_account)


def shortfall(policy: Policy, need: Need, names: Collection[str]) -> str | None:
    """Return why the approvals of these people are not enough, or None if they are."""
    if len(names) < need.count:
        return f"{len(names)} valid {'approval was' if len(names) == 1 else 'approvals were'} given"
    members = {approver.name: approver.groups for approver in policy.approvers if approver.name in names}
    missing = unmatched_groups(need.groups, members)
    return f"an approval from {', '.join(missing)} is missing" if missing else None


def refusals_despite_approvals(api: EmailSecurity, need: Need, requested_by: str | None) -> Iterator[ApprovalRefused]:
    """Yield the refusal that no approval would prevent, so that it is shown before somebody signs."""
    if not need:
        return
    if api.connection.requested_by is None:
        yield ApprovalRefused(f"the policy requires {need}, and no approval would count: {UNPROVED}", help=PROVE_IT)
        return
    others = [
        one.name for one in policy_of(api).approvers if requested_by is None or not same_person(one.name, requested_by)
    ]
    missing = shortfall(policy_of(api), need, others)
    if missing is not None:
        yield ApprovalRefused(
            f"the policy requires {need}, and its approvers without {requested_by} are not enough: {missing}",
            help="Nothing was changed. Add an approver to the policy, or let somebody else request the change.",
        )
