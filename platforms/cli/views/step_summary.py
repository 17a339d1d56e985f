"""Summarize an action's result in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.quantity import counted

Result = Mapping[str, Any]


def summary(action_id: str, result: Result) -> str:
    """Return one short line. Every field is optional, because a playbook may keep only a part of a result."""
    words = _WORDS.get(action_id)
    return "" if words is None else ", ".join(part for part in words(result) if part)


def _found(result: Result) -> list[str]:
    floor = "more than " if result.get("limit_reached") else ""
    copies = _count(result, "mailbox_copies", "mailbox copy", "mailbox copies")
    return [floor + found if (found := _count(result, "count", "message")) else "", copies]


def _planned(result: Result) -> list[str]:
    return [
        _count(result, "messages", "message"),
        _count(result, "recipients", "recipient"),
        "can't be counted" if result.get("parity") == "unknown" else "",
    ]


def _changed(result: Result) -> list[str]:
    return [
        "a dry run" if result.get("dry_run") else "",
        _count(result, "messages", "message"),
        *(f"{result[name]:,} {name}" for name in ("succeeded", "already", "failed", "unknown") if result.get(name)),
    ]


def _made(result: Result) -> list[str]:
    job_id, reused = result.get("job_id"), result.get("reused")
    if isinstance(reused, Mapping):
        status = result.get("status") or "status not known"
        existing = f"existing job {job_id} reused ({status}, created {reused.get('created_at')})"
        return [f"{existing}; nothing new was created" if changed_nothing(result) else f"{existing}; still running"]
    return [f"job {job_id} created" if job_id else ""]


def changed_nothing(result: Result) -> bool:
    """Return whether a create reused a job that had already ended, so that this call moved nothing."""
    reused = result.get("reused")
    return isinstance(reused, Mapping) and reused.get("ended") is True


def _waited(result: Result) -> list[str]:
    progress = result.get("progress")
    processed = ""
    if isinstance(progress, Mapping):
        processed = f"{progress.get('processed', 0):,} of {counted(progress.get('discovered', 0), 'message')}"
    # A run of an earlier version has it in `tripwire`.
    limit = result.get("discovery_limit") or result.get("tripwire")
    tripped = isinstance(limit, Mapping) and limit.get("tripped")
    return [
        str(result.get("outcome") or ""),
        processed,
        "stalled" if result.get("stalled") else "",
        "discovery limit exceeded" if tripped else "",
    ]


def _exported(result: Result) -> list[str]:
    complete = {True: "complete", False: "not complete", None: ""}[result.get("complete")]
    return [_count(result, "written", "row"), complete, *_files(result.get("files"))]


def _notified(result: Result) -> list[str]:
    channels = result.get("channels")
    if not isinstance(channels, list):
        return []
    return [
        f"sent to {result.get('sent', 0)} of {counted(len(channels), 'channel')}" if channels else "no channel is set"
    ]


def _count(result: Result, name: str, one: str, many: str | None = None) -> str:
    count = result.get(name)
    return counted(count, one, many) if isinstance(count, int) else ""


def _files(files: Any) -> list[str]:
    return [Path(str(file["path"])).name for file in files or () if isinstance(file, Mapping) and "path" in file]


_WORDS: Mapping[str, Callable[[Result], list[str]]] = {
    "search-messages": _found,
    "preview-job": _planned,
    "move-messages": _changed,
    "release-messages": _changed,
    "retry-failed-messages": _changed,
    "restore-messages": _changed,
    "create-job": _made,
    "create-move-job": _made,
    "release-job": _made,
    "wait-for-job": _waited,
    "export-job-messages": _exported,
    "render-report": lambda result: _files([result.get("file")]),
    "notify": _notified,
    "get-job": lambda result: [str(result.get("status") or "")],
    "cancel-job": lambda result: [str(result.get("status") or "")],
}
