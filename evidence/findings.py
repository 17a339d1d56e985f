"""The judgements in a report: what happened, and what was not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evidence.report_facts import Job, count, part
from evidence.wording import Wording

# How a number or a point is to be taken; a class of the style sheet.
Tone = Wording
GOOD, BAD, WARN, IDLE, BUSY = (Tone(name) for name in ("good", "bad", "warn", "idle", "busy"))


@dataclass(frozen=True)
class Open:
    """Something that was not done, why, and what to do about it. `reason` is the API's own text."""

    title: Wording
    why: Wording
    advice: Wording
    tone: Tone
    reason: str | None = None


def messages(number: int) -> str:
    """`1 message`, `420 messages`."""
    return f"{number:,} message{'' if number == 1 else 's'}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def verdict(outcome: str | None, job: Job) -> tuple[Wording | str | None, Tone]:
    """The outcome as a badge: words and tone."""
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
        return Wording(
            f"The job is still running: {done:,} of {messages(found)} found so far {_were(done)} {job.done_phrase}."
        )
    if found == 0:
        opening = {
            "failed": "The job failed before it found a message",
            "cancelled": "The job was cancelled before it found a message",
        }
        return Wording(f"{opening.get(outcome or '', 'The search found no message')}, so nothing was {job.done_word}.")
    opening = {"failed": "The job failed: ", "cancelled": "The job was cancelled: "}
    return Wording(opening.get(outcome or "", "") + _share_done(job, found, done, capital=outcome not in opening))


def _share_done(job: Job, found: int, done: int, *, capital: bool) -> str:
    if done == found:
        first = "T" if found == 1 else "A"
        rest_of_it = "he one message" if found == 1 else f"ll {messages(found)}"
        return f"{first if capital else first.lower()}{rest_of_it} found {_were(found)} {job.done_phrase}."
    none = ("None" if capital else "none") if done == 0 else f"{done:,}"
    words = {"FAILED": "failed", "SKIPPED": "skipped", "CANCELLED": "cancelled", "PENDING": "still pending"}
    rest = [
        f"{number:,} {'' if status == 'FAILED' else _were(number) + ' '}{word}"
        for status, word in words.items()
        if (number := job.counters[status])
    ]
    ending = f"; {', '.join(rest[:-1])}{' and ' if rest[:-1] else ''}{rest[-1]}" if rest else ""
    return f"{none} of {messages(found)} found {_were(done or 2)} {job.done_phrase}{ending}."


def left_open(facts: Mapping[str, Any], outcome: str | None, job: Job) -> Iterator[Open]:
    """All that was not done, the gravest first. Nothing comes out if nothing is known to be open."""
    if not part(facts, "job"):
        yield Open(
            Wording("The job is not known"),
            Wording("This report was made without the job, so it can't say what was done."),
            Wording("Get the job with get-job and make the report again."),
            WARN,
        )
    if outcome == "failed":
        yield Open(
            Wording("The job failed"),
            Wording("It ended before every message was dealt with, or none could be."),
            Wording("Look at its reason, then start a new job over the same search."),
            BAD,
            job.status_message,
        )
    if failed := job.counters["FAILED"]:
        yield Open(
            Wording(f"{messages(failed)} failed"),
            Wording(f"What failed was found, but not {job.done_word}. Assume that it is still where it was."),
            Wording(
                "Remove the cause given under “Why messages failed”. Then let retry-failed-messages try exactly these "
                "again, by the job's ID; or start a new job over the same search."
            ),
            BAD,
        )
    if pending := job.counters["PENDING"]:
        yield _pending(pending, job)
    elif job.running:
        yield Open(
            Wording("The job has not ended"),
            Wording("Its numbers can still change."),
            Wording("Wait for it with wait-for-job, then export and report again."),
            BUSY,
        )
    if cancelled := job.counters["CANCELLED"]:
        yield Open(
            Wording(f"{messages(cancelled)} {_were(cancelled)} cancelled"),
            Wording(
                f"The job was stopped before it had dealt with everything it found. Some of these may have been "
                f"{job.done_word} all the same: a row that was in flight when the job ended counts as cancelled."
            ),
            Wording(
                "Compare them with Logpush by reconcile-job; restore-messages looks each of them up. To deal with the "
                f"rest after all, start a new job over the same search, or let {_by_id(job)} act on the rows of the "
                "export with the status CANCELLED."
            ),
            WARN,
        )
    if skipped := job.counters["SKIPPED"]:
        yield Open(
            Wording(f"{messages(skipped)} {_were(skipped)} skipped"),
            Wording("Discovery leaves some messages out, such as those that users reported as phishing."),
            Wording(
                "Nothing was done to what was skipped. Look at its rows and decide whether any needs handling by hand."
            ),
            WARN,
        )
    if job.discovered == 0 and not job.running:
        yield Open(
            Wording("Nothing was found"),
            Wording("No message matched the search when the job ran."),
            Wording(
                "If you expected some, check the spelling, the time window, and detections_only: unless it is false, "
                "mail with a clean verdict is left out."
            ),
            IDLE,
        )
    yield from _incomplete(part(facts, "export"))


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


def _by_id(job: Job) -> str:
    return "release-messages" if job.action == "RELEASE" else "move-messages"


def _pending(pending: int, job: Job) -> Open:
    if job.running:
        return Open(
            Wording(f"{messages(pending)} {_were(pending)} still pending"),
            Wording("The job had not ended when this report was made; its numbers can still change."),
            Wording("Wait for it with wait-for-job, then export and report again."),
            BUSY,
        )
    return Open(
        Wording(f"{messages(pending)} {_were(pending)} not processed"),
        Wording("The job ended before it had dealt with everything it found."),
        Wording("Start a new job over the same search."),
        WARN,
    )


def _incomplete(export: Mapping[str, Any]) -> Iterator[Open]:
    missing = count(export.get("missing"))
    if missing:
        yield Open(
            Wording(f"The export lacks {missing:,} row{'' if missing == 1 else 's'}"),
            Wording("What was done to the messages is not affected, but this evidence is incomplete."),
            Wording("Run export-job-messages again and make the report from its rows."),
            WARN,
        )
    elif export.get("complete") is False:
        yield Open(
            Wording("The export is not proved complete"),
            Wording("Its rows could not be matched with the job's own counters."),
            Wording("Run export-job-messages again once the job has ended and make the report from its rows."),
            WARN,
        )
