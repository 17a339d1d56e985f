"""What the four actions on named messages share: parameters, the guardrails, the look before, the result.

The look before finds what is in place already, so that a repeated call sends nothing; it costs searches, so it is taken
without being asked for only where there are few messages. It also finds what the guardrails want to know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, StringConstraints

from actions.contract import ActionParams, ActionResult, Preview
from actions.job_request import Approvals, Person, mark_approvals_used
from actions.message_batches import Ledger, carry_out
from actions.message_lookup import look_up, state_of, was_purged, with_details
from actions.message_rows import MessageRow
from actions.message_selection import MOST_MESSAGES, Selection, of_export, of_ids
from actions.named_message_survey import survey_fields, survey_messages
from connectors.email_security import EmailSecurity
from connectors.errors import MaliciousRelease, NotRestorable, ParameterError, Problem, TemporaryFailure
from connectors.job import IRREVERSIBLE_DESTINATIONS, ActionType
from connectors.message import MessageStatus
from connectors.message_change import INVESTIGATE_ID
from connectors.search import MALICIOUS
from guardrails.accountability import check_reason, requester
from guardrails.approvals_needed import Need, wasted_approvals
from guardrails.limits import Limits
from guardrails.named_messages import (
    Allowance,
    Change,
    NamedMessage,
    approvals_needed,
    approved_by,
    check_messages,
    check_request,
    numbers_of,
    plan_hash,
    spend_budget,
    wanting,
)
from guardrails.spent_approvals import intent_of, reserve_approvals

if TYPE_CHECKING:
    from connectors.message import MessageDetails
    from guardrails.approval_token import ReadToken
    from guardrails.survey import Survey

# Up to so many messages the look before is taken unless skip_done is false.
LOOKED_AT_FIRST = 1000

# Above so many rows only those of messages that did not succeed are in the result.
ROWS_IN_RESULT = 10_000

UNACCOUNTED_NAMED = 1000

# A dry run of more messages shows no IDs: whoever approves it can't check the hash, and is told so.
IDS_IN_DRY_RUN = 10_000

InvestigateId = Annotated[str, StringConstraints(pattern=INVESTIGATE_ID)]
ExportPath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ChangeParams(ActionParams):
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
        None, description="Who asks: a login or an address. CFES_REQUESTED_BY goes before it."
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


class ChangeResult(ActionResult):
    """What was done, message by message. The counts are of messages: their sum is `messages`."""

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
        description="In a dry run of up to 10,000 messages their IDs, sorted: what plan_hash is over; else null."
    )
    recipients: int | None = Field(description="Distinct recipients of these; null where not known of every message.")
    requested_by: str | None = Field(description="Who asked; null where nobody said.")
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
        description="In a dry run: the first 10 messages that the service found, with sender, subject, recipients and "
        "verdict."
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
    results: list[MessageRow] = Field(
        description="A row for each message and recipient; above 10,000 rows only those without success."
    )
    results_complete: bool = Field(description="False where rows of success were left out of `results`.")
    warnings: list[str] = Field(description="What a person should know.")


R = TypeVar("R", bound=ChangeResult)


@dataclass
class Prepared:
    """A change that every guardrail has let pass."""

    p: ChangeParams
    selection: Selection
    ledger: Ledger
    plan_hash: str
    allowed: Allowance
    needed: Need
    approvals: list[ReadToken] = field(default_factory=list)
    survey: Survey | None = None
    refusals: list[dict[str, str]] = field(default_factory=list)


def dry_run_of(action_id: str, p: ChangeParams) -> Preview:
    """Return the same call as a dry run."""
    return Preview(action_id, {**p.model_dump(mode="json", exclude_unset=True), "dry_run": True})


def selection_of(p: NamedParams) -> Selection:
    """The messages that the parameters name. Raises: ParameterError."""
    if (p.ids is None) == (p.export is None):
        raise ParameterError(problems=[Problem(pointer="", message="either ids or export is required, not both")])
    if p.ids is not None:
        if p.statuses is not None:
            raise ParameterError(problems=[Problem(pointer="/statuses", message="is for rows of an export")])
        return of_ids(p.ids)
    statuses = p.statuses
    return of_export(p.export or "", lambda row: statuses is None or row.status in statuses)


def prepare(
    api: EmailSecurity,
    p: ChangeParams,
    selection: Selection,
    change: Change,
    *,
    allow_irreversible: bool = False,
    allow_malicious: bool = False,
) -> Prepared:
    """Ask every guardrail, and look first where that is wanted. Nothing is changed. Raises: GuardrailRefusal."""
    if not p.dry_run:
        api.check_writable()
        check_reason(api, p.comment)
    limits = Limits(allow_irreversible=allow_irreversible, allow_malicious=allow_malicious).under_policy(api)
    allowed = Allowance(
        max_messages=p.max_messages,
        # A dry run shows the messages before it is allowed.
        allow_irreversible=limits.allow_irreversible or p.dry_run,
        allow_malicious=limits.allow_malicious or p.dry_run,
        requested_by=requester(api, p.requested_by),
        approvals=p.approvals,
    )
    ledger = Ledger(change, _trusted(api, selection, change, allowed))
    check_request(api, change, len(ledger.messages), allowed)
    found = _look_first(api, p, ledger, allowed)
    check_messages(api, change, ledger.messages.values(), allowed)
    hashed = plan_hash(api.connection.account_id, change, ledger.messages)
    needed = approvals_needed(api, change, ledger.messages.values(), allowed.requested_by)
    if p.dry_run:
        # A dry run shows what is to be approved: it can't ask for the approvals.
        survey = survey_messages(api, found.values())
        refusals = [
            {"type": type(refusal).__name__, "message": refusal.message}
            for refusal in (
                *wasted_approvals(api, needed, allowed.requested_by),
                *_refused_delivery(api, ledger, allowed, limits),
            )
        ]
        return Prepared(p, selection, ledger, hashed, allowed, needed, [], survey, refusals)
    approvals = approved_by(api, needed, hashed, allowed)
    spend_budget(api, change, ledger.messages.values(), hashed)
    return Prepared(p, selection, ledger, hashed, allowed, needed, approvals)


def finish(
    api: EmailSecurity,
    ready: Prepared,
    result: type[R],
    *,
    action_id: str,
    hold_back: Collection[str] = (),
    **more: Any,
) -> R:
    """Send what is to be sent, unless this is a dry run. hold_back: messages whose time has not come.

    more: fields of the action's own result; `warnings` among them come first.
    """
    ledger, selection = ready.ledger, ready.selection
    ids = [one for one in ledger.messages if one not in ledger.outcomes and one not in hold_back]
    unspent: list[str] = []
    if not ready.p.dry_run and ids:
        unspent = _send(api, ready, ids, action_id)
    counted, numbers = ledger.counts(), numbers_of(ledger.messages.values())
    shown = ledger.rows if len(ledger.rows) <= ROWS_IN_RESULT else [row for row in ledger.rows if not row.success]
    warnings = [*more.pop("warnings", ()), *_warnings(ready), *ledger.warnings, *unspent]
    if len(shown) < len(ledger.rows):
        warnings.append(f"of {len(ledger.rows)} rows only the {len(shown)} without success are in results")
    return result(
        dry_run=ready.p.dry_run,
        done=counted["not sent"] == 0 and selection.without_id == 0,
        plan_hash=ready.plan_hash,
        account_id=api.connection.account_id,
        action=ledger.change.action,
        destination=ledger.change.destination,
        messages=len(ledger.messages),
        ids=sorted(ledger.messages) if ready.p.dry_run and len(ledger.messages) <= IDS_IN_DRY_RUN else None,
        recipients=None if numbers is None else numbers.recipients,
        requested_by=ready.allowed.requested_by,
        requester_proved=api.connection.requested_by is not None,
        **survey_fields(ready.survey),
        refusals=ready.refusals,
        approvals_needed=ready.needed.count,
        approved_by=sorted({one.approver for one in ready.approvals}),
        duplicates=selection.repeats,
        without_id=selection.without_id,
        rows_without_id=selection.rows_without_id,
        succeeded=counted["succeeded"],
        already=counted["already"],
        failed=counted["failed"],
        unknown=counted["unknown"],
        not_sent=counted["not sent"],
        unaccounted=ledger.of("unknown")[:UNACCOUNTED_NAMED],
        results=shown,
        results_complete=len(shown) == len(ledger.rows),
        warnings=warnings,
        **more,
    )


def _send(api: EmailSecurity, ready: Prepared, ids: list[str], action_id: str) -> list[str]:
    """Send what is to be sent; an approval of it counts once. Returns warnings.

    Raises: ApprovalRefused before anything is sent, and what carry_out raises. After that the same call may be run
    again with its approvals: they are reserved for it, and used only when nothing is left to do.
    """
    if ready.approvals:
        reserve_approvals(api, ready.approvals, plan_hash=ready.plan_hash, intent=intent_of(ready.plan_hash))
    carry_out(api, ready.ledger, ids, action_id=action_id)
    counted = ready.ledger.counts()
    if not ready.approvals or counted["not sent"] or counted["unknown"]:
        return []
    return mark_approvals_used(api, ready.plan_hash)


def verdict(result: Mapping[str, Any]) -> int:
    """0 where everything that was asked for is done, or the dry run is; 6 where something is still to come; else 8."""
    if result["dry_run"]:
        return 0
    if result["failed"] or result["unknown"] or result["without_id"]:
        return 8
    return 0 if result["done"] else TemporaryFailure.exit_code


def _trusted(api: EmailSecurity, selection: Selection, change: Change, allowed: Allowance) -> dict[str, NamedMessage]:
    """The messages with what a guardrail may rest on: a file says whom it names, the service what they are."""
    bare = {
        one: replace(known, recipients=None, senders=None, verdict=None) for one, known in selection.messages.items()
    }
    asked_for = selection.from_file and wanting(api, change, bare.values(), allowed)
    return bare if asked_for else dict(selection.messages)


def _look_first(
    api: EmailSecurity, p: ChangeParams, ledger: Ledger, allowed: Allowance
) -> Mapping[str, MessageDetails]:
    """Look up what the guardrails and a dry run want to know, and what is in place already.

    Returns the messages found, by ID. Raises: what a search raises.
    """
    skip_done = len(ledger.messages) <= LOOKED_AT_FIRST if p.skip_done is None else p.skip_done
    wanted: Collection[NamedMessage] = ledger.messages.values()
    # More messages than a dry run shows the IDs of can't be approved.
    if not skip_done and not (p.dry_run and len(ledger.messages) <= IDS_IN_DRY_RUN):
        wanted = wanting(api, ledger.change, wanted, allowed)
    found = look_up(api, [message.id for message in wanted])
    if ledger.change == Change("MOVE", "Inbox"):
        purged = [one for one, details in found.items() if was_purged(details)]
        if purged:
            raise NotRestorable(f"{len(purged)} of {len(ledger.messages)} messages were purged, {purged[0]} among them")
    for one, details in found.items():
        ledger.messages[one] = with_details(ledger.messages[one], details)
    if skip_done:
        done = [one for one in ledger.messages if state_of(found.get(one), ledger.change) == "done"]
        ledger.note(done, "already", "it was in place already")
        unseen = len(ledger.messages) - len(found)
        if unseen:
            ledger.warnings.append(f"{unseen} messages could not be found by a search before: not known to be there")
    return found


def _refused_delivery(api: EmailSecurity, ledger: Ledger, allowed: Allowance, limits: Limits) -> list[MaliciousRelease]:
    """Return the refusal of messages that must not come into users' Inbox: a dry run shows them all the same."""
    try:
        strict = replace(allowed, allow_malicious=limits.allow_malicious)
        check_messages(api, ledger.change, ledger.messages.values(), strict)
    except MaliciousRelease as refusal:
        return [refusal]
    return []


