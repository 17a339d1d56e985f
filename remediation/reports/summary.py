"""The summary: a report in at most twelve lines for a chat message or a ticket, as plain text that is also Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from remediation.reports.open_items import OpenItem
from remediation.reports.own_words import Wording, chat
from remediation.reports.page import Report
from remediation.reports.request import Glance

MOST_LINES = 12
_MOST_ITEMS = 3
_ONE_LINE = (("Subject", "Sender"), ("Requested by", "Approved by"), ("Plan hash", "Policy hash"), ("Job", "Names"))
# A command that contains only a job's ID. A search in a command would carry text of a mailbox.
_SAFE_COMMAND = re.compile(r"[A-Za-z0-9 .-]+")


def summary_text(report: Report) -> str:
    """Return the lines: outcome, mail, requester and approvers, state of the evidence, open items."""
    first, *lines = _lines(report)
    return "\n".join([first, *(f"- {line}" for line in lines[: MOST_LINES - 1])]) + "\n"


def _lines(report: Report) -> Iterator[str]:
    outcome = Wording("Outcome not known") if report.outcome is None else report.outcome
    if report.unreliable is None:
        yield f"{_shown(outcome)}: {report.sentence}"
    else:
        yield f"{_shown(outcome)}: {report.unreliable.title}. {report.unreliable.advice}"
        yield f"According to the job's counters: {report.sentence}"
    glances = {one.name: one for one in report.glances}
    for names in _ONE_LINE:
        if known := [_glance(glances[Wording(name)]) for name in names if name in glances]:
            yield "; ".join(known)
    yield "; ".join(f"{figure.name}: {_shown(figure.value)} ({figure.note})" for figure in report.figures[-1:])
    if report.warning is not None:
        yield f"Warning: {report.warning.title}"
    items = report.open_items
    shown = items if len(items) <= _MOST_ITEMS else items[: _MOST_ITEMS - 1]
    for item in shown:
        yield _open_item(item)
    if len(items) > len(shown):
        yield f"Open: {len(items) - len(shown)} more items, see the report"
    if report.warnings:
        more = f" (and {len(report.warnings) - 1:,} more)" if len(report.warnings) > 1 else ""
        yield f"Warning{more}: {chat(report.warnings[0])}"


def _glance(one: Glance) -> str:
    note = "" if one.note is None else f" ({one.note})"
    return f"{one.name}: {_shown(one.value)}{note}"


def _open_item(item: OpenItem) -> str:
    words = f"Open: {item.title}"
    if item.reason is not None:
        words += f" (reason given: {_shown(item.reason)})"
    if item.command is not None and _SAFE_COMMAND.fullmatch(item.command):
        return f"{words}; run `{item.command}`"
    return words


def _shown(value: object) -> str:
    """Return a `Wording` as it is, and any other text disarmed for a chat."""
    if value is None:
        return "not known"
    return value if isinstance(value, Wording) else chat(str(value))
