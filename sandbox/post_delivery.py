"""Creates the records of the Logpush dataset `email_security_post_delivery_events`.

There is one record for each copy that was moved or released, by a job or by ID, and one for each failure of a job.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

from sandbox.account import Account
from sandbox.clock import SECOND, Instant, iso
from sandbox.delivery import Operation
from sandbox.message import CLEAN, Message

Timestamps = Literal["rfc3339", "unix", "unixnano"]


_OPERATIONS: Final[dict[Operation, str]] = {"MOVE": "move", "RELEASE": "quarantineRelease"}
_REQUESTER: Final = "analyst@corp.example"


def post_delivery_events(
    account: Account, *, job_id: str | None = None, timestamps: Timestamps = "rfc3339"
) -> list[dict[str, Any]]:
    """Return the records so far, earliest first. job_id: only those of this job."""
    found = [record for of_job, record in _records(account) if job_id is None or of_job == job_id]
    found.sort(key=lambda record: record["CompletedAt"])
    for record in found:
        for name in ("CompletedAt", "MessageTimestamp", "RequestedAt"):
            at = record[name]
            record[name] = {"rfc3339": iso(at), "unix": at // SECOND, "unixnano": at * 1000}[timestamps]
    return found


def _records(account: Account) -> Iterator[tuple[str | None, dict[str, Any]]]:
    for done in account.delivery.done:
        message = account.tenant.by_id(done.investigate_id)
        if message is None:
            continue
        job = account.jobs.all.get(done.job_id or "")
        asked = (job.created_at, job.requested_by) if job else (done.at, _REQUESTER)
        yield (
            done.job_id,
            _record(account, message, done.recipient, done.operation, done.at, asked, folder=done.folder, failure=None),
        )
    for job in account.jobs.all.values():
        for row in job.rows:
            if row.status == "FAILED" and row.processed_at is not None:
                asked, folder = (job.created_at, job.requested_by), job.order.destination or "Inbox"
                operation, at = job.order.action, row.processed_at
                failure = row.status_message or "failed"
                yield (
                    job.job_id,
                    _record(account, row.message, row.recipient, operation, at, asked, folder=folder, failure=failure),
                )


def _record(
    account: Account,
    message: Message,
    recipient: str,
    operation: Operation,
    at: Instant,
    asked: tuple[Instant, str],
    *,
    folder: str,
    failure: str | None,
) -> dict[str, Any]:
    tenant = account.tenant
    requested_at, requested_by = asked
    return {
        "AlertID": tenant.alert_id_of(message) or "",
        "CompletedAt": at,
        "Destination": folder,
        "FinalDisposition": "unset" if message.disposition == CLEAN else message.disposition.casefold(),
        "Folder": folder,
        "From": message.sender.address,
        "FromName": message.sender.name,
        "MessageID": tenant.message_id_of(message),
        "MessageTimestamp": message.time,
        "MicrosoftTenantID": "",
        "Operation": _OPERATIONS[operation],
        "PostfixID": tenant.postfix_id_of(message),
        "Reasons": list(message.sender.reasons),
        "Recipient": recipient,
        "RequestedAt": requested_at,
        "RequestedBy": requested_by,
        "RequestedDisposition": "",
        "Status": failure or "OK",
        "Subject": message.subject,
        "Success": failure is None,
        "To": list(message.to or message.recipients),
    }
