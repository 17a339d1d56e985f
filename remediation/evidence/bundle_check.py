"""Check whether the approvals in an evidence bundle meet its policy, from the bundle alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.objects.job import BulkJob
from core.errors import PackError
from core.json_values import read_json
from remediation.evidence.approval_check import ApprovalCheck, check_approvals
from remediation.evidence.manifest import Manifest
from remediation.evidence.verification import Verification, verified_file
from remediation.guardrails.plans.plan import read_plan
from remediation.guardrails.policy.document import read_policy_document

LARGEST_BYTES = 4 << 20

POLICY, APPROVALS, PLAN, JOB = "policy.json", "approvals.json", "plan.json", "job.json"


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
