"""Check that an evidence bundle covers a job as it is now, before the job is deleted.

A manifest only claims that the rows are complete. So the rows are counted again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, get_args

import msgspec

from connectors.email_security import EmailSecurity
from connectors.objects.api_object import uuid_of
from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.row_ids import RowIds
from core.errors import EvidenceRefused, UnexpectedAnswer
from core.instants import instant_or_none
from core.quantity import counted
from remediation.evidence.manifest import BundledFile
from remediation.evidence.signature import Signer
from remediation.evidence.verification import Verification, verified_blocks, verified_file, verify
from remediation.evidence.verification_words import signature_words
from remediation.guardrails.approvals.keys import evidence_key
from remediation.guardrails.policy.gate import policy_of
from remediation.jobs.row_count import RowCount

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LARGEST_JOB_BYTES = 1 << 20

# No row is longer. An endless line must not fill the memory.
LONGEST_LINE_BYTES = 1 << 26

_KNOWN = frozenset(get_args(MessageStatus))

# Cloudflare may record whole seconds for one time and fractions for another.
_ROUNDING = timedelta(seconds=1)


def check_coverage(api: EmailSecurity, evidence: str, job: BulkJob) -> Verification:
    """Verify the bundle, and check that it is of this job as it is now and holds all its rows.

    Raises: EvidenceRefused; ParameterError if the path is not a bundle.
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
    """Return the key that the evidence must be signed with, and its name; None if it need not be signed.

    Raises: EvidenceRefused if the policy requires a signature and no key is set; what Signer and evidence_key raise.
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


class _ActionParams(msgspec.Struct, gc=False):
    destination: str | None = None


class _Row(msgspec.Struct, gc=False):
    message_id: str
    status: str
    action_type: str | None = None
    action_params: _ActionParams | None = None
    created_at: str | None = None


_decoder = msgspec.json.Decoder(_Row)


class Recount:
    """The rows of a bundle, by status. Takes 7 bytes of memory for each row."""

    def __init__(self, job: BulkJob) -> None:
        self._job = job
        self._created = _instant(job.created_at)
        self._ids = RowIds()
        self._by_status: Counter[str] = Counter()
        self._rows = 0

    def read(self, blocks: Iterable[bytes]) -> str | None:
        """Count the rows of an NDJSON file. Return the problem of the first bad row, or None."""
        for number, line in enumerate(_lines(blocks), start=1):
            if len(line) > LONGEST_LINE_BYTES:
                return f"line {number} of rows.ndjson is longer than a row can be"
            if not line.strip():
                continue
            try:
                row = _decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError):
                return f"line {number} of rows.ndjson is not a row of a job"
            if problem := self._problem(row):
                return f"line {number} of rows.ndjson {problem}"
        return None

    def disagreement(self) -> str | None:
        """Return how the rows and the job's counters differ, or None."""
        expected = self._job.total_messages_discovered
        if self._rows != expected:
            return f"rows.ndjson has {counted(self._rows, 'row')}, but the job counts {expected:,}"
        for status, (rows, count) in RowCount(None, self._rows, self._by_status).differences(self._job).items():
            return f"rows.ndjson has {counted(rows, 'row')} with status {status}, but the job counts {count:,}"
        return None

    def lacks(self, row_ids: Iterable[str]) -> bool:
        """Return whether any of these rows is missing from the file."""
        return any(self._ids.new(row_ids))

    def _problem(self, row: _Row) -> str | None:
        if row.status not in _KNOWN:
            return "has an unknown status"
        if not self._ids.new([row.message_id])[0]:
            return "repeats a row"
        self._rows += 1
        self._by_status[row.status] += 1
        job, folder = self._job, None if row.action_params is None else row.action_params.destination
        job_folder = None if job.action_params is None else job.action_params.destination
        other_action = None not in (row.action_type, job.action_type) and row.action_type != job.action_type
        other_folder = None not in (folder, job_folder) and folder != job_folder
        created = _instant(row.created_at)
        before = created is not None and self._created is not None and created < self._created - _ROUNDING
        return "is a row of another job" if other_action or other_folder or before else None


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of these blocks. A line that is too long is cut and ends the iteration."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE_BYTES:
            yield rest
            return
    yield rest


# Many rows share a creation time, so most times are in the cache.
_instant = lru_cache(maxsize=1024)(instant_or_none)
