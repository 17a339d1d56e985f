"""The verdict of a report: the outcome as a badge, and what happened in one sentence."""

from __future__ import annotations

from core.quantity import counted
from remediation.reports.facts import Job
from remediation.reports.own_words import Wording

# How to read a number or an item. Each tone is a class of the style sheet.
Tone = Wording
GOOD, BAD, WARN, IDLE, BUSY = (Tone(name) for name in ("good", "bad", "warn", "idle", "busy"))


def count_messages(number: int) -> str:
    """Return `1 message` or `420 messages`."""
    return counted(number, "message")


def was_or_were(number: int) -> str:
    """Return the verb that fits the number."""
    return "was" if number == 1 else "were"


def verdict(outcome: str | None, job: Job, *, reliable: bool = True) -> tuple[Wording | str | None, Tone]:
    """Return the badge's text and tone. Where the evidence has a mismatch, no outcome is good."""
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
    """Return one sentence on what happened to the messages."""
    found, done = job.discovered, job.counters["COMPLETED"]
    if found is None or done is None:
        return Wording(
            {
                "failed": "The job failed. The number of messages that it reached is not known.",
                "cancelled": "The job was cancelled. The number of messages that it reached is not known.",
                "running": "The job is still running. Its progress is not known.",
            }.get(outcome or "", "The outcome of the messages is not known.")
        )
    if outcome == "running":
        if found == 0:
            return Wording("The job is still running: it has found no messages so far.")
        return Wording(
            f"The job is still running: {done:,} of {count_messages(found)} found so far {was_or_were(done)} "
            f"{job.done_phrase}."
        )
    if found == 0:
        opening = {
            "failed": "The job failed before it found any messages",
            "cancelled": "The job was cancelled before it found any messages",
            "succeeded": "The search found no messages",
        }
        return Wording(f"{opening.get(outcome or '', 'The job found no messages')}, so nothing was {job.done_word}.")
    opening = {"failed": "The job failed: ", "cancelled": "The job was cancelled: "}
    return Wording(opening.get(outcome or "", "") + _share_done(job, found, done, capital=outcome not in opening))


def _share_done(job: Job, found: int, done: int, *, capital: bool) -> str:
    if done == found:
        first = "T" if found == 1 else "A"
        rest_of_it = "he one message" if found == 1 else f"ll {count_messages(found)}"
        return f"{first if capital else first.lower()}{rest_of_it} found {was_or_were(found)} {job.done_phrase}."
    if found == 1:
        none = "The one message" if capital else "the one message"
    else:
        none = (("None" if capital else "none") if done == 0 else f"{done:,}") + f" of {count_messages(found)}"
    denied = " not" if found == 1 else ""
    words = {"FAILED": "failed", "SKIPPED": "skipped", "CANCELLED": "cancelled", "PENDING": "still pending"}
    rest = [
        f"{'it' if found == number == 1 else f'{number:,}'} "
        f"{'' if status == 'FAILED' else was_or_were(number) + ' '}{word}"
        for status, word in words.items()
        if (number := job.counters[status])
    ]
    ending = f"; {', '.join(rest[:-1])}{' and ' if rest[:-1] else ''}{rest[-1]}" if rest else ""
    verb = was_or_were(1 if found == 1 else done or 2)
    return f"{none} found {verb}{denied} {job.done_phrase}{ending}."