def _warnings(ready: Prepared) -> list[str]:
    selection, warnings = ready.selection, []
    if not selection.messages:
        warnings.append("no message is named: there is nothing to do")
    if selection.without_id:
        warnings.append(f"{selection.without_id} rows have no investigate ID: their messages can't be named")
    if ready.p.dry_run and ready.needed:
        warnings.append(f"the policy asks for {ready.needed} of this plan_hash")
    warnings += [refusal["message"] for refusal in ready.refusals]
    survey = ready.survey
    if survey is not None and survey.distinct_messages < len(ready.ledger.messages):
        missing = len(ready.ledger.messages) - survey.distinct_messages
        warnings.append(
            f"the service did not show {missing} of {len(ready.ledger.messages)} messages: what they are is not known"
        )
    if ready.ledger.change.destination in IRREVERSIBLE_DESTINATIONS:
        warnings.append(f"messages moved to {ready.ledger.change.destination} are out of the users' reach for good")
    malicious = sum(message.verdict in MALICIOUS for message in ready.ledger.messages.values())
    if ready.ledger.change.destination == "Inbox" and malicious:
        warnings.append(f"{malicious} messages have the verdict MALICIOUS or MALICIOUS-BEC: they go to users' Inbox")
    unknown = ready.ledger.counts()["unknown"]
    if unknown:
        warnings.append(f"the service's answers do not account for {unknown} messages: they may or may not be done")
    return warnings
