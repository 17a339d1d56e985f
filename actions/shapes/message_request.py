"""What the four actions on named messages do: check the guardrails, look the messages up, send, make the result.

The look before finds what is in place already, so that a repeated call sends nothing; it costs searches, so it is taken
without being asked for only where there are few messages. It also finds what the guardrails want to know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from actions.shapes.job_request import mark_approvals_used
from actions.shapes.message_change import LOOKED_AT_FIRST, ChangeParams, ChangeResult, NamedParams
from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from core.errors import MaliciousRelease, NotRestorable, ParameterError, Problem
from core.quantity import counted
from core.search_words import MALICIOUS
from remediation.guardrails.accountability import check_reason, requester
from remediation.guardrails.approvals.needed import Need, wasted_approvals
from remediation.guardrails.approvals.spent import intent_of, reserve_approvals
from remediation.guardrails.limits import Limits
from remediation.guardrails.message_rules import (
    Allowance,
    Change,
    NamedMessage,
    approvals_needed,
    approved_by,
    check_messages,
    check_request,
    find_unknown,
    numbers_of,
    plan_hash,
    within_budget,
)
from remediation.messages.batches import Ledger, carry_out
from remediation.messages.lookup import LOGS_BEFORE, look_up, needs_log, read_logs, state_of, was_purged, with_details
from remediation.messages.selection import Selection, of_export, of_ids
from remediation.messages.survey import survey_fields, survey_messages

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails
    from connectors.objects.message_action import MessageAction
    from remediation.guardrails.approvals.token import ReadToken
    from remediation.guardrails.survey import Survey

UNACCOUNTED_NAMED = 1000

# A dry run of more messages shows no IDs: whoever approves it can't check the hash, and is told so.
IDS_IN_DRY_RUN = 10_000

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
    ledger = Ledger(change, _trusted(api, selection, change, allowed), resume_bytes=p.max_result_bytes)
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
    return Prepared(p, selection, ledger, hashed, allowed, needed, approvals)


def finish(
    api: EmailSecurity,
    ready: Prepared,
    result: type[R],
    *,
    action_id: str,
    hold_back: Collection[str] = (),
    unresolved: int = 0,
    **more: Any,
) -> R:
    """Send what is to be sent, unless this is a dry run. hold_back: messages whose time has not come.

    unresolved: messages that are not among those named, and of which it is not known whether they are meant.
    more: fields of the action's own result; `warnings` among them come first.
    """
    ledger, selection = ready.ledger, ready.selection
    ids = [one for one in ledger.messages if one not in ledger.outcomes and one not in hold_back]
    unspent: list[str] = []
    if not ready.p.dry_run and ids:
        unspent = _send(api, ready, ids, action_id)
    counts, numbers = ledger.counts(), numbers_of(ledger.messages.values())
    warnings = [*more.pop("warnings", ()), *_warnings(ready), *ledger.warnings, *unspent]
    return result(
        dry_run=ready.p.dry_run,
        done=counts["not sent"] == 0 and selection.without_id == 0 and unresolved == 0,
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
        succeeded=counts["succeeded"],
        already=counts["already"],
        failed=counts["failed"],
        unknown=counts["unknown"],
        not_sent=counts["not sent"],
        unaccounted=ledger.of("unknown")[:UNACCOUNTED_NAMED],
        # Where they are cut, what did not succeed stays.
        results=sorted(ledger.rows, key=lambda row: row.success is True),
        warnings=warnings,
        **more,
    )


def _send(api: EmailSecurity, ready: Prepared, ids: list[str], action_id: str) -> list[str]:
    """Send what is to be sent; an approval of it counts once. Returns warnings.

    Raises: ApprovalRefused and PolicyRefused before anything is sent, and what carry_out raises. After that the same
    call may be run again with its approvals: they are reserved for it, and used only when nothing is left to do.
    """
    if ready.approvals:
        reserve_approvals(api, ready.approvals, plan_hash=ready.plan_hash, intent=intent_of(ready.plan_hash))
    # The whole list: a part that is sent again replaces what was recorded of it.
    with within_budget(api, ready.ledger.change, ready.ledger.messages.values(), ready.plan_hash):
        carry_out(api, ready.ledger, ids, action_id=action_id)
    counts = ready.ledger.counts()
    if not ready.approvals or counts["not sent"] or counts["unknown"]:
        return []
    return mark_approvals_used(api, ready.plan_hash)


def _trusted(api: EmailSecurity, selection: Selection, change: Change, allowed: Allowance) -> dict[str, NamedMessage]:
    """The messages with what a guardrail may rest on: a file says whom it names, the service what they are."""
    bare = {
        one: replace(known, recipients=None, senders=None, verdict=None) for one, known in selection.messages.items()
    }
    asked_for = selection.from_file and find_unknown(api, change, bare.values(), allowed)
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
        wanted = find_unknown(api, ledger.change, wanted, allowed)
    found = look_up(api, [message.id for message in wanted])
    to_inbox = ledger.change == Change("MOVE", "Inbox")
    logs = read_logs(api, found, ledger.change, LOGS_BEFORE) if skip_done or to_inbox else {}
    if to_inbox:
        _refuse_purged(ledger, logs)
    for one, details in found.items():
        ledger.messages[one] = with_details(ledger.messages[one], details)
    if skip_done:
        done = [one for one in ledger.messages if state_of(found.get(one), logs.get(one), ledger.change) == "done"]
        ledger.note(done, "already", "it was in place already")
        unseen = len(ledger.messages) - len(found)
        if unseen:
            ledger.warnings.append(
                f"{counted(unseen, 'message')} could not be found by a search before: not known to be there"
            )
        unread = sum(needs_log(details, ledger.change) for details in found.values()) - len(logs)
        if unread > 0:
            ledger.warnings.append(
                f"{counted(unread, 'message was', 'messages were')} moved before, and where to was not looked up: a "
                f"call reads at most {LOGS_BEFORE} action logs, of the API's 1,200 calls in 5 minutes"
            )
    return found


def _refuse_purged(ledger: Ledger, logs: Mapping[str, list[MessageAction]]) -> None:
    """Raises: NotRestorable where a message was moved to RecoverableItemsPurges."""
    purged = [one for one, log in logs.items() if was_purged(log)]
    if purged:
        raise NotRestorable(
            f"{len(purged)} of {counted(len(ledger.messages), 'message was', 'messages were')} purged, {purged[0]} "
            "among them"
        )


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
        warnings.append(
            f"{counted(selection.without_id, 'row has', 'rows have')} no investigate ID: the message can't be named"
        )
    if ready.p.dry_run and ready.needed:
        warnings.append(f"the policy asks for {ready.needed} of this plan_hash")
    survey = ready.survey
    if survey is not None and survey.distinct_messages < len(ready.ledger.messages):
        missing = len(ready.ledger.messages) - survey.distinct_messages
        warnings.append(
            f"the service did not show {missing} of {counted(len(ready.ledger.messages), 'message')}: what they are is "
            "not known"
        )
    recovery = recovery_from(ready.ledger.change.destination)
    if recovery is not None:
        warnings.append(recovery)
    malicious = sum(message.verdict in MALICIOUS for message in ready.ledger.messages.values())
    is_refused = any(refusal["type"] == MaliciousRelease.__name__ for refusal in ready.refusals)
    if ready.ledger.change.destination == "Inbox" and malicious and not is_refused:
        which = counted(
            malicious,
            "message with the verdict MALICIOUS or MALICIOUS-BEC goes",
            "messages with the verdict MALICIOUS or MALICIOUS-BEC go",
        )
        warnings.append(f"{which} to users' Inbox")
    unknown = ready.ledger.counts()["unknown"]
    if unknown:
        warnings.append(
            f"the service's answers do not account for {counted(unknown, 'message')}: they may or may not be done"
        )
    return warnings
