"""Check a job's approvals afterwards: each as of the job's creation, and whether they meet a policy.

The check trusts the given policy. To prove that your organization's policy was in force when the job was created,
compare the policy's hash (`cfes policy check`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType, BulkJob, Destination, Reach
from core.errors import ApprovalRefused, PackError
from core.instants import instant_or_none, parse_instant
from core.json_values import read_json
from remediation.evidence.manifest import Manifest
from remediation.evidence.verification import Verification, verified_file
from remediation.guardrails.approvals.approval import verify_approvals
from remediation.guardrails.approvals.needed import Need, need_of, shortfall
from remediation.guardrails.approvals.token import ApprovalTerms
from remediation.guardrails.plans.plan import Plan, read_plan
from remediation.guardrails.policy.document import read_policy_document
from remediation.guardrails.policy.gate import policy_of
from remediation.jobs.match import ExpectedJob, differences
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from remediation.guardrails.policy.policy import Policy

LARGEST_BYTES = 4 << 20

POLICY, APPROVALS, PLAN, JOB = "policy.json", "approvals.json", "plan.json", "job.json"

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

    Approvals that can't be verified are marked as unverified. Raises: ApprovalRefused naming a bad one; PolicyUnusable.
    """
    if plan is None or not api.has_policy or (why := _obstacle(job)):
        if not api.has_policy:
            why = "no policy with approvers is set (CFES_POLICY)"
        elif plan is None:
            why = "no plan was given to check them against"
        return BundledApprovals(tokens, unverified=why)
    asked = _requesters(plan, Stamp.read(job.comment))
    try:
        names = _approvers(policy_of(api), plan, job, api.connection.account_id, tokens, asked)
    except ApprovalRefused as refusal:
        raise refusal.restate(
            f"the approvals were not valid for the job when it was created ({job.created_at}): {refusal.message}",
            help="No bundle was made. Omit the named approval, or give the approval that the job was created with.",
            job_id=job.job_id,
        ) from None
    return BundledApprovals(tokens, names, job.created_at)


def check_approvals(
    policy: Policy, plan: Plan | None, job: BulkJob, account_id: str, tokens: Sequence[str]
) -> ApprovalCheck:
    """Check the tokens as of the job's creation, under the policy's keys, and the policy's rule for this job."""
    stamp = Stamp.read(job.comment)
    asked = _requesters(plan, stamp)
    if plan is not None and (problem := _difference_from_plan(plan, job, stamp, account_id)):
        return ApprovalCheck("invalid", problem, requesters=asked)
    least, most = _needs(policy, plan, job, stamp, asked)
    if most is None or least is None:
        return ApprovalCheck("unknown", "the job's action or destination is not known", requesters=asked)
    required = f"the policy requires {most or 'no approval for this job'}"
    approvers: Sequence[str] = ()
    state: ApprovalState = "unknown"
    if not tokens and not most:
        state, why = "not_needed", required
    elif not tokens and not least:
        why = f"the policy may require {most}: the number of messages and recipients is not known"
    elif not tokens:
        state, why = "not_met", f"{required}, and there is none"
    elif plan is None:
        # Otherwise arbitrary text in place of an approval would pass, although no approval does not.
        state, why = "not_met" if least else "unknown", "there are approvals, but no plan to check them against"
    elif obstacle := _obstacle(job):
        why = obstacle
    else:
        try:
            approvers = _approvers(policy, plan, job, account_id, tokens, asked)
        except PackError as error:
            state = "invalid" if isinstance(error, ApprovalRefused) else "unknown"
            return ApprovalCheck(state, error.message, most, asked)
        missing = shortfall(policy, most, approvers)
        if most and not asked:
            state, why = "not_met", "the requester is not known, so no approval counts"
        else:
            state, why = ("not_met", f"{required}, and {missing}") if missing else ("met", required)
    return ApprovalCheck(state, why, most, asked, approvers)


def _requesters(plan: Plan | None, stamp: Stamp | None) -> list[str]:
    return sorted({one.requested_by for one in (plan, stamp) if one is not None and one.requested_by})


