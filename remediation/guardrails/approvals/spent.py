"""The record of used approvals: an approval counts once, also after its job was deleted.

The record is a table in the state directory, and is on the disk before anything is sent. Where it can't be read or
written, no approval counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from core.errors import ApprovalRefused, ConnectionSettingsError
from core.state_database import state_database
from remediation.guardrails.policy.gate import policy_of
from remediation.stamp import normal_key

if TYPE_CHECKING:
    import sqlite3

    from connectors.email_security import EmailSecurity
    from remediation.guardrails.approvals.token import ReadToken

# An expired approval never counts. Entries are kept a day longer, for a clock that is set back.
KEPT_SECONDS = 86_400

# 64 bits: the part of a plan's hash in the shortest tag.
SHORTEST_PLAN_DIGEST = 16

# kind: an approval that is reserved or used, or a plan whose job was deleted. id: ReadToken.id, or the plan's digest in
# the job's tag. intent: the call that the approval is reserved for. expires, at: seconds since 1970; when the
# approval expires, null for a plan; and when this was recorded.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS approvals (kind TEXT CHECK (kind IN ('reserved', 'used', 'deleted job')), id TEXT, "
    "plan TEXT, intent TEXT, expires INTEGER, at INTEGER, PRIMARY KEY (id))"
)

_DIGEST = re.compile(rf"[0-9a-f]{{{SHORTEST_PLAN_DIGEST},64}}")

AGAIN = "Nothing was changed. Have the plan approved again: `cfes approve PLAN --key FILE`."


def intent_of(plan_hash: str, key: str = "") -> str:
    """Return the digest of one call. key: its idempotency key."""
    return hashlib.sha256(f"{plan_hash}\0{normal_key(key)}".encode(errors="surrogatepass")).hexdigest()


def reserve_approvals(api: EmailSecurity, approvals: Sequence[ReadToken], *, plan_hash: str, intent: str) -> None:
    """Reserve the approvals for one call, before it sends anything. That call can reserve them again until it succeeds.

    Raises: ApprovalRefused if one was used or is reserved for another call, or if that can't be recorded.
    """
    if not approvals:
        return
    now = _seconds(api.clock.now())
    with _record(api) as record:
        record.execute("DELETE FROM approvals WHERE expires <= ?", (now - KEPT_SECONDS,))
        for approval in approvals:
            _check_unspent(record, approval, plan_hash, intent)
        if not _observes(api):
            rows = [("reserved", one.id, plan_hash, intent, one.expires_at, now) for one in approvals]
            record.executemany("INSERT OR IGNORE INTO approvals VALUES (?, ?, ?, ?, ?, ?)", rows)


def mark_approvals_used(api: EmailSecurity, plan_hash: str) -> list[str]:
    """Mark the reserved approvals of the plan as used. Return a warning where that can't be recorded."""
    try:
        with _record(api) as record:
            record.execute(
                "UPDATE approvals SET kind = 'used', at = ? WHERE kind = 'reserved' AND plan = ?",
                (_seconds(api.clock.now()), plan_hash),
            )
    except ApprovalRefused as refusal:
        return [f"{refusal.message}: the approvals stay reserved for this call, and are not marked as used"]
    return []


def spend_approvals_of_job(api: EmailSecurity, plan_digest: str) -> None:
    """Mark the approvals of a job that is about to be deleted as used: all that were signed before now.

    plan_digest: the beginning of the plan's hash, from the job's tag; a shorter one is ignored.
    Raises: ApprovalRefused if that can't be recorded.
    """
    if not _DIGEST.fullmatch(plan_digest) or _observes(api):
        return
    row = ("deleted job", plan_digest, plan_digest, "", None, _seconds(api.clock.now()))
    with _record(api) as record:
        record.execute("INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?, ?)", row)


def _observes(api: EmailSecurity) -> bool:
    """Return whether the policy only observes: then nothing is changed, and no approval is used."""
    return api.has_policy and policy_of(api).observe


def _check_unspent(record: sqlite3.Connection, approval: ReadToken, plan_hash: str, intent: str) -> None:
    """Check that the approval is unused, or reserved for this call. Raises: ApprovalRefused."""
    whose = f"the approval that {approval.approver} signed"
    for kind, reserved_for in record.execute("SELECT kind, intent FROM approvals WHERE id = ?", (approval.id,)):
        if kind != "reserved":
            raise ApprovalRefused(f"{whose} is already used, and an approval counts once", help=AGAIN)
        if reserved_for != intent:
            raise ApprovalRefused(
                f"{whose} is reserved for another call of this plan, and an approval counts once",
                help="Nothing was changed. Run that call again with its own idempotency_key; or have the plan "
                "approved again: `cfes approve PLAN --key FILE`.",
            )
    deleted = "SELECT at FROM approvals WHERE kind = 'deleted job' AND plan = substr(?, 1, length(plan))"
    if any(approval.is_signed_before(at) for (at,) in record.execute(deleted, (plan_hash,))):
        raise ApprovalRefused(f"{whose} is already used: its job was made, and deleted", help=AGAIN)


@contextmanager
def _record(api: EmailSecurity) -> Iterator[sqlite3.Connection]:
    """Open the record for this process alone. Raises: ApprovalRefused if it can't be used."""
    try:
        with state_database(api.connection.state_directory, _TABLE) as database:
            yield database
    except ConnectionSettingsError as error:
        raise ApprovalRefused(f"used approvals can't be recorded: {error.message}", help=error.help) from None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
