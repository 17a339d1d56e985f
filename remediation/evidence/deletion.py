"""Delete an ended job, after its evidence was checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import JobStillRunning, NotFound, PolicyRefused
from core.quantity import counted
from remediation.guardrails.accountability import check_reason
from remediation.guardrails.approvals.spent import spend_approvals_of_job
from remediation.guardrails.policy.gate import policy_of
from remediation.jobs.deletion import delete_surely
from remediation.stamp import Stamp

STAMP_DELETED = (
    "the job's tag is deleted with it: the same idempotency_key or plan would create another job, as far as it is "
    "still valid"
)
APPROVALS_USED = "the job's approvals are used: the same plan needs new ones"
WITHOUT_NAMES = "the evidence is without names: only the owner of the pseudonyms' key can tell who had these messages"
ALREADY_GONE = "no job has this ID: it was deleted before, or never existed in this account"
DELETED_BY_OTHERS = "the job was deleted by somebody else in the meantime: nothing was changed now"


@dataclass(frozen=True)
class Deletion:
    """The outcome. job: as it was; None if there was none. evidence_sha256: of the verified evidence.json."""

    job: BulkJob | None
    deleted: bool
    evidence_sha256: str | None = None
    warnings: list[str] = field(default_factory=list)


def delete_job(api: EmailSecurity, job_id: str, *, evidence: str | None, comment: str | None) -> Deletion:
    """Delete an ended job. evidence: a bundle that must hold every row of it. comment: the reason.

    Raises: PolicyRefused, JobStillRunning, EvidenceRefused, OutcomeUnknown, and what a read raises.
    """
    api.check_deletable()
    check_reason(api, comment)
    rule = policy_of(api).delete if api.has_policy else None
    if rule is not None and evidence is None:
        raise PolicyRefused(
            f"the policy requires {'signed ' if rule.evidence == 'signed' else ''}evidence before a job is deleted",
            help="Nothing was deleted. Export the job with evidence: bundle, and give that path as `evidence`.",
        )
    try:
        job = api.get_job(job_id)
    except NotFound:
        return Deletion(None, deleted=False, warnings=[ALREADY_GONE])
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: {job.messages_pending:,} of {counted(job.total_messages_discovered, 'message')} "
            "pending; only a job that has ended can be deleted",
            job_id=job.job_id,
        )
    warnings, sha256 = list[str](), None
    if evidence is not None:
        from remediation.evidence.coverage import check_coverage  # noqa: PLC0415 -- only with evidence

        verified = check_coverage(api, evidence, job)
        sha256 = verified.sha256
        if verified.manifest.pseudonyms is not None:
            warnings.append(WITHOUT_NAMES)
    stamp = Stamp.read(job.comment)
    if stamp is not None:
        if stamp.approved_by:
            spend_approvals_of_job(api, stamp.plan)
            warnings.insert(0, APPROVALS_USED)
        warnings.insert(0, STAMP_DELETED)
    deleted = delete_surely(api, job_id)
    if not deleted:
        warnings.insert(0, DELETED_BY_OTHERS)
    return Deletion(job, deleted, sha256, warnings)
