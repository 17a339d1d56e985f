"""The verdict of a report: the outcome as a badge, and what happened in one sentence."""

from __future__ import annotations

import re

from core.quantity import counted
from remediation.reports.facts import Job
from remediation.reports.own_words import Wording

# How to read a number or an item. Each tone is a class of the style sheet.
Tone = Wording
GOOD, BAD, WARN, IDLE, BUSY = (Tone(name) for name in ("good", "bad", "warn", "idle", "busy"))


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
            f"The job is still running: {done:,} of {counted(found, 'message')} found so far "
            f"{'was' if done == 1 else 'were'} {job.done_phrase}."
        )
    if found == 0:
        nothing = {
            "failed": "The job failed before it found any messages",
            "cancelled": "The job was cancelled before it found any messages",
            "succeeded": "The search found no messages",
        }
        return Wording(f"{nothing.get(outcome or '', 'The job found no messages')}, so nothing was {job.done_word}.")
    opening = {"failed": "The job failed: ", "cancelled": "The job was cancelled: "}.get(outcome or "", "")
    text = _share_done(job, found, done)
    return Wording(opening + text if opening else text[0].upper() + text[1:])


def _share_done(job: Job, found: int, done: int) -> str:
    if found == 1:
        text = f"the one message found {'was' if done == 1 else 'was not'} {job.done_phrase}"
    elif done == found:
        text = f"all {counted(found, 'message')} found were {job.done_phrase}"
    else:
        number, verb = f"{done:,}" if done else "none", "was" if done == 1 else "were"
        text = f"{number} of {counted(found, 'message')} found {verb} {job.done_phrase}"
    verbs = {
        "FAILED": ("failed", "failed"),
        "SKIPPED": ("was skipped", "were skipped"),
        "CANCELLED": ("was cancelled", "were cancelled"),
        "PENDING": ("was still pending", "were still pending"),
    }
    if done == found:
        return f"{text}."
    rest = [counted(count, *verb) for status, verb in verbs.items() if (count := job.counters[status])]
    if found == 1:
        rest = [re.sub("^1 ", "it ", words) for words in rest]
    ending = f"; {', '.join(rest[:-1])}{' and ' if rest[:-1] else ''}{rest[-1]}" if rest else ""
    return f"{text}{ending}."
