"""Delete an ended bulk job permanently, with its messages' rows.

Remote operation: DELETE /accounts/{account_id}/email-security/investigate/bulk/{job_id}.
Only COMPLETED, FAILED and CANCELLED jobs can be deleted. Export the rows first: they are the evidence. With `evidence`
the job is deleted only after that bundle verifies, is of this very job as it is now, and holds all its rows: they are
counted again. The policy can require evidence, or forbid to delete.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import Field

from actions.contract.action import WRITE, Action, ActionParams, ActionResult, JobId, Preview
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID
from connectors.email_security import EmailSecurity
from connectors.objects.api_object import uuid_of
from connectors.objects.job import BulkJob
from core.errors import (
    ApiRefusal,
    EvidenceRefused,
    JobStillRunning,
    NotFound,
    OutcomeUnknown,
    PackError,
    PolicyRefused,
    UnexpectedAnswer,
)
from core.quantity import counted
from remediation.guardrails.accountability import check_reason
from remediation.guardrails.approvals.spent import spend_approvals_of_job
from remediation.guardrails.policy.gate import policy_of
from remediation.stamp import Stamp

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from remediation.evidence.manifest import Manifest
    from remediation.evidence.verification import Verification

FORGOTTEN = (
    "the job's stamp is deleted with it: the same idempotency_key or plan would make a job again, as far as they are "
    "still valid"
)

SPENT = "the job's approvals are used: the same plan would need new ones"

NAMELESS = (
    "the evidence is without names: who had these messages can't be told from it, but by who has the pseudonyms' key"
)

LARGEST_JOB_BYTES = 1 << 20


class Params(ActionParams):
    job_id: JobId
    evidence: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Path of a bundle that export-job-messages made: unless it holds every row, nothing is deleted.",
    )
    comment: str | None = Field(
        None, max_length=1000, description="Why it is deleted. Required where the policy says `reason_needed`."
    )


class Result(ActionResult):
    job_id: JobId
    deleted: bool = Field(description="Whether this call deleted the job.")
    already_gone: bool = Field(description="Whether there was no such job any more: nothing was changed now.")
    previous_status: str | None = Field(description="The status that the job was in; null where there was none.")
    evidence_sha256: str | None = Field(
        description="SHA-256 of the evidence.json that was verified before; null where none was asked for, or the job "
        "was gone."
    )
    warnings: list[str] = Field(description="What a person should know.")


def delete_job(p: Params, api: EmailSecurity) -> Result:
    api.check_deletable()
    check_reason(api, p.comment)
    rule = policy_of(api).delete if api.has_policy else None
    if rule is not None and p.evidence is None:
        raise PolicyRefused(
            f"the policy asks for {'signed ' if rule.evidence == 'signed' else ''}evidence before a job is deleted",
            help="Nothing was deleted. Export the job with evidence: bundle, and give that path as `evidence`.",
        )
    try:
        job = api.get_job(p.job_id)
    except NotFound:
        gone = "there is no job with this ID: it was deleted before, or never existed in this account"
        return Result(
            job_id=p.job_id,
            deleted=False,
            already_gone=True,
            previous_status=None,
            evidence_sha256=None,
            warnings=[gone],
        )
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: {job.messages_pending:,} of {counted(job.total_messages_discovered, 'message')} "
            "pending; only a job that has ended can be deleted",
            job_id=job.job_id,
        )
    verified = None if p.evidence is None else _verified(p.evidence, job, api)
    stamp = Stamp.read(job.comment)
    if stamp is not None and stamp.approved_by:
        spend_approvals_of_job(api, stamp.plan)
    deleted = _delete(p.job_id, api)
    forgotten = [] if stamp is None else [FORGOTTEN, *([SPENT] if stamp.approved_by else [])]
    if verified is not None and verified.manifest.pseudonyms is not None:
        forgotten.append(NAMELESS)
    meanwhile = [] if deleted else ["the job was deleted by somebody else in the meantime: nothing was changed now"]
    return Result(
        job_id=job.job_id,
        deleted=deleted,
        already_gone=not deleted,
        previous_status=job.status,
        evidence_sha256=None if verified is None else verified.sha256,
        warnings=meanwhile + forgotten,
    )


def _verified(evidence: str, job: BulkJob, api: EmailSecurity) -> Verification:
    """Raises: EvidenceRefused, ParameterError where there is no bundle."""
    # Loaded here: a delete without evidence does not wait for it.
    from remediation.evidence.verification import verified_file, verify  # noqa: PLC0415
    from remediation.evidence.verification_words import signature_words  # noqa: PLC0415

    found = verify(evidence, _public_key(api))
    about = found.manifest
    problems = [f"{finding.path} is {finding.state}" for finding in found.problems]
    if not found.authentic:
        problems.append(f"it is not signed with {_name_of_key(api)}: {signature_words(found)}")
    ours = (api.connection.account_id.lower(), job.job_id)
    if (about.account_id.lower(), uuid_of(about.job_id)) != ours:
        problems.append(f"it is of job {about.job_id} of account {about.account_id}")
    elif (
        about.status is not None
        or about.snapshot
        or not about.complete
        or about.rows != job.total_messages_discovered
        or not any(file.path == "rows.ndjson" for file in about.files)
    ):
        problems.append("it does not hold every row of the ended job")
    elif not problems:
        file = next((file for file in about.files if file.path == "job.json"), None)
        if file is None or file.bytes > LARGEST_JOB_BYTES or not _is_as_it_was(job, verified_file(evidence, file)):
            problems.append("the job's status or counters are not those in its job.json")
        elif problem := _recounted(evidence, about, job, api):
            problems.append(problem)
    if problems:
        raise EvidenceRefused(f"the evidence does not cover this job: {'; '.join(problems)}", job_id=job.job_id)
    return found


def _public_key(api: EmailSecurity) -> Ed25519PublicKey | None:
    """Return the key that the evidence must be signed with; None where it need not be signed.

    Raises: EvidenceRefused where the policy asks for a signature and there is no key; what Signer and evidence_key
    raise.
    """
    rule = policy_of(api).delete if api.has_policy else None
    if rule is not None and rule.public_key is not None:
        from remediation.guardrails.approvals.keys import evidence_key  # noqa: PLC0415 -- cryptography, where a signature is checked

        return evidence_key(policy_of(api))
    if api.connection.evidence_key is not None:
        from remediation.evidence.signature import Signer  # noqa: PLC0415

        return Signer(api.connection.evidence_key.get_secret_value()).public_key
    if rule is not None and rule.evidence == "signed":
        raise EvidenceRefused(
            "the policy asks for signed evidence, and there is no key to check a signature with",
            help="Nothing was deleted. Set CFES_EVIDENCE_KEY_FILE, or put the public_key into the policy's `delete`.",
        )
    return None


def _name_of_key(api: EmailSecurity) -> str:
    rule = policy_of(api).delete if api.has_policy else None
    return "CFES_EVIDENCE_KEY" if rule is None or rule.public_key is None else "the policy's public_key"


def _recounted(evidence: str, about: Manifest, job: BulkJob, api: EmailSecurity) -> str | None:
    """Return what is wrong with the rows in the bundle, or None. Raises: ParameterError, what a read raises."""
    from remediation.evidence.recount import Recount  # noqa: PLC0415
    from remediation.evidence.verification import verified_blocks  # noqa: PLC0415

    recount = Recount(job)
    file = next(file for file in about.files if file.path == "rows.ndjson")
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


def _delete(job_id: str, api: EmailSecurity) -> bool:
    """Whether this call deleted it. Where the answer is lost or contradicts itself, a job that is gone was deleted."""
    try:
        api.delete_job(job_id)
    except NotFound:
        return False
    except (OutcomeUnknown, ApiRefusal) as failure:
        if failure.surely_not_applied:
            raise
        if not _is_gone(job_id, api):
            if isinstance(failure, ApiRefusal):
                raise
            _delete_again(job_id, api)
    return True


def _is_gone(job_id: str, api: EmailSecurity) -> bool:
    try:
        api.get_job(job_id)
    except NotFound:
        return True
    except PackError as error:
        raise _unknown(job_id, error) from None
    return False


def _delete_again(job_id: str, api: EmailSecurity) -> None:
    try:
        api.delete_job(job_id)
    except NotFound:
        # The first one has taken effect after all.
        return
    except PackError as error:
        raise _unknown(job_id, error) from None


def _unknown(job_id: str, cause: PackError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether the job was deleted could not be found out: {cause.message}",
        help=f"Look at job {job_id}. To delete it once more is safe.",
        job_id=job_id,
    )


ACTION = Action(
    id="delete-job",
    title="Delete an ended bulk job",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[WRITE],
    function=delete_job,
    preview=lambda p: Preview("get-job", {"job_id": p.job_id}),
    example_params={"job_id": JOB_ID, "evidence": "case-42.zip"},
    example_result={
        "job_id": JOB_ID,
        "deleted": True,
        "already_gone": False,
        "previous_status": "COMPLETED",
        "evidence_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
