"""The parameters and the result that the four actions on named messages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from actions.contract.action import BoundedParams, BoundedResult, Preview
from actions.shapes.approval_parameters import Approvals, Person
from connectors.objects.job import ActionType
from connectors.objects.message import MessageStatus
from connectors.objects.message_change import INVESTIGATE_ID
from core.errors import TemporaryFailure
from remediation.messages.rows import MessageRow
from remediation.messages.selection import MOST_MESSAGES

# Up to so many messages the look before is taken unless skip_done is false.
LOOKED_AT_FIRST = 1000

InvestigateId = Annotated[str, StringConstraints(pattern=INVESTIGATE_ID)]
ExportPath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ChangeParams(BoundedParams):
    """What must hold before named messages are changed."""

    dry_run: bool = Field(False, description="Show what would be done, and the plan_hash; change nothing.")
    max_messages: int | None = Field(None, ge=1, le=MOST_MESSAGES, description="Refuse more messages than this.")
    comment: str | None = Field(
        None, max_length=1000, description="Why it is done. Required where the policy says `reason_needed`."
    )
    skip_done: bool | None = Field(
        None,
        description="Look first, and leave out what is in place already, as far as the service shows it. Where not "
        f"given: true for up to {LOOKED_AT_FIRST} messages.",
    )
    requested_by: Person | None = Field(
        None, description="Who asks: a login or an address. Where CFES_REQUESTED_BY is set, another name is refused."
    )
    approvals: Approvals = Field(
        default_factory=list,
        max_length=10,
        description="Approvals of the plan_hash that a dry run shows: tokens, or all that `cfes approve` prints. They "
        "count once. A rejection among them refuses.",
    )


class NamedParams(ChangeParams):
    """The same, and which messages: one of ids and export."""

    ids: list[InvestigateId] | None = Field(
        None, min_length=1, max_length=MOST_MESSAGES, description="Investigate IDs. Either these or export."
    )
    export: ExportPath | None = Field(
        None, description="Path of an NDJSON file of export-job-messages, whose rows name the messages."
    )
    statuses: list[MessageStatus] | None = Field(
        None, min_length=1, description="With export: only rows with one of these statuses; all unless given."
    )


class ChangeResult(BoundedResult):
    """What was done, message by message. The counts are of messages: their sum is `messages`."""

    cut_order: ClassVar[Sequence[str]] = (
        *("results", "ids", "sample", "by_sender", "by_recipient_domain", "by_disposition"),
        *("rows_without_id", "unaccounted", "refusals", "warnings"),
    )
    # Approvals are of all the IDs: a part of them proves nothing.
    cut_whole = frozenset({"ids"})

    dry_run: bool = Field(description="True: nothing was changed.")
    done: bool = Field(
        description="Nothing is left to do. False for a dry run that found something, and for rows without an ID."
    )
    plan_hash: str = Field(description="SHA-256 over account, action, destination and the IDs: what approvals are for.")
    account_id: str = Field(description="The account.")
    action: ActionType = Field(description="MOVE or RELEASE.")
    destination: str | None = Field(description="The folder; null for RELEASE.")
    messages: int = Field(description="Distinct messages that are meant.")
    ids: list[str] | None = Field(
        description="In a dry run of up to 10,000 messages their IDs, sorted: what plan_hash is over, and what an "
        "approver checks it against; else null. So they are where they do not fit into `max_result_bytes`."
    )
    recipients: int | None = Field(description="Distinct recipients of these; null where not known of every message.")
    requested_by: str | None = Field(description="Who asked; null where not stated.")
    requester_proved: bool = Field(
        description="Whether CFES_REQUESTED_BY or the platform says who asked; false: a parameter or nobody."
    )
    found: int | None = Field(
        description="In a dry run: how many of the messages the service found. What follows is of these; else null."
    )
    by_recipient_domain: dict[str, int] = Field(description="In a dry run: messages by the recipient's domain.")
    by_disposition: dict[str, int] = Field(description="In a dry run: messages by verdict.")
    by_sender: dict[str, int] = Field(description="In a dry run: messages by sender, the most first.")
    sample: list[dict[str, Any]] = Field(
        description="In a dry run: 10 of the messages that the service found, each verdict in turn, with sender, "
        "subject, recipients and verdict."
    )
    refusals: list[dict[str, str]] = Field(
        description="In a dry run: what would refuse the same call with approvals: type and message."
    )
    approvals_needed: int = Field(description="How many approvals the policy asks for.")
    approved_by: list[str] = Field(description="Who approved.")
    duplicates: int = Field(description="How often a message was named again; it was sent once.")
    without_id: int = Field(description="Rows without an investigate ID: their messages were not touched.")
    rows_without_id: list[str] = Field(description="The row IDs of the first 1,000 of them.")
    succeeded: int = Field(description="Messages that were changed for every recipient.")
    already: int = Field(description="Messages for which it was in place before, so that they were not sent.")
    failed: int = Field(description="Messages for which it failed, for at least one recipient.")
    unknown: int = Field(description="Messages that the service's answer does not account for.")
    not_sent: int = Field(description="Messages that were not sent.")
    unaccounted: list[str] = Field(description="The IDs of the first 1,000 that are unknown.")
    results: list[MessageRow] = Field(description="A row for each message and recipient, those without success first.")
    warnings: list[str] = Field(description="What a person should know.")


def dry_run_of(action_id: str, p: ChangeParams) -> Preview:
    """Return the same call as a dry run."""
    return Preview(action_id, {**p.model_dump(mode="json", exclude_unset=True), "dry_run": True})


def verdict(result: Mapping[str, Any]) -> int:
    """0 where everything that was asked for is done, or the dry run is; 6 where something is still to come; else 8."""
    if result["dry_run"]:
        return 0
    if result["failed"] or result["unknown"] or result["without_id"]:
        return 8
    return 0 if result["done"] else TemporaryFailure.exit_code
