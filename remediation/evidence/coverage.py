"""Check that an evidence bundle covers a job as it is now, before the job is deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.api_object import uuid_of
from connectors.objects.job import BulkJob
from core.errors import EvidenceRefused, UnexpectedAnswer
from remediation.evidence.manifest import BundledFile
from remediation.evidence.recount import Recount
from remediation.evidence.signature import Signer
from remediation.evidence.verification import Verification, verified_blocks, verified_file, verify
from remediation.evidence.verification_words import signature_words
from remediation.guardrails.approvals.keys import evidence_key
from remediation.guardrails.policy.gate import policy_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LARGEST_JOB_BYTES = 1 << 20


def check_coverage(api: EmailSecurity, evidence: str, job: BulkJob) -> Verification:
    """Verify the bundle, and check that it is of this job as it is now and holds all its rows.

    Raises: EvidenceRefused; ParameterError where the path is not a bundle.
    """
    key, name_of_key = _public_key(api)
    found = verify(evidence, key)
    about = found.manifest
    problems = [f"{finding.path} is {finding.state}" for finding in found.problems]
    if not found.authentic:
        problems.append(f"it is not signed with {name_of_key}: {signature_words(found)}")
    ours = (api.connection.account_id.lower(), job.job_id)
    if (about.account_id.lower(), uuid_of(about.job_id)) != ours:
        problems.append(f"it is of job {about.job_id} of account {about.account_id}")
    elif (
        about.status is not None
        or about.snapshot
        or not about.complete
        or about.rows != job.total_messages_discovered
        or (rows := about.file("rows.ndjson")) is None
    ):
        problems.append("it does not hold every row of the ended job")
    elif not problems:
        file = about.file("job.json")
        if file is None or file.bytes > LARGEST_JOB_BYTES or not _is_as_it_was(job, verified_file(evidence, file)):
            problems.append("the job's status or counters are not those in its job.json")
        elif problem := _recounted(evidence, rows, job, api):
            problems.append(problem)
    if problems:
        raise EvidenceRefused(f"the evidence does not cover this job: {'; '.join(problems)}", job_id=job.job_id)
    return found


def _public_key(api: EmailSecurity) -> tuple[Ed25519PublicKey | None, str]:
    """Return the key that the evidence must be signed with, and its name; None where it need not be signed.

    Raises: EvidenceRefused where the policy requires a signature and no key is set; what Signer and evidence_key raise.
    """
    rule = policy_of(api).delete if api.has_policy else None
    if rule is not None and rule.public_key is not None:
        return evidence_key(policy_of(api)), "the policy's public_key"
    if api.connection.evidence_key is not None:
        return Signer(api.connection.evidence_key.get_secret_value()).public_key, "CFES_EVIDENCE_KEY"
    if rule is not None and rule.evidence == "signed":
        raise EvidenceRefused(
            "the policy requires signed evidence, and there is no key to check a signature with",
            help="Nothing was deleted. Set CFES_EVIDENCE_KEY_FILE, or put the public_key into the policy's `delete`.",
        )
    return None, "any key"


def _recounted(evidence: str, file: BundledFile, job: BulkJob, api: EmailSecurity) -> str | None:
    """Return the problem with the rows in the bundle, or None. Raises: ParameterError, what a read raises."""
    recount = Recount(job)
    if problem := recount.read(verified_blocks(evidence, file)) or recount.disagreement():
        return problem
    # A bundle of another job with the same numbers: some of this job's own rows must be in it.
    for rows, _ in api.job_message_pages(job.job_id):
        return "rows.ndjson lacks rows of the job" if recount.lacks(rows.ids) else None
    return None


def _is_as_it_was(job: BulkJob, text: bytes) -> bool:
    try:
        then = BulkJob.read(json.loads(text), "job.json")
    except (ValueError, RecursionError, UnexpectedAnswer):
        return False
    return (then.status, then.counters()) == (job.status, job.counters())
