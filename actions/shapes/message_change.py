"""The parameters and the result that the four actions on named messages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, StringConstraints

from actions.contract.action import BoundedParams, BoundedResult, Preview
from actions.contract.file_parameters import READS_FILE
from actions.shapes.approval_parameters import Approvals, Person
from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType
from connectors.objects.message import MessageStatus
from connectors.objects.message_change import INVESTIGATE_ID
from core.errors import ParameterError, TemporaryFailure
from remediation.guardrails.change import Change
from remediation.guardrails.limits import Limits
from remediation.guardrails.message_rules import numbers_of
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.survey import Survey
from remediation.messages.change import CHECKED_FIRST, IDS_IN_DRY_RUN, ChangeCall, ChangeOutcome
from remediation.messages.rows import MessageRow
from remediation.messages.selection import MOST_MESSAGES, Selection, of_export, of_ids

UNACCOUNTED_NAMED = 1000

InvestigateId = Annotated[str, StringConstraints(pattern=INVESTIGATE_ID)]
ExportPath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ChangeParams(BoundedParams):
    """The reason, the requester, and the limits of a change of named messages."""

    dry_run: bool = Field(False, description="Show the messages and the plan_hash; change nothing.")
    max_messages: int | None = Field(None, ge=1, le=MOST_MESSAGES, description="Refuse more messages than this.")
    comment: str | None = Field(
        None, max_length=1000, description="The reason. Required if the policy has `reason_needed`."
    )
    skip_done: bool | None = Field(
        None,
        description=f"Look up the messages, and skip those in place. Default: true for up to {CHECKED_FIRST} messages.",
    )
    plan_hash: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="The plan_hash of a dry run. Refuse the change if its messages, folder or account differ.",
    )
    requested_by: Person | None = Field(
        None, description="Requester: a login or an address. If CFES_REQUESTED_BY is set, any other name is refused."
    )
    approvals: Approvals = Field(
        default_factory=list,
        max_length=10,
        description="Approvals of a dry run's plan_hash: tokens of `cfes approve`, or its output. They count once. A "
        "rejection refuses the change.",
    )


class NamedParams(ChangeParams):
    """Parameters of a change whose messages are given as ids or as an export."""

    ids: list[InvestigateId] | None = Field(
        None, min_length=1, max_length=MOST_MESSAGES, description="Investigate IDs. Give either `ids` or `export`."
    )
    export: ExportPath | None = Field(
        None,
        description="The evidence bundle (zip) or NDJSON file of export-job-messages, whose rows name the messages: a "
        "path, or the URL of an object.",
        json_schema_extra=READS_FILE,
    )
    statuses: list[MessageStatus] | None = Field(
        None, min_length=1, description="With `export`: only rows with one of these statuses. All rows by default."
    )


class ChangeResult(BoundedResult):
    """The outcome of each message. The counts are of messages: their sum is `messages`."""

    cut_order: ClassVar[Sequence[str]] = (
        *("results", "ids", "sample", "by_sender", "by_recipient_domain", "by_disposition"),
        *("rows_without_id", "unaccounted", "refusals", "warnings"),
    )
    # Approvals are of all the IDs: a part of them proves nothing.
    cut_whole = frozenset({"ids"})

    dry_run: bool = Field(description="True: nothing was changed.")
    done: bool = Field(
        description="Whether nothing is left to do. False for a dry run with messages, and for rows without an ID."
    )
    plan_hash: str = Field(description="SHA-256 over account, action, destination and the IDs. Approvals name it.")
    account_id: str = Field(description="The account.")
    action: ActionType = Field(description="MOVE or RELEASE.")
    destination: str | None = Field(description="The folder; null for RELEASE.")
    messages: int = Field(description="Distinct messages that were named.")
    ids: list[str] | None = Field(
        description="In a dry run of up to 10,000 messages: their sorted IDs, which plan_hash covers. Else null, also "
        "if they do not fit into `max_result_bytes`."
    )
    recipients: int | None = Field(description="Distinct recipients; null if they are not known for every message.")
    requested_by: str | None = Field(description="The requester; null if not stated.")
    requester_proved: bool = Field(
        description="Whether a setting or the platform names the requester, not a parameter."
    )
    found: int | None = Field(description="In a dry run: messages that the service found; else null.")
    by_recipient_domain: dict[str, int] = Field(description="In a dry run: messages by the recipient's domain.")
    by_disposition: dict[str, int] = Field(description="In a dry run: messages by verdict.")
    by_sender: dict[str, int] = Field(description="In a dry run: messages by sender, the most frequent first.")
    sample: list[dict[str, Any]] = Field(
        description="In a dry run: 10 of the messages found, from each verdict in turn."
    )
    refusals: list[dict[str, str]] = Field(
        description="In a dry run: why the same call with approvals would be refused."
    )
    approvals_needed: int = Field(description="How many approvals the policy requires.")
    approved_by: list[str] = Field(description="The approvers.")
    duplicates: int = Field(description="How often a message was named more than once. Each was sent once.")
    without_id: int = Field(description="Rows without an investigate ID: their messages were not changed.")
    rows_without_id: list[str] = Field(description="The row IDs of the first 1,000 rows without an investigate ID.")
    succeeded: int = Field(description="Messages that were changed for every recipient.")
    already: int = Field(description="Messages that were in place already. They were not sent.")
    failed: int = Field(description="Messages that failed for at least one recipient.")
    unknown: int = Field(description="Messages whose outcome the service's answer does not show.")
    not_sent: int = Field(description="Messages that were not sent.")
    unaccounted: list[str] = Field(description="The IDs of the first 1,000 unknown messages.")
    results: list[MessageRow] = Field(description="A row for each message and recipient, failures first.")
    warnings: list[str] = Field(description="Warnings for a person.")


R = TypeVar("R", bound=ChangeResult)


def selection_of(p: NamedParams) -> Selection:
    """Return the messages that the parameters name. Raises: ParameterError."""
    if (p.ids is None) == (p.export is None):
        message = "`ids` or `export` is required" if p.ids is None else "`ids` and `export` can't be combined"
        raise ParameterError.at("", message)
    if p.ids is not None:
        if p.statuses is not None:
            raise ParameterError.at("/statuses", "is for rows of an export")
        return of_ids(p.ids)
    statuses = p.statuses
    return of_export(p.export or "", lambda row: statuses is None or row.status in statuses)


def call_of(p: ChangeParams, change: Change, selection: Selection) -> ChangeCall:
    """Return the change that these parameters ask for."""
    return ChangeCall(
        change,
        selection,
        Limits.among(vars(p)),
        dry_run=p.dry_run,
        skip_done=p.skip_done,
        requested_by=p.requested_by,
        approvals=p.approvals,
        comment=p.comment,
        plan_hash=p.plan_hash,
        resume_bytes=p.max_result_bytes,
    )


def result_of(api: EmailSecurity, outcome: ChangeOutcome, result: type[R], **more: Any) -> R:
    """Return the result of an action. more: the fields of this action alone; its `warnings` come first."""
    prepared, ledger = outcome.prepared, outcome.prepared.ledger
    call, messages, counts = prepared.call, ledger.messages, ledger.counts()
    numbers = numbers_of(messages.values())
    facts = (prepared.survey or Survey(policy_of(api))).facts()
    return result(
        dry_run=call.dry_run,
        done=outcome.done,
        plan_hash=prepared.plan_hash,
        account_id=api.connection.account_id,
        action=call.change.action,
        destination=call.change.destination,
        messages=len(messages),
        ids=sorted(messages) if call.dry_run and len(messages) <= IDS_IN_DRY_RUN else None,
        recipients=None if numbers is None else numbers.recipients,
        requested_by=prepared.requested_by,
        requester_proved=api.connection.requested_by is not None,
        found=None if prepared.survey is None else prepared.survey.distinct_messages,
        **{name: facts[name] for name in ("by_recipient_domain", "by_disposition", "by_sender", "sample")},
        refusals=[{"type": type(one).__name__, "message": one.message} for one in prepared.refusals],
        approvals_needed=prepared.needed.count,
        approved_by=sorted({one.approver for one in prepared.approvals}),
        duplicates=call.selection.repeats,
        without_id=call.selection.without_id,
        rows_without_id=call.selection.rows_without_id,
        succeeded=counts["succeeded"],
        already=counts["already"],
        failed=counts["failed"],
        unknown=counts["unknown"],
        not_sent=counts["not sent"],
        unaccounted=ledger.of("unknown")[:UNACCOUNTED_NAMED],
        # A result that is cut keeps its first rows: those without success.
        results=sorted(ledger.rows, key=lambda row: row.success is True),
        warnings=[*more.pop("warnings", ()), *outcome.warnings],
        **more,
    )


def dry_run_of(action_id: str, p: ChangeParams) -> Preview:
    """Return the same call as a dry run."""
    return Preview(action_id, {**p.model_dump(mode="json", exclude_unset=True), "dry_run": True})


def verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if a message failed, is unknown or has no ID, 6 if messages are still to be sent. A dry run exits 0."""
    if result["dry_run"]:
        return 0
    if result["failed"] or result["unknown"] or result["without_id"]:
        return 8
    return 0 if result["done"] else TemporaryFailure.exit_code
