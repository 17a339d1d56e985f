"""A report in at most twelve lines without a table, for a chat message or a ticket: plain text that is Markdown too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from remediation.reports.chat_text import chat
from remediation.reports.findings import Open
from remediation.reports.page import Report
from remediation.reports.request_view import Glance
from remediation.reports.wording import Wording

MOST_LINES = 12
_MOST_POINTS = 3
_TOGETHER = (("Subject", "Sender"), ("Requested by", "Approved by"), ("Plan hash", "Policy hash"), ("Job", "Names"))
# A command that names no more than a job: one with a search in it holds text of a mailbox.
_SAFE_COMMAND = re.compile(r"[A-Za-z0-9 .-]+")


def summary_text(report: Report) -> str:
    """Return the lines: what happened, what the mail was, who wanted it, whether the evidence holds, what to do."""
    first, *lines = _lines(report)
    return "\n".join([first, *(f"- {line}" for line in lines[: MOST_LINES - 1])]) + "\n"


def _lines(report: Report) -> Iterator[str]:
    outcome = Wording("Outcome not known") if report.outcome is None else report.outcome
    if report.unreliable is None:
        yield f"{_said(outcome)}: {report.sentence}"
    else:
        yield f"{_said(outcome)}: {report.unreliable.title}. {report.unreliable.advice}"
        yield f"The job's own counters say: {report.sentence}"
    glances = {one.name: one for one in report.glances}
    for names in _TOGETHER:
        if known := [_glance(glances[Wording(name)]) for name in names if name in glances]:
            yield "; ".join(known)
    yield "; ".join(f"{figure.name}: {_said(figure.value)} ({figure.note})" for figure in report.figures[-1:])
    if report.warning is not None:
        yield f"Warning: {report.warning.title}"
    points = report.left_open
    shown = points if len(points) <= _MOST_POINTS else points[: _MOST_POINTS - 1]
    for point in shown:
        yield _point(point)
    if len(points) > len(shown):
        yield f"To do: {len(points) - len(shown)} more points, see the report"
    if report.warnings:
        more = f" (and {len(report.warnings) - 1:,} more)" if len(report.warnings) > 1 else ""
        yield f"Warning{more}: {chat(report.warnings[0])}"


def _glance(one: Glance) -> str:
    note = "" if one.note is None else f" ({one.note})"
    return f"{one.name}: {_said(one.value)}{note}"


def _point(point: Open) -> str:
    words = f"To do: {point.title}"
    if point.reason is not None:
        words += f" (reason given: {_said(point.reason)})"
    if point.command is not None and _SAFE_COMMAND.fullmatch(point.command):
        return f"{words}; run `{point.command}`"
    return words


def _said(value: object) -> str:
    """A `Wording` is this pack's own; all else is foreign."""
    if value is None:
        return "not known"
    return value if isinstance(value, Wording) else chat(str(value))
