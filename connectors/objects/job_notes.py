"""What an ended job's counters say of the messages that it did not move: for its warnings, and for a report's boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.quantity import counted


def job_notes(status: str, discovered: int, counters: Mapping[str, int | None]) -> Iterator[str]:
    """Yield sentences without a stop. counters: messages by their status, where known."""
    if pending := counters.get("PENDING"):
        yield f"the job has ended with {counted(pending, 'message')} still pending"
    if status == "COMPLETED" and discovered == 0:
        yield "the job found no message at all"
    if status == "SKIPPED":
        yield "the service skipped the job: nothing was done"
    if failed := counters.get("FAILED"):
        yield (
            f"{failed:,} of {counted(discovered, 'message')} failed: retry-failed-messages tries those again whose "
            "retry is due"
        )
    if skipped := counters.get("SKIPPED"):
        yield f"{counted(skipped, 'message was', 'messages were')} skipped: nothing was done to them"
    if note := cancelled_note(counters.get("CANCELLED")):
        yield note


def cancelled_note(cancelled: int | None) -> str | None:
    """Return what cancelled messages mean, as a sentence without a stop; None where there are none."""
    if not cancelled:
        return None
    what = counted(
        cancelled,
        "message was cancelled, and may have been moved or released all the same: it may have been in flight",
        "messages were cancelled, and some may have been moved or released all the same: those in flight",
    )
    return f"{what} when the job ended"
