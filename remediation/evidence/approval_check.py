"""Approval check: whether a job's approvals meet a policy, checked afterwards and without a connection.

The check trusts the given policy. To prove that your organisation's policy was in force when the job was created,
compare the policy's hash (`cfes policy check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from connectors.objects.job import ActionType, BulkJob, Destination, Reach
from core.errors import ApprovalRefused, PackError
from core.instants import parse_instant
from remediation.guardrails.approvals.needed import Need, need_of, shortfall
from remediation.jobs.match import ExpectedJob, differences
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan
    from remediation.guardrails.policy.policy import Policy

# met: there are as many valid approvals as the policy requires. not_needed: it requires none. not_met: there are too
# few, or a group is missing. invalid: an approval is not valid for this plan, account and requester. unknown: `why`
# names what is missing.
ApprovalState = Literal["met", "not_needed", "not_met", "invalid", "unknown"]


@dataclass(frozen=True)
class ApprovalCheck:
    """The state of the approvals.

    requesters: named by the plan and the job's tag. approved_by: approvers with a valid approval.
    """

    state: ApprovalState
    why: str
    needed: Need | None = None
    requesters: Sequence[str] = ()
    approved_by: Sequence[str] = ()

    @property
    def good(self) -> bool:
        """Return whether the approvals may meet the policy: nothing contradicts it."""
        return self.state in ("met", "not_needed", "unknown")

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "state": self.state,
            "why": self.why,
            "needed": None if self.needed is None else self.needed.count,
            "groups": [] if self.needed is None else list(self.needed.groups),
            "requesters": list(self.requesters),
            "approved_by": list(self.approved_by),
        }


def check_approvals(
    policy: Policy, plan: Plan | None, job: BulkJob, account_id: str, tokens: Sequence[str]
) -> ApprovalCheck:
    """Check the tokens as of the job's creation, under the policy's keys, and the policy's rule for this job."""
    stamp = Stamp.read(job.comment)
    names = (stamp.requested_by if stamp else None, plan.requested_by if plan else None)
    asked = sorted({name for name in names if name})
    if plan is not None and (problem := _difference_from_plan(plan, job, stamp, account_id)):
        return ApprovalCheck("invalid", problem, requesters=asked)
    least, most = _needs(policy, plan, job, stamp, asked)
    if most is None or least is None:
        return ApprovalCheck("unknown", "the job's action or destination is not known", requesters=asked)
    if not tokens:
        return _without_approvals(least, most, asked)
    if plan is None:
        why = "there are approvals, but no plan to check them against"
        # Otherwise arbitrary text in place of an approval would pass, although no approval does not.
        return ApprovalCheck("not_met" if least else "unknown", why, most, asked)
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        return ApprovalCheck("unknown", "the extra `approval` for checking signatures is not installed", most, asked)
    return _with_approvals(policy, plan, job, tokens, ApprovalCheck("met", "", most, asked))


def _without_approvals(least: Need, most: Need, asked: Sequence[str]) -> ApprovalCheck:
    if not most:
        return ApprovalCheck("not_needed", "the policy requires no approval for this job", most, asked)
    if not least:
        return ApprovalCheck(
            "unknown",
            f"the policy may require {most}: the number of messages and recipients is not known",
            most,
            asked,
        )
    return ApprovalCheck("not_met", f"the policy requires {most}, and there is none", most, asked)


def _with_approvals(
    policy: Policy, plan: Plan, job: BulkJob, tokens: Sequence[str], check: ApprovalCheck
) -> ApprovalCheck:
    from remediation.guardrails.approvals.approval import verify_approvals  # noqa: PLC0415 -- PyJWT and cryptography
    from remediation.guardrails.approvals.token import ApprovalTerms  # noqa: PLC0415

    need, asked = check.needed or Need(), check.requesters
    try:
        now = parse_instant(job.created_at)
    except ValueError:
        return ApprovalCheck("unknown", "the job's creation time is not known", need, asked)
    try:
        approvers = verify_approvals(tokens, ApprovalTerms(policy, plan.plan_hash, plan.account_id, asked, now))
    except ApprovalRefused as refusal:
        return ApprovalCheck("invalid", refusal.message, need, asked)
    except PackError as error:
        return ApprovalCheck("unknown", error.message, need, asked)
    if need and not asked:
        return ApprovalCheck("not_met", "the requester is not known, so no approval counts", need, asked, approvers)
    if missing := shortfall(policy, need, approvers):
        return ApprovalCheck("not_met", f"the policy requires {need}, and {missing}", need, asked, approvers)
    why = f"the policy requires {need}" if need else "the policy requires no approval for this job"
    return ApprovalCheck("met", why, need, asked, approvers)


def _difference_from_plan(plan: Plan, job: BulkJob, stamp: Stamp | None, account_id: str) -> str | None:
    if plan.account_id.lower() != account_id.lower():
        return "the plan is for another account"
    if stamp is None or not stamp.names_plan(plan.plan_hash):
        return "the job's tag does not name the plan"
    try:
        found = differences(ExpectedJob(plan.request()), job)
    except PackError as error:
        return error.message
    return f"the job differs from the plan: {'; '.join(found[:5])}" if found else None


def _needs(
    policy: Policy, plan: Plan | None, job: BulkJob, stamp: Stamp | None, asked: Sequence[str]
) -> tuple[Need | None, Need | None]:
    """Return the fewest and the most approvals that the policy may require. Unknown numbers make them differ."""
    action = job.action_type or (job.action_params.type if job.action_params else None)
    destination = job.action_params.destination if job.action_params else None
    if action not in get_args(ActionType) or (destination is not None and destination not in get_args(Destination)):
        return None, None
    what = (cast("ActionType", action), cast("Destination | None", destination))
    counted = [
        number for number in (stamp.messages if stamp else None, plan.messages if plan else None) if number is not None
    ]
    messages = max(counted, default=None)
    recipients = plan.recipients if plan else None
    most = need_of(policy, Reach(*what, messages, recipients), asked)
    if plan is not None:
        # The plan's own check also treated an uncounted number as too many.
        return most, most
    return need_of(policy, Reach(*what, messages or 0, 0), asked), most
