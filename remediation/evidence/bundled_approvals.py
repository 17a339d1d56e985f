"""Bundled approvals: each verified against plan and policy, as of the job's creation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import ApprovalRefused
from core.instants import parse_instant
from remediation.guardrails.policy.gate import policy_of
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from remediation.guardrails.plans.plan import Plan


@dataclass(frozen=True)
class BundledApprovals:
    """The approvals of a bundle.

    as_of: the job's creation time. unverified: the reason why they could not be verified, or None.
    """

    tokens: Sequence[str]
    approved_by: Sequence[str] = ()
    as_of: str | None = None
    unverified: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the content of approvals.json."""
        return {**self.summary(), "approvals": list(self.tokens)}

    def summary(self) -> dict[str, Any]:
        """Return the result of the verification, without the tokens."""
        if self.unverified is not None:
            return {"verified": False, "why": self.unverified}
        return {"verified": True, "as_of": self.as_of, "approved_by": list(self.approved_by)}


def verify_approvals_of_job(
    api: EmailSecurity, tokens: Sequence[str], plan: Plan | None, job: BulkJob
) -> BundledApprovals:
    """Verify each approval: its signature, plan, account, and that the policy names the approver.

    Approvals expire, so the job's creation time counts. Approvals that can't be verified (no policy, no plan, no extra
    `approval`) are marked as unverified.

    Raises: ApprovalRefused naming a bad approval; PolicyUnusable.
    """
    if why := _unverifiable(api, plan, job):
        return BundledApprovals(tokens, unverified=why)
    # Loads PyJWT and cryptography, so only if there is something to check.
    from remediation.guardrails.approvals.approval import verify_approvals  # noqa: PLC0415
    from remediation.guardrails.approvals.token import ApprovalTerms  # noqa: PLC0415

    stamp = Stamp.read(job.comment)
    requesters = {name for name in (stamp and stamp.requested_by, plan and plan.requested_by) if name}
    try:
        terms = ApprovalTerms(
            policy=policy_of(api),
            plan_hash=plan.plan_hash if plan else "",
            account_id=api.connection.account_id,
            requesters=requesters,
            now=parse_instant(job.created_at),
        )
        names = verify_approvals(tokens, terms)
    except ApprovalRefused as refusal:
        raise refusal.restate(
            f"the approvals were not valid for the job when it was created ({job.created_at}): {refusal.message}",
            help="No bundle was made. Omit the named approval, or give the approval that the job was created with.",
            job_id=job.job_id,
        ) from None
    return BundledApprovals(tokens, names, job.created_at)


def _unverifiable(api: EmailSecurity, plan: Plan | None, job: BulkJob) -> str | None:
    if not api.has_policy:
        return "no policy with approvers is set (CFES_POLICY)"
    if plan is None:
        return "no plan was given to check them against"
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        return "the pack's extra `approval` is not installed"
    try:
        parse_instant(job.created_at)
    except ValueError:
        return "the job's creation time is not known"
    return None
