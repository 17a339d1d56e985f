"""Change named messages in batches, one call for each batch.

The API has no way to ask about a lost answer. So the messages of such a batch are looked up before anything is sent
again: those that are not done are sent once more, and the work stops where it is not known. An error before any change
is raised as it is; after one it is PartlyApplied or OutcomeUnknown, with the IDs that are left in `resume`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from connectors.objects.message_change import MOST_IDS, MoveRow
from core import progress
from core.errors import ApiRefusal, OutcomeUnknown, PackError, PartlyApplied
from core.quantity import counted
from remediation.guardrails.change import Change, NamedMessage
from remediation.messages.lookup import LOGS_AFTER_LOSS, look_up, read_logs, state_of, with_details
from remediation.messages.rows import (
    MessageRow,
    Outcome,
    all_accounted,
    attributed,
    found_row,
    outcome_of,
    release_rows,
    shown_row,
)

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails

# After the first change, waiting for a rate-limit block of five minutes to end is better than stopping half-way.
PATIENCE_SECONDS = 900.0

NOT_KNOWN = "the answer was lost, and the message does not show whether it was changed"


@dataclass
class Ledger:
    """The outcome of each message so far, and its rows. changed: whether this call changed anything.

    resume_bytes: the largest `resume` of an error. Beyond it, run the same call again with all its IDs.
    """

    change: Change
    messages: dict[str, NamedMessage]
    resume_bytes: int = 200_000
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    rows: list[MessageRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: bool = False

    def counts(self) -> Counter[Outcome]:
        counted: Counter[Outcome] = Counter(self.outcomes.values())
        counted["not sent"] = len(self.messages) - len(self.outcomes)
        return counted

    def left(self) -> list[str]:
        """Return the messages that were not sent, or whose outcome is not known."""
        return [one for one in self.messages if self.outcomes.get(one, "unknown") == "unknown"]

    def of(self, outcome: Outcome) -> list[str]:
        """Return the messages with this outcome."""
        return [one for one, became in self.outcomes.items() if became == outcome]

    def learn(self, found: Mapping[str, MessageDetails]) -> None:
        """Add the facts that a lookup showed."""
        for one, details in found.items():
            self.messages[one] = with_details(self.messages[one], details)

    def note(self, ids: Iterable[str], outcome: Outcome, status: str) -> None:
        """Note an outcome that a lookup showed, not a row of the service."""
        success = None if outcome == "unknown" else outcome != "failed"
        for one in ids:
            self.outcomes[one] = outcome
            self.rows.append(found_row(self.messages[one], self.change.destination, success=success, status=status))


def carry_out(api: EmailSecurity, ledger: Ledger, ids: Sequence[str], *, action_id: str) -> None:
    """Send these messages in batches, and note their outcomes in the ledger.

    Raises: PartlyApplied, OutcomeUnknown; before any change, the failure of the first batch.
    """
    for start in range(0, len(ids), MOST_IDS):
        batch = ids[start : start + MOST_IDS]
        patient = max(api.call_allowance_seconds, PATIENCE_SECONDS)
        try:
            _one_batch(api.with_allowance(patient) if ledger.changed else api, ledger, batch)
        except PackError as failure:
            raise _interrupted(ledger, failure) from None
        done = start + len(batch)
        progress.report(progress.Progress(action_id, done, len(ids), "messages", f"{done} of {len(ids)} sent"))


def _one_batch(api: EmailSecurity, ledger: Ledger, batch: Sequence[str]) -> None:
    try:
        _enter(api, ledger, batch, _sent(api, ledger.change, batch))
    except PackError as failure:
        if failure.certainly_not_applied:
            raise
        lost = failure
    else:
        return
    left, unknown = _look_up_lost(api, ledger, batch, lost)
    if isinstance(lost, ApiRefusal) and len(left) == len(batch):
        # The messages show that the refusal changed nothing.
        raise lost
    ledger.note(unknown, "unknown", NOT_KNOWN)
    if left:
        try:
            _enter(api, ledger, left, _sent(api, ledger.change, left))
        except PackError as failure:
            # The first call may still be applied later, whatever the answer to this one.
            lost = failure
            not_done, not_known = _look_up_lost(api, ledger, left, lost)
            unknown = [*unknown, *not_done, *not_known]
            ledger.note([*not_done, *not_known], "unknown", NOT_KNOWN)
    if unknown:
        raise lost if isinstance(lost, OutcomeUnknown) else OutcomeUnknown(lost.message)


def _sent(api: EmailSecurity, change: Change, ids: Sequence[str]) -> list[MoveRow]:
    if change.destination is None:
        return release_rows(api.release_messages(ids))
    return api.move_messages(ids, change.destination)


def _look_up_lost(
    api: EmailSecurity, ledger: Ledger, ids: Sequence[str], lost: PackError
) -> tuple[list[str], list[str]]:
    """Look up messages after a lost answer, and note those that are done.

    Return those that are not done, and those whose state is not known.
    """
    patient = api.with_allowance(max(api.call_allowance_seconds, PATIENCE_SECONDS))
    try:
        found = look_up(patient, ids)
        logs = read_logs(patient, found, ledger.change, LOGS_AFTER_LOSS)
    except PackError as failure:
        ledger.note(ids, "unknown", "the answer was lost, and the message could not be looked up")
        raise OutcomeUnknown(f"{lost.message}; the messages could not be looked up: {failure.message}") from None
    states = {one: state_of(found.get(one), logs.get(one), ledger.change) for one in ids}
    ledger.learn(found)
    done = [one for one in ids if states[one] == "done"]
    ledger.note(done, "succeeded", "the answer was lost; the message shows the change")
    ledger.changed |= bool(done)
    return [one for one in ids if states[one] == "not done"], [one for one in ids if states[one] == "unknown"]


def _enter(api: EmailSecurity, ledger: Ledger, batch: Sequence[str], rows: list[MoveRow]) -> None:
    """Enter the rows of an answer, each for its message."""
    found = attributed([ledger.messages[one] for one in batch], rows)
    missing = found.without_row(ledger.messages[one] for one in batch)
    sure = all_accounted(missing, found.unmatched)
    if missing and found.unmatched and not sure:
        _learn_names(api, ledger, [message.id for message in missing])
        found = attributed([ledger.messages[one] for one in batch], rows)
        missing = found.without_row(ledger.messages[one] for one in batch)
    ledger.rows += [shown_row(one, row) for one, row in found.shown]
    ledger.changed |= any(row.success for row in rows)
    for one in batch:
        ledger.outcomes[one] = outcome_of(ledger.messages[one], found.by_id.get(one, []))
    if sure:
        ledger.outcomes.update((message.id, "succeeded") for message in missing)
    else:
        ledger.note((message.id for message in missing), "unknown", "the answer has no row for it")


def _learn_names(api: EmailSecurity, ledger: Ledger, ids: Sequence[str]) -> None:
    """Look up the Message-IDs that rows may use. A lookup that fails is a warning: the change is made already."""
    try:
        found = look_up(api, ids)
    except PackError as failure:
        ledger.warnings.append(f"rows of an answer could not be matched to messages: {failure.message}")
        return
    ledger.learn(found)


def _interrupted(ledger: Ledger, failure: PackError) -> PackError:
    """Return the failure of the whole call."""
    counts = ledger.counts()
    if not ledger.changed and not counts["unknown"]:
        return failure
    left = ledger.left()
    fits = len(json.dumps(left)) <= ledger.resume_bytes
    action_id = "release-messages" if ledger.change.action == "RELEASE" else "move-messages"
    rest = (
        f"`resume` has the IDs that are left, for {action_id}."
        if fits
        else f"{counted(len(left), 'ID is', 'IDs are')} left, too many for `resume`."
    )
    error = (PartlyApplied if ledger.changed else OutcomeUnknown)(
        f"{failure.message}; of {counted(len(ledger.messages), 'message')} "
        f"{counts['succeeded'] + counts['already']} done, {counts['failed']} failed, {counts['unknown']} not known, "
        f"{counts['not sent']} not sent",
        help="Run the same call again. That is safe: to move or release a message once more changes nothing, and with "
        f"skip_done messages that are done are not sent. {rest}",
        http_status=failure.http_status,
        api_errors=failure.api_errors,
        ray_id=failure.ray_id,
        retry_after_seconds=failure.retry_after_seconds,
    )
    # Never a part of the IDs: a caller would treat them as all.
    error.resume = {"ids": left} if fits else None
    return error
