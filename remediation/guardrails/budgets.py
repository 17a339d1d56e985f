"""The policy's budgets: how many messages and jobs may be changed within some hours, over several calls.

Two sources are counted: the account's jobs that have the pack's tag, and a record in the state directory. The record
is needed because the list of jobs shows a new job late, a deleted job never, and no changes of named messages. A change
is refused where the earlier ones can't be counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from core.clock import CLOCK_SKEW
from core.errors import ConnectionSettingsError, PolicyRefused
from core.instants import instant_or_none
from core.quantity import counted
from core.state_database import state_database
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.policy.people import same_person
from remediation.stamp import Stamp

if TYPE_CHECKING:
    import sqlite3

    from connectors.email_security import EmailSecurity
    from connectors.objects.job import BulkJob
    from remediation.guardrails.change import Change
    from remediation.guardrails.policy.rules import Budget

# A RELEASE delivers, as a MOVE to Inbox does: one budget counts both.
DELIVERED = "Inbox"

_TABLE = (
    "CREATE TABLE IF NOT EXISTS changes (account TEXT, intent TEXT, at REAL, requested_by TEXT, "
    "destination TEXT, messages INTEGER, jobs INTEGER, PRIMARY KEY (account, intent))"
)

_SINCE = "SELECT intent, requested_by, destination, messages FROM changes WHERE account = ? AND at >= ?"

_UNCOUNTED = "Nothing was changed. The changes within the policy's budgets could not be counted."


class Spending(NamedTuple):
    """One job, or one list of IDs. intent: the call that made it. messages: None if their number is not known."""

    intent: str
    requested_by: str
    destination: str
    messages: int | None


def spend(api: EmailSecurity, intent: str, change: Change, messages: int | None) -> datetime | None:
    """Check every budget, and record this change before it is made. Does nothing if the policy has no budget.

    intent: `intent_of` the job's stamp, or the hash of a list of IDs. messages: None if their number is not known.
    Returns when a new change was recorded, for `refund`; None if it was there already, or the policy only observes.
    Raises: PolicyRefused if a budget would be exceeded or can't be counted; what listing the jobs raises.
    """
    budgets = policy_of(api).budgets if api.has_policy else []
    if not budgets:
        return None
    who = api.connection.requested_by
    if who is None and any("requester" in budget.per for budget in budgets):
        raise PolicyRefused(
            "the policy has a budget for each requester, and CFES_REQUESTED_BY is not set",
            help="Nothing was changed. Set CFES_REQUESTED_BY where the actions run. A parameter is not proof.",
        )
    folder = DELIVERED if change.action == "RELEASE" or change.destination is None else change.destination
    planned = Spending(intent, who or "", folder, messages)
    account = api.connection.account_id.lower()
    now = api.clock.now()
    of_jobs = dict(_from_jobs(api, now - timedelta(hours=max(budget.hours for budget in budgets))))
    with _recorded(api) as record:
        for budget in budgets:
            since = now - timedelta(hours=budget.hours)
            recorded = map(Spending._make, record.execute(_SINCE, (account, since.timestamp())))
            spent = {entry.intent: entry for entry in recorded}
            recent = [made for at, made in of_jobs.values() if at >= since]
            spent |= {made.intent: _larger(made, spent.get(made.intent)) for made in recent}
            spent.pop(intent, None)
            _check(budget, planned, spent.values())
        if policy_of(api).observe:
            return None
        known = record.execute("SELECT 1 FROM changes WHERE account = ? AND intent = ?", (account, intent)).fetchone()
        row = (account, intent, now.timestamp(), *planned[1:])
        record.execute("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?, ?, 1)", row)
    return now if known is None else None


def refund(api: EmailSecurity, intent: str, recorded_at: datetime | None = None) -> None:
    """Remove a change that was certainly not made from the record. A record that can't be used keeps it.

    recorded_at: as `spend` returned it. A change that was recorded again after that belongs to another call, and stays.
    """
    if api.has_policy and policy_of(api).budgets:
        at = None if recorded_at is None else recorded_at.timestamp()
        with suppress(PolicyRefused), _recorded(api) as record:
            record.execute(
                "DELETE FROM changes WHERE account = ? AND intent = ? AND (? IS NULL OR at = ?)",
                (api.connection.account_id.lower(), intent, at, at),
            )


def intent_of(stamp: Stamp) -> str:
    """Return the ID of the call that makes the job with this stamp. After a deletion, a key can be used for another."""
    return f"{stamp.key}:{stamp.call}"


def _check(budget: Budget, planned: Spending, spent: Iterable[Spending]) -> None:
    changes = [planned, *(one for one in spent if _is_counted_with(budget, planned, one))]
    name = f"the policy's budget{' for ' if budget.per else ''}{' and '.join(budget.per)} is"
    hours = f"in {budget.hours:g} h"
    if budget.jobs is not None and len(changes) > budget.jobs:
        before = len(changes) - 1
        raise PolicyRefused(
            f"{name} {counted(budget.jobs, 'job')} {hours}, and {counted(before, 'was', 'were')} made in that time"
        )
    if budget.messages is None:
        return
    uncounted = [one for one in changes if one.messages is None]
    if uncounted:
        raise PolicyRefused(
            f"{name} {counted(budget.messages, 'message')} {hours}, and the messages of "
            f"{counted(len(uncounted), 'change')} are not counted yet",
            help=f"{_UNCOUNTED} Wait until the earlier jobs have discovered their messages.",
        )
    total = sum(one.messages or 0 for one in changes)
    if total > budget.messages:
        raise PolicyRefused(
            f"{name} {counted(budget.messages, 'message')} {hours}; {total - (planned.messages or 0)} were or may have "
            f"been changed in that time, and this call would change {planned.messages} more"
        )


def _is_counted_with(budget: Budget, planned: Spending, other: Spending) -> bool:
    # A change with an unknown requester or folder counts in every budget.
    if "requester" in budget.per and other.requested_by and not same_person(other.requested_by, planned.requested_by):
        return False
    return "destination" not in budget.per or other.destination in ("", planned.destination)


def _from_jobs(api: EmailSecurity, since: datetime) -> Iterator[tuple[str, tuple[datetime, Spending]]]:
    """Yield the jobs with a stamp: the job ID, the time of creation, and the change."""
    for job in api.list_jobs():
        stamp = Stamp.read(job.comment)
        if stamp is None:
            continue
        # The latest possible time of its creation. A job without one counts in every budget.
        created = instant_or_none(job.created_at)
        at = datetime.max.replace(tzinfo=UTC) if created is None else created + CLOCK_SKEW
        if at >= since:
            params = job.action_params
            action = job.action_type or (None if params is None else params.type)
            folder = DELIVERED if action == "RELEASE" else (None if params is None else params.destination) or ""
            yield job.job_id, (at, Spending(intent_of(stamp), stamp.requested_by, folder, _touched(job, stamp)))


def _touched(job: BulkJob, stamp: Stamp) -> int | None:
    """Return the number of messages that the job changes, changed or may have changed; None if it is not known."""
    if job.status == "CANCELLED" and job.processed == 0:
        # An unknown number of rows that were in flight may have been moved. A job that was cancelled over its limit has
        # far fewer of them than it discovered: it counts as the number that it was allowed to change.
        discovered = job.total_messages_discovered
        return discovered if stamp.messages is None else min(discovered, stamp.messages)
    if job.has_ended:
        return job.total_messages_discovered
    if stamp.messages is None and job.status in ("PENDING", "DISCOVERING"):
        return None
    return max(job.total_messages_discovered, stamp.messages or 0)


def _larger(made: Spending, recorded: Spending | None) -> Spending:
    """Return the job's own numbers; those that were counted before its creation while it has none."""
    return recorded if made.messages is None and recorded is not None else made


@contextmanager
def _recorded(api: EmailSecurity) -> Iterator[sqlite3.Connection]:
    """Open the record for this process alone. Raises: PolicyRefused if it can't be used."""
    try:
        with state_database(api.connection.state_directory, _TABLE) as record:
            yield record
    except ConnectionSettingsError as error:
        raise PolicyRefused(f"the policy has budgets, and {error.message}", help=f"{_UNCOUNTED} {error.help}") from None
