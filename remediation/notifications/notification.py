"""A notification: its texts within fixed limits, and how a person answers it."""

from __future__ import annotations

import hashlib
import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.json_model import LARGEST_INTEGER
from core.json_values import MAX_INTEGER_BITS, canonical
from remediation.notifications.fitting import fit, lines_of, one_line

Event = Literal["needs_approval", "done", "partial", "refused", "failed", "stalled", "info"]
Fact = str | int | float | bool | None

WORDS: Mapping[Event, str] = {
    "needs_approval": "Approval needed",
    "done": "Done",
    "partial": "Partly done",
    "refused": "Refused",
    "failed": "Failed",
    "stalled": "Stalled",
    "info": "Information",
}

MOST_FACTS = 10
MOST_LINES = 30
# In UTF-16 units. Together, and with the longest forms of their characters, they fit into the 28 KB of Teams.
LONGEST_TITLE = 150
LONGEST_MESSAGE = 2500
LONGEST_LABEL = 60
LONGEST_VALUE = 300


@dataclass(frozen=True)
class Draft:
    """A notification as its author wrote it: texts of any length, with any characters of a mailbox.

    run_id, signal, case_id: valid names. dedupe: tells two notifications of one event apart, in place of their content.
    """

    event: Event
    title: str
    message: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    run_id: str | None = None
    signal: str | None = None
    case_id: str | None = None
    dedupe: str | None = None


@dataclass(frozen=True)
class Notification:
    """The content of a message. Its texts are cut and have no control characters; each format escapes its own markup.

    id: the same for each attempt and each repetition, so that a receiver can ignore duplicates. lines: the message.
    link: the page of the run, if CFES_RUN_URL is set; else `commands` show and answer the run.
    """

    id: str
    event: Event
    title: str
    lines: Sequence[str]
    facts: Mapping[str, Fact]
    run_id: str | None
    signal: str | None
    case_id: str | None
    link: str | None
    commands: Sequence[str]

    @property
    def headline(self) -> str:
        """The title with the event in words before it."""
        return f"{WORDS[self.event]}: {self.title}"

    @property
    def shown_facts(self) -> Mapping[str, str]:
        """The facts with their values as text."""
        return {label: _shown(value) for label, value in self.facts.items()}


def compose(draft: Draft, notification_id: str, link: str | None) -> Notification:
    """Return the notification of a draft, with every text cut to its limit. At most MOST_FACTS facts are kept."""
    return Notification(
        id=notification_id,
        event=draft.event,
        title=fit(one_line(draft.title), LONGEST_TITLE),
        lines=fit("\n".join(lines_of(draft.message, MOST_LINES)), LONGEST_MESSAGE).splitlines(),
        facts={
            fit(one_line(label), LONGEST_LABEL): _cut(value) for label, value in list(draft.facts.items())[:MOST_FACTS]
        },
        run_id=draft.run_id,
        signal=draft.signal,
        case_id=draft.case_id,
        link=link,
        commands=_commands(draft),
    )


def stable_id(draft: Draft) -> str | None:
    """Return the same ID for the same event of a run, or None without a run and without `dedupe`."""
    if draft.run_id is None and draft.dedupe is None:
        return None
    content = [draft.title, draft.message, dict(draft.facts), draft.signal]
    text = canonical([draft.run_id, draft.event, content if draft.dedupe is None else draft.dedupe])
    return f"msg_{hashlib.sha256(b'cfes notification ' + text).hexdigest()[:32]}"


def random_id(rng: random.Random) -> str:
    """Return an ID for a notification that belongs to no run."""
    return f"msg_{rng.getrandbits(128):032x}"


def _commands(draft: Draft) -> list[str]:
    if draft.run_id is None:
        return []
    show = f"cfes playbook show {draft.run_id}"
    if draft.signal is None:
        return [show]
    if draft.event == "needs_approval":
        return [show, f"cfes playbook approve {draft.run_id} --key KEY"]
    return [show, f"cfes playbook signal {draft.run_id} {shlex.quote(draft.signal)} @FILE"]


def _cut(value: Fact) -> Fact:
    """Return the value with a text cut, and with an integer that JSON readers do not keep exact as text."""
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        value = str(value) if value.bit_length() <= MAX_INTEGER_BITS else "a number with more than 70 digits"
    return fit(one_line(value), LONGEST_VALUE) if isinstance(value, str) else value


def _shown(value: Fact) -> str:
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
    return str(value)
