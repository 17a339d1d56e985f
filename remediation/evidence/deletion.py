"""Delete an ended job, after its evidence was checked."""

from __future__ import annotations

from pydantic import Field

from connectors.email_security import EmailSecurity
from connectors.objects.api_object import Uuid
from core.errors import ApiRefusal, JobStillRunning, NotFound, OutcomeUnknown, PackError, PolicyRefused
from core.json_model import JsonModel
from core.quantity import counted
from remediation.guardrails.accountability import check_reason
from remediation.guardrails.approvals.spent import spend_approvals_of_job
from remediation.guardrails.policy.gate import policy_of
from remediation.stamp import Stamp

TAG_DELETED = (
    "the job's tag was deleted with it: a call with its idempotency key, or with its plan while the plan is valid, "
    "creates another job"
)
APPROVALS_USED = "the job's approvals are used: the same plan needs new ones"
WITHOUT_NAMES = "the evidence is without names: only the owner of the pseudonyms' key can tell who had these messages"
ALREADY_GONE = "no job has this ID: it was deleted before, or never existed in this account"
DELETED_BY_OTHERS = "the job was deleted by somebody else in the meantime: nothing was changed now"


class Deletion(JsonModel):
    """The outcome of a deletion."""

    job_id: Uuid = Field(description="The job's UUID.")
    deleted: bool = Field(description="Whether this call deleted the job.")
    already_gone: bool = Field(description="Whether the job was gone before: nothing was changed now.")
    previous_status: str | None = Field(description="The job's status before; null if there was no job.")
    evidence_sha256: str | None = Field(
        description="SHA-256 of the verified evidence.json; null without evidence, or if the job was gone."
    )
    warnings: list[str] = Field(description="Warnings for a person.")


def delete_with_evidence(api: EmailSecurity, job_id: str, *, evidence: str | None, comment: str | None) -> Deletion:
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
        return Deletion(
            job_id=job_id,
            deleted=False,
            already_gone=True,
            previous_status=None,
            evidence_sha256=None,
            warnings=[ALREADY_GONE],
        )
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: {job.messages_pending:,} of {counted(job.total_messages_discovered, 'message')} "
            "pending; only a job that has ended can be deleted",
            job_id=job.job_id,
        )
    warnings, sha256 = list[str](), None
    if evidence is not None:
        from remediation.evidence.coverage import check_coverage  # noqa: PLC0415 -- zipfile, msgspec and the policy's YAML

        verified = check_coverage(api, evidence, job)
        sha256 = verified.sha256
        if verified.manifest.pseudonyms is not None:
            warnings.append(WITHOUT_NAMES)
    stamp = Stamp.read(job.comment)
    if stamp is not None:
        if stamp.approved_by:
            spend_approvals_of_job(api, stamp.plan)
            warnings.insert(0, APPROVALS_USED)
        warnings.insert(0, TAG_DELETED)
    deleted = _delete_and_confirm(api, job_id)
    if not deleted:
        warnings.insert(0, DELETED_BY_OTHERS)
    return Deletion(
        job_id=job.job_id,
        deleted=deleted,
        already_gone=not deleted,
        previous_status=job.status,
        evidence_sha256=sha256,
        warnings=warnings,
    )


def _delete_and_confirm(api: EmailSecurity, job_id: str) -> bool:
    """Delete the job. Return whether this call did it: after a lost answer, a job that is gone counts as deleted by it.

    Raises: OutcomeUnknown, and what EmailSecurity.delete_job raises.
    """
    try:
        api.delete_job(job_id)
    except NotFound:
        return False
    except (OutcomeUnknown, ApiRefusal) as failure:
        if failure.certainly_not_applied:
            raise
        try:
            api.get_job(job_id)
            if isinstance(failure, OutcomeUnknown):
                api.delete_job(job_id)
        except NotFound:
            return True
        except PackError as error:
            raise OutcomeUnknown(
                f"could not check whether the job was deleted: {error.message}",
                help=f"Check job {job_id}. Deleting it again is safe.",
                job_id=job_id,
            ) from None
        if isinstance(failure, ApiRefusal):
            raise
    return True
