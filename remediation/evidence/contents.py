"""Write the contents of an evidence bundle: rows, request, policy, plan, approvals, reports and every API call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.call_record import CallRecord
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core.errors import ParameterError
from core.instants import format_instant
from core.quantity import counted
from core.version import VERSION
from remediation.evidence.approval_check import (
    ApprovalCheck,
    BundledApprovals,
    check_approvals,
    verify_approvals_of_job,
)
from remediation.evidence.bundle import Bundle, blocks_of, bundle_at
from remediation.evidence.manifest import BundledFile, Manifest, Pack
from remediation.evidence.signature import Signer
from remediation.exports.files.atomic_file import FileRecord
from remediation.exports.files.line_file import BUNDLE_ROWS
from remediation.exports.files.partial_file import calls_beside, recorded_bytes
from remediation.exports.files.path_checks import failed_before_writing
from remediation.exports.formats.csv_table import write_csv
from remediation.exports.formats.ndjson import rows_of
from remediation.exports.row_file import RowFile
from remediation.guardrails.plans.plan import Plan, read_plan
from remediation.guardrails.plans.seal import SealState, seal_state
from remediation.guardrails.policy.document import policy_document, policy_hash, without_policy
from remediation.guardrails.policy.gate import policy_of
from remediation.jobs.job_of_plan import problem_of_plan
from remediation.jobs.match import is_proved
from remediation.reports.report import render_all
from remediation.reports.request_facts import request_facts
from remediation.stamp import StampKey

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms

PACK = "cloudflare-email-security-pack"


class BundleWriter:
    """Writes a bundle when the rows are complete. Create it before the first read: it rejects a bad key at once.

    status: the only exported status; None for all. about: the title, alert and warnings of the report. pseudonyms:
    replaces names in the rows and all other files.
    Raises: ConnectionSettingsError.
    """

    def __init__(
        self,
        api: EmailSecurity,
        *,
        status: str | None,
        plan: Mapping[str, Any] | None,
        approvals: Sequence[str] | None,
        about: Mapping[str, Any] | None,
        pseudonyms: Pseudonyms | None,
    ) -> None:
        self._api = api
        self._pseudonyms = pseudonyms
        self._status = status
        self._plan = plan
        self._approvals = approvals
        self._about = about or {}
        self._checked_approvals: BundledApprovals | None = None
        self._check: ApprovalCheck | None = None
        self._policy: dict[str, Any] = {}
        self._is_proved = False
        self._plan_seal: SealState | None = None
        self._calls_missing = False
        key = api.connection.evidence_key
        self._signer = None if key is None else Signer(key.get_secret_value())

    @contextmanager
    def recording(self, api: EmailSecurity, rows: RowFile, *, before: int | None) -> Iterator[EmailSecurity]:
        """Return the connection with its calls recorded: as set in the settings, else beside the destination.

        The record beside the destination exists as long as the rows' partial file, for the call that resumes the
        export. before: the size in bytes of an earlier call's record, None for the first call.
        """
        if api.call_record is not None:
            yield api
            return
        beside, is_discarded = calls_beside(rows.place.path), False
        if before is None:
            try:
                beside.unlink(missing_ok=True)
            except OSError as error:
                failed_before_writing(beside, error)
        self._calls_missing = recorded_bytes(rows.place.path) < (before or 0)
        try:
            with api.record_calls(beside) as recorded:
                yield recorded
        except BaseException as error:
            is_discarded = before is None and getattr(error, "resume", None) is None
            raise
        finally:
            if rows.closed or is_discarded:
                # A leftover record is no reason to fail: the bundle exists, or another error is raised.
                with suppress(OSError):
                    beside.unlink(missing_ok=True)

    def warnings(self, calls: CallRecord | None) -> Iterator[str]:
        """Yield warnings about the record of calls, the plan and the approvals."""
        if calls is not None and calls.lost:
            yield f"{counted(calls.lost, 'call')} could not be written to the record of calls"
        if self._plan_seal == "broken":
            yield "the plan in the bundle has a broken seal: it was edited, or sealed with another CFES_PLAN_KEY"
        if self._checked_approvals is not None and self._checked_approvals.unverified is not None:
            yield f"the approvals in the bundle are not verified: {self._checked_approvals.unverified}"
        if self._check is not None and not self._check.good:
            yield (
                f"approvals: {self._check.why}. `cfes verify` reports the same for the bundle. If the job had "
                "approvals, make the bundle again with them"
            )
        if self._calls_missing:
            yield "the record of earlier calls was lost: calls.ndjson begins where this export was resumed"

    def check_job(self, job: BulkJob) -> None:
        """Check the plan and the approvals against the job before its rows are read.

        Raises: ParameterError if the job is not from the plan, PlanRefused if the plan was edited, ApprovalRefused
        if an approval is not valid, PolicyUnusable.
        """
        plan, connection = None, self._api.connection
        if self._plan is not None:
            plan = read_plan(self._plan)
            if problem := problem_of_plan(self._api, plan, job):
                message = f"{problem}: the plan does not belong to this job"
                raise ParameterError.at("/plan", message)
            self._plan_seal = seal_state(plan, connection.plan_key)
        if self._approvals is not None:
            self._checked_approvals = verify_approvals_of_job(self._api, self._approvals, plan, job)
        self._check_policy(plan, job)
        self._is_proved = is_proved(job, connection.account_id, StampKey.of(connection.plan_key))

    def _check_policy(self, plan: Plan | None, job: BulkJob) -> None:
        """Record the policy that is in force now, and check the approvals against it."""
        api = self._api
        if not api.has_policy:
            self._policy = without_policy("no policy was set when the bundle was made (CFES_POLICY)")
        elif self._pseudonyms is not None:
            why = "the bundle is pseudonymized, and a policy contains names"
            self._policy = without_policy(why, sha256=policy_hash(policy_of(api)))
        else:
            self._policy = policy_document(
                policy_of(api), read_at=format_instant(api.clock.now().replace(microsecond=0))
            )
            self._check = check_approvals(policy_of(api), plan, job, api.connection.account_id, self._approvals or ())

    def write(self, rows: RowFile, export: Mapping[str, Any], calls: CallRecord | None) -> tuple[FileRecord, str]:
        """Write the bundle to the rows' destination, and remove the partial file. Return its record and a SHA-256.

        The SHA-256 is that of evidence.json. The record has the SHA-256 of the zip file, or for a folder that of
        evidence.json. export: the action's result as JSON. calls: the record of calls, if any.
        Raises: ParameterError, OutputError.
        """
        now, place, kept = self._api.clock.now(), rows.place, rows.what_is_kept()
        size = max(rows.size_bytes, 0 if calls is None else _size(calls.path))
        with bundle_at(
            Path(place.path),
            now=now,
            kept=kept,
            name=place.name,
            replace=place.overwrite,
            large=size > LARGE_BYTES,
        ) as bundle:
            with rows.proved_lines() as lines:
                bundle.add(BUNDLE_ROWS, lines)
            with rows.proved_lines() as lines, bundle.file("rows.csv") as table:
                write_csv(lines, table.write)
            summary = {
                **{name: value for name, value in export.items() if name not in _OTHER_FILES},
                "files": [{**file.model_dump(), "format": file.path[5:], "rows": rows.rows} for file in bundle.files],
            }
            bundle.add_json("export.json", summary)
            bundle.add_json("job.json", export["job"])
            bundle.add_json("request.json", self._request(export["job"]))
            bundle.add_json("policy.json", self._policy)
            if self._plan is not None:
                bundle.add_json(
                    "plan.json", self._plan if self._pseudonyms is None else self._pseudonyms.plan(self._plan)
                )
            if self._checked_approvals is not None:
                bundle.add_json("approvals.json", self._checked_approvals.document())
            self._add_reports(bundle, rows, summary, export["job"], now)
            if calls is not None:
                bundle.add("calls.ndjson", blocks_of(calls.path))
            bundle.seal(partial(self._manifest, export, now), self._signer)
        place.deliver()
        rows.abandon()
        return bundle.record(place.name, rows.rows), bundle.sha256

    def _add_reports(
        self, bundle: Bundle, rows: RowFile, export: Mapping[str, Any], job: Mapping[str, Any], now: datetime
    ) -> None:
        with rows.proved_lines() as lines:
            facts = {
                "title": "Bulk action report",
                **self._about,
                "generated_at": format_instant(now.replace(microsecond=0)),
                "pack_version": VERSION,
                "job": job,
                "request": self._request(job),
                "export": export,
                "rows": rows_of(lines),
                "warnings": list(dict.fromkeys([*self._about.get("warnings", ()), *export["warnings"]])),
            }
            hashes = {file.path: file.sha256 for file in bundle.files}
            html, markdown = render_all(facts, ("html", "markdown"), hashes)
            bundle.add("report.html", [html.encode()])
            bundle.add("report.md", [markdown.encode()])

    def _request(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job's request as the API has it, and the known and claimed facts about its requester."""
        facts = request_facts(job, proved=self._is_proved)
        if self._plan_seal is not None:
            facts["plan_seal"] = self._plan_seal
            if self._plan is not None and self._pseudonyms is None:
                facts["plan_hash"] = self._plan["plan_hash"]
        if self._checked_approvals is not None:
            facts["approvals"] = self._checked_approvals.summary()
        facts["policy"] = {name: self._policy[name] for name in ("sha256", "read_at", "why")}
        if self._check is not None:
            facts["approval_check"] = self._check.document()
        return facts

    def _manifest(self, export: Mapping[str, Any], now: datetime, files: list[BundledFile]) -> Manifest:
        made_by = self._api.connection.requested_by
        if made_by is not None and self._pseudonyms is not None:
            made_by = self._pseudonyms.name(made_by)
        return Manifest(
            made_at=format_instant(now.replace(microsecond=0)),
            made_by=made_by,
            pack=Pack(name=PACK, version=VERSION),
            account_id=self._api.connection.account_id,
            job_id=export["job_id"],
            status=self._status,
            rows=export["written"],
            complete=export["complete"],
            snapshot=export["snapshot"],
            pseudonyms=export["pseudonyms"],
            signer=None if self._signer is None else self._signer.fingerprint,
            files=files,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# A row takes at most a dozen times as much space as CSV as it does as JSON.
LARGE_BYTES = 128 << 20

# Fields of the result that export.json leaves out: they are other files of the bundle, or not known yet.
_OTHER_FILES = ("job", "messages", "resume", "files", "evidence_sha256")
