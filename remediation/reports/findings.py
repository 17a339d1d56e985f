"""The judgements in a report: what happened, and what was not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.quantity import counted
from remediation.reports.commands import Command, command, job_command
from remediation.reports.facts import KNOWN_STATUSES, Job, part, search_flags, text
from remediation.reports.wording import Wording

# How a number or a point is to be taken; a class of the style sheet.
Tone = Wording
GOOD, BAD, WARN, IDLE, BUSY = (Tone(name) for name in ("good", "bad", "warn", "idle", "busy"))


@dataclass(frozen=True)
class Open:
    """Something that was not done, why, and what to do about it.

    reason: the API's own text. others: more that is wrong for the same cause. command: what does what is advised.
    status: of the rows that this is about.
    """

    title: Wording
    why: Wording
    advice: Wording
    tone: Tone
    reason: str | None = None
    others: Sequence[Wording] = ()
    command: Command | None = None
    status: str | None = None


def messages(number: int) -> str:
    """`1 message`, `420 messages`."""
    return counted(number, "message")


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def verdict(outcome: str | None, job: Job, *, reliable: bool = True) -> tuple[Wording | str | None, Tone]:
    """The outcome as a badge: words and tone. No outcome is good where the evidence does not agree with it."""
    if not reliable:
        return Wording("Not reliable"), BAD
    if outcome == "succeeded" and job.discovered == 0:
        return Wording("Nothing found"), IDLE
    known: dict[str, tuple[str, Tone]] = {
        "succeeded": ("Succeeded", GOOD),
        "partial": ("Partly succeeded", WARN),
        "failed": ("Failed", BAD),
        "cancelled": ("Cancelled", IDLE),
        "running": ("Still running", BUSY),
    }
    if outcome in known:
        words, tone = known[outcome]
        return Wording(words), tone
    return outcome, IDLE


def sentence(outcome: str | None, job: Job) -> Wording:
    """What happened, in one sentence."""
    found, done = job.discovered, job.counters["COMPLETED"]
    if found is None or done is None:
        return Wording(
            {
                "failed": "The job failed; how many messages it reached is not known.",
                "cancelled": "The job was cancelled; how many messages it reached is not known.",
                "running": "The job is still running; how far it has come is not known.",
            }.get(outcome or "", "What became of the messages is not known.")
        )
    if outcome == "running":
        if found == 0:
            return Wording("The job is still running: it has found no message so far.")
        return Wording(
            f"The job is still running: {done:,} of {messages(found)} found so far {_were(done)} {job.done_phrase}."
        )
    if found == 0:
        opening = {
            "failed": "The job failed before it found a message",
            "cancelled": "The job was cancelled before it found a message",
            "succeeded": "The search found no message",
        }
        return Wording(f"{opening.get(outcome or '', 'The job found no message')}, so nothing was {job.done_word}.")
    opening = {"failed": "The job failed: ", "cancelled": "The job was cancelled: "}
    return Wording(opening.get(outcome or "", "") + _share_done(job, found, done, capital=outcome not in opening))


def _share_done(job: Job, found: int, done: int, *, capital: bool) -> str:
    if done == found:
        first = "T" if found == 1 else "A"
        rest_of_it = "he one message" if found == 1 else f"ll {messages(found)}"
        return f"{first if capital else first.lower()}{rest_of_it} found {_were(found)} {job.done_phrase}."
    if found == 1:
        none = "The one message" if capital else "the one message"
    else:
        none = (("None" if capital else "none") if done == 0 else f"{done:,}") + f" of {messages(found)}"
    denied = " not" if found == 1 else ""
    words = {"FAILED": "failed", "SKIPPED": "skipped", "CANCELLED": "cancelled", "PENDING": "still pending"}
    rest = [
        f"{'it' if found == number == 1 else f'{number:,}'} {'' if status == 'FAILED' else _were(number) + ' '}{word}"
        for status, word in words.items()
        if (number := job.counters[status])
    ]
    ending = f"; {', '.join(rest[:-1])}{' and ' if rest[:-1] else ''}{rest[-1]}" if rest else ""
    verb = _were(1 if found == 1 else done or 2)
    return f"{none} found {verb}{denied} {job.done_phrase}{ending}."


def left_open(facts: Mapping[str, Any], outcome: str | None, job: Job) -> Iterator[Open]:
    """All that was not done, the gravest first. Nothing comes out only where nothing is open."""
    yield from _unknown(facts, outcome, job)
    yield from _approvals(facts)
    if job.running:
        yield _not_ended(job)
    broke_off = outcome == "failed" and job.status not in {"COMPLETED", "CANCELLED"}
    if broke_off:
        yield _failed_job(facts, job)
    if failed := job.counters["FAILED"]:
        yield Open(
            Wording(f"{messages(failed)} failed{_so_far(job)}"),
            Wording(
                f"{'It was' if failed == 1 else 'They were'} found, but not {job.done_word}. Assume that "
                f"{'it is still where it was' if failed == 1 else 'they are still where they were'}."
            ),
            Wording(
                "When the job has ended, retry-failed-messages tries exactly these again, by the job's ID."
                if job.running
                else "Remove the cause. Then retry-failed-messages tries exactly these again, by the job's ID; or "
                "start a new job over the same search."
            ),
            BAD,
            command=None if job.running else _retry(job),
            status="FAILED",
        )
    if not job.running and (pending := job.counters["PENDING"]) and not broke_off:
        yield Open(
            Wording(f"{messages(pending)} {_were(pending)} not processed"),
            Wording("The job ended before it had dealt with everything it found."),
            Wording("Preview a new job over the same search."),
            WARN,
            command=_preview(facts, job),
            status="PENDING",
        )
    if cancelled := job.counters["CANCELLED"]:
        yield _cancelled(cancelled, job)
    elif outcome == "cancelled" and not job.discovered:
        yield Open(
            Wording("The job was cancelled before it found a message"),
            Wording("Its search did not run to the end, so whether messages match is not known."),
            Wording("To deal with them after all, preview a new job over the same search."),
            WARN,
            command=_preview(facts, job),
        )
    if skipped := job.counters["SKIPPED"]:
        yield Open(
            Wording(f"{messages(skipped)} {_were(skipped)} skipped{_so_far(job)}"),
            Wording("Discovery leaves some messages out, such as those that users reported as phishing."),
            Wording(
                f"Nothing was done to {'it' if skipped == 1 else 'them'}. Read the "
                f"{'row' if skipped == 1 else 'rows'} and decide whether {'it needs' if skipped == 1 else 'any needs'} "
                "handling by hand."
            ),
            WARN,
            command=job_command("export-job-messages", job.job_id, {"status": "SKIPPED"}),
            status="SKIPPED",
        )
    if job.discovered == 0 and job.status == "COMPLETED":
        yield Open(
            Wording("Nothing was found"),
            Wording("No message matched the search when the job ran."),
            Wording(
                "If you expected some, check the spelling, the time window, and detections_only: unless it is false, "
                "mail with a clean verdict is left out."
            ),
            IDLE,
            command=_preview(facts, job),
        )


def _unknown(facts: Mapping[str, Any], outcome: str | None, job: Job) -> Iterator[Open]:
    """What keeps the report from saying what was done. What is not known is never taken for done."""
    get = job_command("get-job", job.job_id) or command("list-jobs", {})
    again = "Get the job with get-job and make the report again."
    if not part(facts, "job"):
        yield Open(
            Wording("The job is not known"),
            Wording("This report was made without the job, so it can't say what was done."),
            Wording(again if job.job_id else "Find the job with list-jobs and make the report again."),
            WARN,
            command=get,
        )
    elif job.status == "SKIPPED":
        yield Open(
            Wording("The job was skipped"),
            Wording("The service did not carry it out, so nothing was done."),
            Wording("Remove the cause, then preview a new job over the same search."),
            BAD,
            reason=job.status_message,
            command=_preview(facts, job) or get,
        )
    elif job.status not in KNOWN_STATUSES and outcome not in {"failed", "cancelled"}:
        yield Open(
            Wording("The job's status is not known"),
            Wording(
                "The facts that this report was made from do not say whether the job has ended."
                if job.status is None
                else "This version does not know the API's status, so whether the job has ended is not known."
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
        yield Open(
            Wording("How many messages the job dealt with is not known"),
            Wording("Not all of its counters were given to this report."),
            Wording(again),
            WARN,
            command=get,
        )


def _approvals(facts: Mapping[str, Any]) -> Iterator[Open]:
    """Approvals that are not those of the policy in the bundle."""
    check = part(part(facts, "request"), "approval_check")
    if check.get("state") in {"not_met", "invalid"}:
        yield Open(
            Wording("The approvals are not those that the policy asks for"),
            Wording("The policy is the one that was in force where this report was made."),
            Wording("Find out whether another policy was in force when the job was made, and who let it through."),
            WARN,
            reason=text(check.get("why")),
        )


def _failed_job(facts: Mapping[str, Any], job: Job) -> Open:
    pending = job.counters["PENDING"]
    if not job.discovered:
        why = "Its search did not run to the end, so whether messages match is not known. Nothing is known to be moved."
        why = why.replace("moved", job.done_word)
    elif pending:
        why = (
            f"{messages(pending)} {_were(pending)} not processed. The search may not have run to its end either, so "
            "more messages may match."
        )
    else:
        why = "It ended before every message was dealt with, or none could be."
    return Open(
        Wording("The job failed before it found a message" if job.discovered == 0 else "The job failed"),
        Wording(why),
        Wording("Remove the cause, then preview a new job over the same search."),
        BAD,
        job.status_message,
        command=_preview(facts, job),
        status="PENDING" if pending else None,
    )


def _cancelled(cancelled: int, job: Job) -> Open:
    one = cancelled == 1
    return Open(
        Wording(f"{messages(cancelled)} {_were(cancelled)} cancelled"),
        Wording(
            "The job was stopped before it had dealt with everything it found. "
            f"{'It' if one else 'Some of these'} may have been {job.done_word} all the same: a row that was in flight "
            "when the job ended counts as cancelled."
        ),
        Wording(
            f"Look at the {'message' if one else 'messages'} before you act on {'it' if one else 'them'}. To deal with "
            f"{'it' if one else 'them'} after all, let {_by_id(job)} act on the rows of the export with the status "
            "CANCELLED, or start a new job over the same search."
        ),
        WARN,
        command=job_command("export-job-messages", job.job_id, {"status": "CANCELLED"}),
        status="CANCELLED",
    )


def irreversible(job: Job) -> Open | None:
    """What it means that mail went to a folder from which the pack does not simply bring it back."""
    done = job.counters["COMPLETED"] or 0
    back = way_back(job)
    if not job.is_irreversible or back is None:
        return None
    deleted, them = f"{messages(done)} {_were(done)} deleted{_so_far(job)}", "it" if done == 1 else "them"
    if job.destination == "RecoverableItemsPurges":
        return Open(
            Wording(f"{deleted}: users can't restore {them}"),
            back,
            Wording(
                "If too much was deleted, tell the administrator of the mailboxes now: the time for it is limited."
            ),
            WARN,
        )
    return Open(
        Wording(f"{deleted}: users can restore {them}"),
        back,
        Wording(
            "If nobody may restore them, they must go elsewhere. If too much was deleted, the time for it is limited."
        ),
        WARN,
    )


def way_back(job: Job) -> Wording | None:
    """How what was done is undone, where it can be."""
    if job.action != "MOVE" or not job.counters["COMPLETED"]:
        return None
    if job.destination == "RecoverableItemsPurges":
        return Wording(
            "This pack can't bring back what was moved to Recoverable Items (Purges). On Microsoft 365 an "
            "administrator can, while it is kept; what Google Workspace keeps is not documented."
        )
    if job.destination == "RecoverableItemsDeletions":
        return Wording(
            "On Microsoft 365 users can restore what was moved to Recoverable Items (Deletions) themselves. Whether "
            "restore-messages can is not documented, nor what the API does on Google Workspace."
        )
    return Wording(
        "If too much was moved: restore-messages moves the messages of an NDJSON export back to the Inbox, whichever "
        "folder they came from."
    )


def way_back_command(facts: Mapping[str, Any], job: Job) -> Command | None:
    """The dry run of that, where the export's file is known."""
    rows = facts.get("rows")
    if way_back(job) is None or job.is_irreversible or not isinstance(rows, str):
        return None
    return command("restore-messages", {"export": rows})


def _so_far(job: Job) -> str:
    return " so far" if job.running else ""


def _by_id(job: Job) -> str:
    return "release-messages" if job.action == "RELEASE" else "move-messages"


def _retry(job: Job) -> Command | None:
    flags = {"allow_irreversible": True} if job.is_irreversible else None
    return job_command("retry-failed-messages", job.job_id, flags)


def _wait(job: Job) -> Command | None:
    return job_command("wait-for-job", job.job_id)


def _preview(facts: Mapping[str, Any], job: Job) -> Command | None:
    """The same search previewed again; None where the action or the search is not known."""
    flags = search_flags(facts)
    if job.action not in {"MOVE", "RELEASE"} or not flags:
        return None
    return command(
        "preview-job",
        {"action": job.action, "destination": job.destination if job.action == "MOVE" else None, **flags},
    )


def _not_ended(job: Job) -> Open:
    pending = job.counters["PENDING"]
    return Open(
        Wording(f"{messages(pending)} {_were(pending)} still pending" if pending else "The job has not ended"),
        Wording("The job had not ended when this report was made: all its numbers are as they were so far."),
        Wording("Wait for it with wait-for-job, then export and report again."),
        BUSY,
        command=_wait(job),
    )
