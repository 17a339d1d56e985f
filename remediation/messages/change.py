"""Change named messages: check the guardrails, look the messages up, send them, and report the outcome of each.

The first lookup finds messages that are in place already, so that a repeated call sends nothing. It costs searches, so
by default only a short list is looked up. It also finds the facts that the guardrails depend on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from core.errors import GuardrailRefusal, MaliciousRelease, NotRestorable, PlanDrifted
from core.quantity import counted
from core.search_words import MALICIOUS
from remediation.guardrails.accountability import check_reason, requester
from remediation.guardrails.approvals.approval import GivenApprovals, require_approvals
from remediation.guardrails.approvals.needed import Need, refusals_despite_approvals
from remediation.guardrails.approvals.spent import intent_of, mark_approvals_used, reserve_approvals
from remediation.guardrails.change import Change, NamedMessage, plan_hash
from remediation.guardrails.limits import Limits
from remediation.guardrails.message_rules import (
    approvals_needed,
    check_messages,
    check_request,
    find_unknown,
    within_budget,
)
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.rules import ProposedChange
from remediation.guardrails.survey import Survey, survey_messages
from remediation.messages.batches import Ledger, carry_out
from remediation.messages.lookup import LOGS_BEFORE, look_up, needs_log, read_logs, state_of, was_purged
from remediation.messages.selection import Selection

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails
    from remediation.guardrails.approvals.token import ReadToken

# A call on up to this many messages looks them up first, unless `skip_done` is false.
CHECKED_FIRST = 1000

# A dry run of more messages shows no IDs: an approver could not check the hash, so there is no survey for one.
IDS_IN_DRY_RUN = 10_000


@dataclass(frozen=True)
class ChangeCall:
    """A change of named messages, as a caller asks for it.

    skip_done: whether messages that are in place already are left out; None decides by their number. comment: the
    reason. plan_hash: the one of a dry run that this call must be equal to. resume_bytes: the size that an error's
    `resume` may have.
    """

    change: Change
    selection: Selection
    limits: Limits
    dry_run: bool = False
    skip_done: bool | None = None
    requested_by: str | None = None
    approvals: Sequence[str] = ()
    comment: str | None = None
    plan_hash: str | None = None
    resume_bytes: int = 200_000


@dataclass
class PreparedChange:
    """A change that passed every guardrail. survey, refusals: of a dry run."""

    call: ChangeCall
    ledger: Ledger
    plan_hash: str
    requested_by: str | None
    needed: Need
    approvals: list[ReadToken] = field(default_factory=list)
    survey: Survey | None = None
    refusals: list[GuardrailRefusal] = field(default_factory=list)


@dataclass(frozen=True)
class ChangeOutcome:
    """The change after it was made; the ledger of `prepared` has each message. done: nothing is left to do."""

    prepared: PreparedChange
    done: bool
    warnings: list[str]


def prepare_change(api: EmailSecurity, call: ChangeCall) -> PreparedChange:
    """Check every guardrail, and look messages up where that is needed. Changes nothing. Raises: GuardrailRefusal."""
    if not call.dry_run:
        api.check_writable()
        check_reason(api, call.comment)
    limits = call.limits.under_policy(api)
    asker = requester(api, call.requested_by)
    requesters = [] if asker is None else [asker]
    strict = ProposedChange(call.change, limits, requesters)
    # A dry run shows the messages before they are allowed.
    lenient = replace(limits, allow_irreversible=True, allow_malicious=True)
    proposed = replace(strict, limits=lenient) if call.dry_run else strict
    ledger = Ledger(call.change, _trusted(api, call.selection, proposed), resume_bytes=call.resume_bytes)
    check_request(api, proposed, len(ledger.messages))
    found = _look_up_first(api, call, ledger, proposed)
    check_messages(api, proposed, ledger.messages.values())
    hashed = plan_hash(api.connection.account_id, call.change, ledger.messages)
    if call.plan_hash not in (None, hashed):
        raise PlanDrifted(
            f"the call is for {counted(len(ledger.messages), 'message')} with the plan_hash {hashed}, and the given "
            f"plan_hash is {call.plan_hash}",
            help="Nothing was changed. The messages, the folder or the account differ from the dry run. Make another "
            "dry run and check its messages.",
        )
    needed = approvals_needed(api, proposed, ledger.messages.values())
    prepared = PreparedChange(call, ledger, hashed, asker, needed)
    if call.dry_run:
        # A dry run shows what has to be approved, so it can't require the approvals.
        prepared.survey = survey_messages(policy_of(api), found.values())
        prepared.refusals = [*refusals_despite_approvals(api, needed, asker), *_refused_delivery(api, ledger, strict)]
    elif needed or call.approvals:
        prepared.approvals = require_approvals(api, needed, GivenApprovals(call.approvals, hashed, [asker]))
    return prepared


def make_change(
    api: EmailSecurity,
    prepared: PreparedChange,
    action_id: str,
    *,
    hold_back: Collection[str] = (),
    unresolved: int = 0,
) -> ChangeOutcome:
    """Send the messages, unless this is a dry run, and return the outcome of each.

    hold_back: messages that are not due yet. unresolved: messages that are not in the list and may belong to it.
    Raises: ApprovalRefused, PolicyRefused, and what remediation.messages.batches.carry_out raises.
    """
    call, ledger = prepared.call, prepared.ledger
    ids = [one for one in ledger.messages if one not in ledger.outcomes and one not in hold_back]
    not_marked: list[str] = []
    if not call.dry_run and ids:
        not_marked = _send(api, prepared, ids, action_id)
    done = ledger.counts()["not sent"] == 0 and call.selection.without_id == 0 and unresolved == 0
    return ChangeOutcome(prepared, done, [*_warnings(prepared), *ledger.warnings, *not_marked])


def _send(api: EmailSecurity, prepared: PreparedChange, ids: list[str], action_id: str) -> list[str]:
    """Send the messages, and use up the approvals. Return warnings.

    Raises: ApprovalRefused and PolicyRefused before anything is sent, and what carry_out raises. After that the same
    call may run again with its approvals: they are reserved for it, and used only when nothing is left to do.
    """
    ledger, hashed = prepared.ledger, prepared.plan_hash
    if prepared.approvals:
        reserve_approvals(api, prepared.approvals, plan_hash=hashed, intent=intent_of(hashed))
    # The budget records the whole list: a part that is sent again replaces the record.
    with within_budget(api, ledger.change, ledger.messages.values(), hashed):
        carry_out(api, ledger, ids, action_id=action_id)
    counts = ledger.counts()
    if not prepared.approvals or counts["not sent"] or counts["unknown"]:
        return []
    return mark_approvals_used(api, hashed)


def _trusted(api: EmailSecurity, selection: Selection, proposed: ProposedChange) -> dict[str, NamedMessage]:
    """Return the messages with the facts that a guardrail may trust: from a file the IDs, the rest from the service."""
    bare = {
        one: replace(known, recipients=None, senders=None, verdict=None) for one, known in selection.messages.items()
    }
    depends_on_facts = selection.from_file and find_unknown(api, proposed, bare.values())
    return bare if depends_on_facts else dict(selection.messages)


def _look_up_first(
    api: EmailSecurity, call: ChangeCall, ledger: Ledger, proposed: ProposedChange
) -> Mapping[str, MessageDetails]:
    """Look up what the guardrails and a dry run depend on, and note the messages that are in place already.

    Return the messages found, by ID. Raises: what a search raises; NotRestorable.
    """
    skip_done = len(ledger.messages) <= CHECKED_FIRST if call.skip_done is None else call.skip_done
    to_look_up: Collection[NamedMessage] = ledger.messages.values()
    # A dry run of more messages than it shows the IDs of can't be approved, so it needs no survey.
    if not skip_done and not (call.dry_run and len(ledger.messages) <= IDS_IN_DRY_RUN):
        to_look_up = find_unknown(api, proposed, to_look_up)
    found = look_up(api, [message.id for message in to_look_up])
    to_inbox = ledger.change == Change("MOVE", "Inbox")
    logs = read_logs(api, found, ledger.change, LOGS_BEFORE) if skip_done or to_inbox else {}
    if to_inbox and (purged := [one for one, log in logs.items() if was_purged(log)]):
        raise NotRestorable(
            f"{len(purged)} of {counted(len(ledger.messages), 'message was', 'messages were')} purged, including "
            f"{purged[0]}"
        )
    ledger.learn(found)
    if skip_done:
        done = [one for one in ledger.messages if state_of(found.get(one), logs.get(one), ledger.change) == "done"]
        ledger.note(done, "already", "it was in place already")
        missing = len(ledger.messages) - len(found)
        if missing:
            ledger.warnings.append(
                f"a search did not find {counted(missing, 'message')} before the change: they may not exist"
            )
        unread = sum(needs_log(details, ledger.change) for details in found.values()) - len(logs)
        if unread > 0:
            ledger.warnings.append(
                f"{counted(unread, 'message was', 'messages were')} moved before, and their folder was not looked up: "
                f"a call reads at most {LOGS_BEFORE} action logs, because the API allows 1,200 calls in 5 minutes"
            )
    return found


def _refused_delivery(api: EmailSecurity, ledger: Ledger, strict: ProposedChange) -> list[GuardrailRefusal]:
    """Return the refusal of malicious messages, which a dry run shows and does not raise."""
    try:
        check_messages(api, strict, ledger.messages.values())
    except MaliciousRelease as refusal:
        return [refusal]
    return []


def _warnings(prepared: PreparedChange) -> list[str]:
    call, ledger, warnings = prepared.call, prepared.ledger, []
    if not call.selection.messages:
        warnings.append("no message is named: there is nothing to do")
    if call.selection.without_id:
        warnings.append(
            f"{counted(call.selection.without_id, 'row has', 'rows have')} no investigate ID: the message can't be "
            "named"
        )
    if call.dry_run and prepared.needed:
        warnings.append(f"the policy requires {prepared.needed} of this plan_hash")
    survey = prepared.survey
    if survey is not None and survey.distinct_messages < len(ledger.messages):
        missing = len(ledger.messages) - survey.distinct_messages
        warnings.append(
            f"the service did not show {missing} of {counted(len(ledger.messages), 'message')}: their sender, subject "
            "and verdict are not known"
        )
    if recovery := recovery_from(call.change.destination):
        warnings.append(recovery)
    malicious = sum(message.verdict in MALICIOUS for message in ledger.messages.values())
    is_refused = any(isinstance(refusal, MaliciousRelease) for refusal in prepared.refusals)
    if call.change.destination == "Inbox" and malicious and not is_refused:
        verdict = "with the verdict MALICIOUS or MALICIOUS-BEC"
        which = counted(malicious, f"message {verdict} goes", f"messages {verdict} go")
        warnings.append(f"{which} to users' Inbox")
    if unknown := ledger.counts()["unknown"]:
        warnings.append(
            f"the service's answers do not account for {counted(unknown, 'message')}: they may or may not be done"
        )
    return warnings
