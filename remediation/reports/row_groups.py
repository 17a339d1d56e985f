"""Row groups: the messages that did not succeed, by status, as a report lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remediation.reports.facts import RUNNING, Job, part, text
from remediation.reports.own_words import Wording
from remediation.reports.tally import Tally
from remediation.reports.verdict import BAD, BUSY, GOOD, IDLE, WARN, Tone

TONES: dict[str, Tone] = {"COMPLETED": GOOD, "FAILED": BAD, "SKIPPED": WARN, "CANCELLED": IDLE, "PENDING": BUSY}
# Readers need the failed rows most, so other groups are shorter.
_SHORT_GROUP = 15


@dataclass(frozen=True)
class RowGroup:
    """The rows of one status: those that are listed, and the count of all. `anchor` identifies it within the page."""

    heading: Wording
    anchor: Wording
    tone: Tone
    rows: Sequence[Mapping[str, str | None]]
    count: int

    @property
    def heading_anchor(self) -> Wording:
        """Return the anchor that Markdown gives the heading."""
        return Wording(self.heading.lower().replace(" ", "-"))


def row_groups(job: Job, tally: Tally | None) -> dict[str | None, RowGroup]:
    """Return the groups by status. A running job has no group of pending rows."""
    if tally is None:
        return {}
    counts = {share.name: share.rows for share in tally.statuses.top(100)}
    samples = tally.not_succeeded_by_status()
    known = {status for status in samples if status is not None}
    others = tally.not_succeeded_count - sum(counts.get(status, 0) for status in known)
    groups: dict[str | None, RowGroup] = {}
    for status, rows in samples.items():
        if job.running and status in RUNNING:
            continue
        listed = rows if status == "FAILED" else rows[:_SHORT_GROUP]
        groups[status] = RowGroup(
            Wording((status or "Status not known").capitalize()),
            Wording(f"rows-{(status or 'other').lower()}"),
            TONES.get(status or "", IDLE),
            [_listed_row(row) for row in listed],
            others if status is None else counts.get(status, 0),
        )
    return groups


def _listed_row(row: Mapping[str, Any]) -> dict[str, str | None]:
    message = part(row, "message")
    return {
        "recipient": text(part(row, "action_params").get("client_recipient")),
        "subject": text(message.get("subject")),
        "sender": text(message.get("from")),
        "reason": text(row.get("status_message")) or Wording("no reason given"),
        "row_id": text(row.get("message_id")),
    }
