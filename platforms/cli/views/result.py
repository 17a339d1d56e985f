"""Show an action's result on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.quantity import counted
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import QUIET, STRONG, WARNING
from platforms.cli.views.plan import show_change, show_plan
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import Column, grid, named_values
from remediation.stamp import reason_in

Result = Mapping[str, Any]

JOB_COLUMNS = (
    Column("job", 36, whole=True),
    Column("status", 11),
    Column("done", 11, rank=2, right=True),
    Column("failed", 6, rank=1, right=True),
    Column("action", 7, rank=3),
    Column("to", 12, rank=4),
    Column("created", 20, rank=3),
    Column("search", 24, rank=5),
)
# Fields that most searches have. They come last, because a table cuts the end of a cell.
_WINDOW = ("start", "end", "detections_only", "submissions")

MESSAGE_COLUMNS = (
    Column("sent", 20, rank=3),
    Column("from", 24),
    Column("subject", 24),
    Column("mailboxes", 20, rank=2),
    Column("verdict", 11, rank=1),
)
ROW_COLUMNS = (
    Column("status", 10),
    Column("recipient", 24),
    Column("subject", 24, rank=1),
    Column("from", 24, rank=2),
    Column("processed", 20, rank=3),
)

CHANNEL_COLUMNS = (
    Column("channel", 12),
    Column("kind", 8, rank=2),
    Column("outcome", 8),
    Column("attempts", 8, rank=1, right=True),
    Column("reason", 24, fold=True),
)


def show_result(screen: Screen, action_id: str, result: Result) -> None:
    """Print a result as tables, and its warnings on standard error."""
    _VIEWS.get(action_id, _as_facts)(screen, {name: value for name, value in result.items() if name != "truncated"})
    for name, cut in (result.get("truncated") or {}).items():
        shown = f"the first {cut['kept']:,} of {cut['total']:,}" if result[name] is not None else "none"
        screen.say(f"! {name}: showing {shown}. Raise --max-result-bytes to see more.", WARNING)
    for warning in result.get("warnings") or ():
        screen.say(f"! {warning}", WARNING)


def _as_facts(screen: Screen, result: Result) -> None:
    job = result.get("job")
    if isinstance(job, Mapping) and isinstance(job.get("comment"), str):
        # Without the tracking tag.
        job = {**job, "comment": reason_in(job["comment"]) or None}
    own = {name: value for name, value in result.items() if name not in ("job", "warnings", "resume")}
    rows = list(named_values(own))
    if isinstance(job, Mapping):
        # The job's fields follow, without those that the result already has.
        rows += [(name, value) for name, value in named_values(job) if name not in own]
    facts(screen.out, rows)


def _jobs(screen: Screen, result: Result) -> None:
    jobs = result["jobs"]
    if jobs:
        grid(screen.out, JOB_COLUMNS, [_job_row(job) for job in jobs])
    count = result["count"]
    screen.say(counted(count, "job") if count else "No jobs.", QUIET)


def _job_row(job: Result) -> Sequence[object]:
    search = job.get("search_params") or {}
    done = sum(job.get(f"messages_{how}") or 0 for how in ("successful", "failed", "skipped"))
    return (
        job.get("job_id"),
        job.get("status"),
        f"{done}/{job.get('total_messages_discovered', '')}",
        job.get("messages_failed"),
        job.get("action_type"),
        (job.get("action_params") or {}).get("destination"),
        _to_the_second(job.get("created_at")),
        ", ".join(f"{name}={_criterion(search[name])}" for name in sorted(search, key=_WINDOW.count)),
    )


def _criterion(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _to_the_second(time: object) -> object:
    return re.sub(r"\.[0-9]+(?=Z$)", "", time) if isinstance(time, str) else time


def _messages(screen: Screen, result: Result) -> None:
    found = result["messages"]
    if found:
        grid(screen.out, MESSAGE_COLUMNS, [_message_row(message) for message in found])
    more = {name: value for name, value in result.items() if name not in ("messages", "warnings")}
    facts(screen.out, list(named_values(more)))
    if result["count"] > len(found):
        screen.say(f"Showing the first {len(found)}. Raise --sample to see more.", QUIET)


def _message_row(message: Result) -> Sequence[object]:
    return (
        _to_the_second(message.get("sent_at") or message.get("sent_date")),
        message.get("from"),
        message.get("subject"),
        ", ".join(str(r) for r in message.get("client_recipients") or message.get("to") or ()),
        message.get("final_disposition"),
    )


def _export(screen: Screen, result: Result) -> None:
    rows = result.get("messages") or []
    if rows:
        grid(screen.out, ROW_COLUMNS, [_export_row(row) for row in rows])
    _as_facts(screen, {name: value for name, value in result.items() if name != "messages"})
    if not result["done"]:
        screen.say(
            "The export is not finished. Run it again with the `resume` object that --output json shows.", WARNING
        )


def _export_row(row: Result) -> Sequence[object]:
    message = row.get("message") or {}
    return (
        row.get("status"),
        (row.get("action_params") or {}).get("client_recipient"),
        message.get("subject"),
        message.get("from"),
        _to_the_second(row.get("processed_at")),
    )


def _wait(screen: Screen, result: Result) -> None:
    _as_facts(screen, result)
    if not result["done"]:
        screen.say(f"The job has not ended. To keep waiting: cfes wait-for-job --job-id {result['job_id']}", WARNING)
    elif (result.get("job") or {}).get("messages_failed"):
        screen.command("retry (dry run)", f"cfes retry-failed-messages --job-id {result['job_id']} --dry-run")


def _created(screen: Screen, result: Result) -> None:
    reused = result.get("reused")
    if isinstance(reused, Mapping):
        paragraph(screen.out, reused["message"], STRONG)
        paragraph(screen.out, reused["next"])
    _as_facts(screen, {name: value for name, value in result.items() if name != "reused"})


def _connection(screen: Screen, result: Result) -> None:
    _as_facts(screen, result)
    if not result["ok"]:
        screen.say("Some checks of the connection failed.", WARNING)


def _notified(screen: Screen, result: Result) -> None:
    fields = ("name", "kind", "outcome", "attempts", "error")
    if channels := result["channels"]:
        grid(screen.out, CHANNEL_COLUMNS, [[channel[field] for field in fields] for channel in channels])
        screen.say(f"Sent to {result['sent']} of {counted(len(channels), 'channel')}.", QUIET)
    else:
        screen.say("No channel is set (CFES_NOTIFY_CHANNELS). Nothing was sent.", QUIET)


_VIEWS: Mapping[str, Callable[[Screen, Result], None]] = {
    "list-jobs": _jobs,
    "create-job": _created,
    "create-move-job": _created,
    "release-job": _created,
    "preview-job": show_plan,
    "move-messages": show_change,
    "release-messages": show_change,
    "restore-messages": show_change,
    "retry-failed-messages": show_change,
    "search-messages": _messages,
    "export-job-messages": _export,
    "wait-for-job": _wait,
    "notify": _notified,
    "test-connection": _connection,
}
