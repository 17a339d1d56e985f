"""Whether only those messages were touched that were meant, by the sandbox's own record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sandbox.account import Account
from sandbox.clock import Instant, parse_instant
from sandbox.search import Criteria, find
from tests.chaos.findings import Findings
from tests.chaos.named_messages import judge_changes
from tests.chaos.wire import Call

# (investigate ID, recipient): one copy of a message.
Copies = set[tuple[str, str]]


def judge_messages(
    account: Account, calls: Sequence[Call], planned: Mapping[str, Copies], found: Findings, *, gone: Collection[str]
) -> None:
    """Only what was meant was touched, with a plan only what it had found; and nobody else's job was.

    gone: others' jobs that others deleted.
    """
    makers = {one.job.job_id: call for call in calls for one in call.made}
    by_id = {done for call in calls for done in call.changed}
    with account.present() as now:
        pass
    for job_id, call in makers.items():
        if call.plan and call.plan["plan_hash"] not in planned:
            found.others.append(f"{job_id} is of a plan that no preview made")
            continue
        meant = planned[call.plan["plan_hash"]] if call.plan else copies(account, call.asked["search_params"], now)
        touched = {(done.investigate_id, done.recipient) for done in account.delivery.done if done.job_id == job_id}
        if touched - meant:
            found.others.append(f"{job_id} touched {len(touched - meant)} messages that were not meant")
    found.others += judge_changes(calls, account)
    if any(done.job_id not in makers and done not in by_id for done in account.delivery.done):
        found.others.append("messages were touched by a job that nobody here made")
    for job in account.jobs.all.values():
        if job.job_id not in {*makers, *gone} and (job.deleted or job.status == "CANCELLED"):
            found.others.append(f"somebody else's job {job.job_id} was touched")


def copies(account: Account, search_params: Mapping[str, Any], now: Instant) -> Copies:
    """What the sandbox's own search finds for these parameters; what state it is in does not count."""
    end = search_params.get("end")
    criteria = Criteria(
        start=parse_instant(search_params["start"]),
        end=parse_instant(end) if end else None,
        sender=search_params["sender"],
        recipient=search_params.get("recipient"),
        detections_only=search_params.get("detections_only", True),
    )
    return {
        (account.tenant.id_of(message), recipient)
        for message in find(account.tenant, criteria, now)
        for recipient in message.recipients
    }
