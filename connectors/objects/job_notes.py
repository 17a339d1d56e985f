"""Notes on the messages that an ended job did not process, for warnings and reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.quantity import counted


def job_notes(status: str, discovered: int, counters: Mapping[str, int | None]) -> Iterator[str]:
    """Yield sentences without a period. counters: the number of messages by status, if known."""
    if pending := counters.get("PENDING"):
        yield f"the job ended with {counted(pending, 'message')} still pending"
    if status == "COMPLETED" and discovered == 0:
        yield "the job found no messages"
    if status == "SKIPPED":
        yield "Cloudflare skipped the job: nothing was changed"
    if failed := counters.get("FAILED"):
        yield (
            f"{failed:,} of {counted(discovered, 'message')} failed: retry-failed-messages retries those whose retry "
            "is due"
        )
    if skipped := counters.get("SKIPPED"):
        yield f"{counted(skipped, 'message was', 'messages were')} skipped and not changed"
    if note := cancelled_note(counters.get("CANCELLED")):
        yield note


def cancelled_note(cancelled: int | None) -> str | None:
    """Return a note on cancelled messages, as a sentence without a period, or None if there are none."""
    if not cancelled:
        return None
    what = counted(
        cancelled,
        "message was cancelled; it may still have been moved or released, if it was in progress",
        "messages were cancelled; some may still have been moved or released, if they were in progress",
    )
    return f"{what} when the job ended"
