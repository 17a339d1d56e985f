"""Open items: what a job left undone, why, and the command that continues it; and how to undo a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.objects.folders import DELETIONS, PURGES
from connectors.objects.job import HAS_ENDED
from core.quantity import counted
from remediation.reports.commands import Command, command, job_command
from remediation.reports.facts import DESTINATIONS, Job, part, search_flags, text
from remediation.reports.own_words import Wording
from remediation.reports.verdict import BAD, BUSY, IDLE, WARN, Tone

_FIX_AND_PREVIEW = Wording("Fix the cause, then preview a new job for the same search.")


@dataclass(frozen=True)
class OpenItem:
    """Work that is still open: title, cause and advice.

    reason: the API's own text. others: more problems with the same cause. command: carries out the advice.
    status: the status of the rows that the item covers.
    """

    title: Wording
    why: Wording
    advice: Wording
    tone: Tone
    reason: str | None = None
    others: Sequence[Wording] = ()
    command: Command | None = None
    status: str | None = None


def open_items(facts: Mapping[str, Any], outcome: str | None, job: Job) -> Iterator[OpenItem]:
    """Yield the open items, the most serious first. The iterator is empty only if nothing is open."""
    yield from _unknowns(facts, outcome, job)
    yield from _approvals(facts)
    if job.running:
        yield _running_job(job)
    stopped_early = outcome == "failed" and job.status not in {"COMPLETED", "CANCELLED"}
    if stopped_early:
        yield _failed_job(facts, job)
    if failed := job.counters["FAILED"]:
        yield _failed_messages(failed, job)
    if not job.running and (pending := job.counters["PENDING"]) and not stopped_early:
        yield OpenItem(
            Wording(f"{counted(pending, 'message was', 'messages were')} not processed"),
            Wording("The job ended before it processed every message that it found."),
            Wording("Preview a new job for the same search."),
            WARN,
            command=_preview(facts, job),
            status="PENDING",
        )
    if cancelled := job.counters["CANCELLED"]:
        yield _cancelled_messages(cancelled, job)
    elif outcome == "cancelled" and not job.discovered:
        yield OpenItem(
            Wording("The job was cancelled before it found any messages"),
            Wording("The search did not finish, so other messages may match."),
            Wording("To process them, preview a new job for the same search."),
            WARN,
            command=_preview(facts, job),
        )
    if skipped := job.counters["SKIPPED"]:
        yield _skipped_messages(skipped, job)
    if job.discovered == 0 and job.status == "COMPLETED":
        yield OpenItem(
            Wording("Nothing was found"),
            Wording("No message matched the search when the job ran."),
            Wording(
                "If you expected matches, check the spelling, the time window and detections_only. Mail with a clean "
                "verdict matches only with detections_only set to false."
            ),
            IDLE,
            command=_preview(facts, job),
        )


def _unknowns(facts: Mapping[str, Any], outcome: str | None, job: Job) -> Iterator[OpenItem]:
    """Yield the gap that hides what the job did. A report never treats unknown work as done."""
    get = job_command("get-job", job.job_id) or command("list-jobs", {})
    again = "Get the job with get-job and make the report again."
    if not part(facts, "job"):
        yield OpenItem(
            Wording("The job is not known"),
            Wording("This report was made without the job, so it cannot show what the job did."),
            Wording(again if job.job_id else "Find the job with list-jobs and make the report again."),
            WARN,
            command=get,
        )
    elif job.status == "SKIPPED":
        yield OpenItem(
            Wording("The job was skipped"),
            Wording("Cloudflare did not run the job, so no message was changed."),
            _FIX_AND_PREVIEW,
            BAD,
            reason=job.status_message,
            command=_preview(facts, job) or get,
        )
    elif job.status not in HAS_ENDED and outcome not in {"failed", "cancelled"}:
        yield OpenItem(
            Wording("The job's status is not known"),
            Wording(
                "This report was made without the job's status, so the job may still be running."
                if job.status is None
                else "This version of the pack does not know the status, so the job may still be running."
            ),
            Wording(again),
            WARN,
            reason=job.status,
            command=get,
        )
    elif (
        any(number is None for number in (job.discovered, job.counters["COMPLETED"], job.counters["FAILED"]))
        and outcome != "failed"
    ):
        yield OpenItem(
            Wording("The number of processed messages is not known"),
            Wording("This report was made without some of the job's counters."),
            Wording(again),
            WARN,
            command=get,
        )


def _approvals(facts: Mapping[str, Any]) -> Iterator[OpenItem]:
    """Yield approvals that do not meet the policy in the bundle."""
    check = part(part(facts, "request"), "approval_check")
    if check.get("state") in {"not_met", "invalid"}:
        yield OpenItem(
            Wording("The approvals do not meet the policy"),
            Wording("The check used the policy that was in force when this report was made."),
            Wording("Find out whether another policy applied when the job was created, and who allowed the job."),
            WARN,
            reason=text(check.get("why")),
        )


def _running_job(job: Job) -> OpenItem:
    pending = job.counters["PENDING"]
    return OpenItem(
        Wording(
            f"{counted(pending, 'message was', 'messages were')} still pending" if pending else "The job has not ended"
        ),
        Wording("The job was still running when this report was made, so its numbers may change."),
        Wording("Wait for it with wait-for-job, then export and report again."),
        BUSY,
        command=job_command("wait-for-job", job.job_id),
    )


def _failed_job(facts: Mapping[str, Any], job: Job) -> OpenItem:
    pending = job.counters["PENDING"]
    if not job.discovered:
        why = f"The search did not finish, so messages may still match. No message is known to be {job.done_word}."
    elif pending:
        why = (
            f"{counted(pending, 'message was', 'messages were')} not processed. The search may not have finished "
            "either, so more messages may match."
        )
    else:
        why = "The job ended before it processed every message, or it could not process any."
    return OpenItem(
        Wording("The job failed before it found any messages" if job.discovered == 0 else "The job failed"),
        Wording(why),
        _FIX_AND_PREVIEW,
        BAD,
        job.status_message,
        command=_preview(facts, job),
        status="PENDING" if pending else None,
    )


def _failed_messages(failed: int, job: Job) -> OpenItem:
    flags = {"allow_irreversible": True} if job.is_irreversible else None
    one = failed == 1
    return OpenItem(
        Wording(f"{counted(failed, 'message')} failed{job.so_far}"),
        Wording(
            f"{'This message was' if one else 'These messages were'} not {job.done_word} and {'is' if one else 'are'} "
            f"probably still in the {'quarantine' if job.action == 'RELEASE' else 'mailbox' if one else 'mailboxes'}."
        ),
        Wording(
            f"When the job has ended, retry {'it' if one else 'them'} with retry-failed-messages."
            if job.running
            else f"Fix the cause. Then retry {'it' if one else 'them'} with retry-failed-messages, or start a "
            "new job for the same search."
        ),
        BAD,
        command=None if job.running else job_command("retry-failed-messages", job.job_id, flags),
        status="FAILED",
    )


def _cancelled_messages(cancelled: int, job: Job) -> OpenItem:
    one = cancelled == 1
    by_id = "release-messages" if job.action == "RELEASE" else "move-messages"
    # Only a known folder: the text of a Wording is not escaped.
    folder = job.destination if job.destination in DESTINATIONS else "FOLDER"
    to_folder = "" if job.action == "RELEASE" else f" --destination {folder}"
    by_file = f"cfes {by_id} --export cancelled.ndjson{to_folder} --dry-run"
    return OpenItem(
        Wording(f"{counted(cancelled, 'message was', 'messages were')} cancelled"),
        Wording(
            "The job stopped before it processed every message that it found. "
            f"{'This message' if one else 'Some of these messages'} may still have been {job.done_word}: a message "
            "that was being processed when the job stopped also counts as cancelled."
        ),
        Wording(
            f"Check the {'message' if one else 'messages'} first: the command exports the CANCELLED "
            f"{'row' if one else 'rows'}. Then run {by_id} as a dry run: {by_file}. Or start a new job for the same "
            "search."
        ),
        WARN,
        command=job_command(
            "export-job-messages", job.job_id, {"status": "CANCELLED", "destination": "cancelled.ndjson"}
        ),
        status="CANCELLED",
    )


def _skipped_messages(skipped: int, job: Job) -> OpenItem:
    one = skipped == 1
    return OpenItem(
        Wording(f"{counted(skipped, 'message was', 'messages were')} skipped{job.so_far}"),
        Wording(
            f"The job did not change {'it' if one else 'them'}. Discovery skips some messages, such as those that "
            "users reported as phishing."
        ),
        Wording(f"Check the {'row' if one else 'rows'} and decide whether to handle {'it' if one else 'any'} by hand."),
        WARN,
        command=job_command("export-job-messages", job.job_id, {"status": "SKIPPED"}),
        status="SKIPPED",
    )


def irreversible(job: Job) -> OpenItem | None:
    """Return the warning that the job deleted mail, or None if it deleted none."""
    done = job.counters["COMPLETED"] or 0
    undo = how_to_undo(job)
    if not job.is_irreversible or undo is None:
        return None
    deleted, them = counted(done, "message was", "messages were"), "it" if done == 1 else "them"
    verb, advice = (
        "can",
        (
            "If users must not restore mail, move it to another folder. If the job deleted too much, restore it soon: "
            "retention is limited."
        ),
    )
    if job.destination == PURGES:
        verb = "can't"
        advice = "If the job deleted too much, contact the mailbox administrator now: retention is limited."
    title = Wording(f"{deleted} deleted{job.so_far}: users {verb} restore {them}")
    return OpenItem(title, undo, Wording(advice), WARN)


_UNDO = {
    PURGES: Wording(
        "This pack can't restore mail from Recoverable Items (Purges). On Microsoft 365 an administrator can restore "
        "it during the retention time. For Google Workspace, retention is not documented."
    ),
    DELETIONS: Wording(
        "On Microsoft 365 users can restore mail from Recoverable Items (Deletions) themselves. It is not documented "
        "whether restore-messages can, or what happens on Google Workspace."
    ),
}


def how_to_undo(job: Job) -> Wording | None:
    """Return how to undo the job, or None if there is nothing to undo or no way to undo it."""
    if job.action != "MOVE" or not job.counters["COMPLETED"]:
        return None
    move = Wording(
        "To undo the move, run restore-messages with an NDJSON export of this job. It moves every message to the "
        "Inbox, whichever folder the message came from."
    )
    return _UNDO.get(job.destination or "", move)


def undo_command(facts: Mapping[str, Any], job: Job) -> Command | None:
    """Return the dry run of restore-messages, or None if the export's file is not known."""
    rows = facts.get("rows")
    if how_to_undo(job) is None or job.is_irreversible or not isinstance(rows, str):
        return None
    return command("restore-messages", {"export": rows})


def _preview(facts: Mapping[str, Any], job: Job) -> Command | None:
    """Return the preview of the same search, or None if the action or the search is not known."""
    flags = search_flags(facts)
    if job.action not in {"MOVE", "RELEASE"} or not flags:
        return None
    return command(
        "preview-job",
        {"action": job.action, "destination": job.destination if job.action == "MOVE" else None, **flags},
    )