def _obstacle(job: BulkJob) -> str | None:
    """Return why approvals of the job can't be verified here; None if they can."""
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        return "the extra `approval` for checking signatures is not installed"
    return "the job's creation time is not known" if instant_or_none(job.created_at) is None else None


def _approvers(
    policy: Policy, plan: Plan, job: BulkJob, account_id: str, tokens: Sequence[str], requesters: Sequence[str]
) -> list[str]:
    """Return the approvers of the plan. Approvals expire, so the job's creation time counts."""
    terms = ApprovalTerms(policy, plan.plan_hash, account_id, requesters, parse_instant(job.created_at))
    return verify_approvals(tokens, terms)


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
    counted = [one.messages for one in (stamp, plan) if one is not None and one.messages is not None]
    messages = max(counted, default=None)
    most = need_of(policy, Reach(*what, messages, plan.recipients if plan else None), asked)
    if plan is not None:
        # The plan's own check also treated an uncounted number as too many.
        return most, most
    return need_of(policy, Reach(*what, messages or 0, 0), asked), most


@dataclass(frozen=True)
class BundleClaims:
    """A bundle's claims about policy, plan and approvals, checked from the bundle alone.

    policy_sha256: of the bundled policy; None without one. plan_hash: of the bundled plan. check: of the approvals.
    """

    policy_sha256: str | None
    plan_hash: str | None
    check: ApprovalCheck

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"policy_sha256": self.policy_sha256, "plan_hash": self.plan_hash, **self.check.document()}


def bundle_claims(bundle: str | os.PathLike[str], found: Verification) -> BundleClaims:
    """Check the approvals in a verified bundle. An unreadable part is a state of the result, not an error."""
    if not found.intact:
        return BundleClaims(None, None, ApprovalCheck("unknown", "files of the bundle are changed, missing or extra"))
    try:
        return _claims(bundle, found.manifest)
    except (PackError, ValueError, RecursionError) as error:
        why = error.message if isinstance(error, PackError) else str(error)
        return BundleClaims(None, None, ApprovalCheck("invalid", f"the bundle contradicts itself: {why[:300]}"))


def _claims(bundle: str | os.PathLike[str], manifest: Manifest) -> BundleClaims:
    policy_file = _read(bundle, manifest, POLICY)
    if policy_file is None:
        why = "the bundle has no policy. Earlier versions of the pack made such bundles"
        return BundleClaims(None, None, ApprovalCheck("unknown", why))
    about, policy = read_policy_document(policy_file)
    given_plan, approvals = _read(bundle, manifest, PLAN), _read(bundle, manifest, APPROVALS)
    if policy is None:
        return BundleClaims(about.sha256, None, ApprovalCheck("unknown", about.why or "the bundle has no policy"))
    plan = None if given_plan is None else read_plan(given_plan)
    tokens = [] if approvals is None else approvals.get("approvals")
    if not isinstance(tokens, list):
        raise ValueError(f"{APPROVALS} has no list of approvals")
    job = BulkJob.read(_read(bundle, manifest, JOB), JOB)
    if job.job_id != manifest.job_id.lower():
        raise ValueError(f"{JOB} and evidence.json name different jobs")
    check = check_approvals(policy, plan, job, manifest.account_id, tokens)
    return BundleClaims(about.sha256, None if plan is None else plan.plan_hash, check)


def _read(bundle: str | os.PathLike[str], manifest: Manifest, name: str) -> Mapping[str, Any] | None:
    """Return the JSON object in a file, or None if there is no such file. Raises: ValueError, ParameterError."""
    file = manifest.file(name)
    if file is None:
        return None
    if file.bytes > LARGEST_BYTES:
        raise ValueError(f"{name} is larger than {LARGEST_BYTES >> 20} MiB")
    document = read_json(verified_file(bundle, file).decode())
    if not isinstance(document, dict):
        raise ValueError(f"{name} is not a JSON object")
    return document
