"""Show a playbook's run: one line per step, and on a terminal a progress bar for the current step."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from actions.contract import catalog
from connectors.objects.job import HAS_ENDED
from core import progress
from core.instants import parse_timestamp
from platforms.cli.views.errors import Interruption
from platforms.cli.views.palette import BAD, GOOD, QUIET, WARNING
from platforms.cli.views.progress_bar import Bar
from platforms.cli.views.screen import Screen
from platforms.cli.views.step_summary import changed_nothing, summary
from playbooks.drivers.local import Observer
from playbooks.engine.commands import RunAction, Sleep
from playbooks.language.format import ActionStep, CheckStep, FinishStep, SetStep, Step

_MARKS = {"succeeded": ("✓", GOOD), "failed": ("✗", BAD), "skipped": ("-", QUIET)}

_NOTHING_NEW = ("!", WARNING)

Record = Mapping[str, Any]


class RunView(Observer):
    """Shows a run and remembers its job. bar: None without a terminal."""

    def __init__(self, screen: Screen, bar: Bar | None) -> None:
        self._screen = screen
        self._bar = bar
        self.job_id: str | None = None
        self.job_has_ended = False
        self.under_way: Step | None = None
        self.thinking: Mapping[str, float] = {}

    def show_progress(self, report: progress.Progress) -> None:
        """Show the progress that an action reports, and remember its job."""
        self.job_id = report.job_id or self.job_id
        if self._bar is not None:
            self._bar.show(report)

    def resumed(self, reached: Sequence[tuple[Step, Record]]) -> None:
        for step, record in reached:
            if isinstance(step, ActionStep):
                self._learn(record)

    def step_started(self, step: Step, command: RunAction, record: Record, *, again: bool) -> None:  # noqa: ARG002
        self.under_way = step
        if again:
            self._screen.say(f"  {_title(step)}: the step was interrupted and runs again, which is safe", QUIET)
        if self._bar is not None and not record["repeats"]:
            self._bar.begin(_title(step))

    def step_ended(self, step: Step, record: Record) -> None:
        self.under_way = None
        if isinstance(step, ActionStep):
            self._learn(record)
        if self._bar is not None:
            self._bar.end()
        if _is_worth_a_line(step, record):
            self._line(step, record)

    def step_skipped(self, step: Step, record: Record) -> None:
        if isinstance(step, ActionStep):
            self._line(step, record)

    def sleeping(self, step: Step, command: Sleep, record: Record) -> None:
        self.under_way = step
        self._learn(record)
        if command.why == "repeat":
            return
        why = f"{(record.get('error') or {}).get('type')}, retrying in {command.seconds:.0f} s"
        if self._bar is not None:
            self._bar.note(why)
        else:
            self._screen.say(f"  {_title(step)}: {why}")

    def interruption(self, directory: str) -> Interruption:
        """Return the text for Ctrl-C."""
        step, job_id = self.under_way, None if self.job_has_ended else self.job_id
        message = f"Interrupted in step {step.id}." if step is not None else "Interrupted."
        if job_id is not None:
            message += f" Job {job_id} is still running in Cloudflare."
        elif self.job_id is None and isinstance(step, ActionStep) and catalog.find(step.action).effect != "read":
            message += " A job may exist. The resumed run finds the job and does not create a second one."
        return Interruption(
            message,
            resume=f"cfes playbook run --resume {shlex.quote(directory)}",
            cancel=None if job_id is None else f"cfes cancel-job --job-id {job_id}",
        )

    def _learn(self, record: Record) -> None:
        result = record.get("result") or record.get("error") or {}
        self.job_id = result.get("job_id") or self.job_id
        job = result.get("job")
        status = result.get("status") or (job.get("status") if isinstance(job, Mapping) else None)
        if result.get("job_id") and isinstance(status, str):
            self.job_has_ended = HAS_ENDED.get(status, False)

    def _line(self, step: Step, record: Record) -> None:
        mark = _NOTHING_NEW if changed_nothing(record.get("result") or {}) else _MARKS[record["status"]]
        parts = [_title(step)]
        parts.append("skipped" if record["status"] == "skipped" else _outcome(step, record))
        parts.append(_took(record, self.thinking.get(step.id, 0.0)))
        style = "" if mark == _MARKS["succeeded"] else mark[1]
        self._screen.say("  ".join(part for part in parts if part), style, mark)


def _is_worth_a_line(step: Step, record: Record) -> bool:
    """Return whether to show the step. Steps that compute, and finish steps that did not end the run, are hidden."""
    if record["status"] == "failed":
        return True
    if isinstance(step, FinishStep):
        return record.get("reason") is not None
    return not isinstance(step, SetStep)


def _title(step: Step) -> str:
    return step.title or step.id


def _outcome(step: Step, record: Record) -> str:
    error = record.get("error")
    if record["status"] == "failed":
        # The closing block shows the reason, unless the run continues.
        handled = isinstance(step, ActionStep) and any(handler.do == "continue" for handler in step.on_error)
        kind = (error or {}).get("type") or (step.outcome if isinstance(step, CheckStep) else "failed")
        return f"{kind}: {error.get('message')}" if handled and error else str(kind)
    if isinstance(step, FinishStep):
        # The closing lines show the reason.
        return "the run ends here"
    return summary(step.action, record.get("result") or {}) if isinstance(step, ActionStep) else ""


def _took(record: Record, thinking: float) -> str:
    """Return how long the step took, without the time for a confirmation."""
    seconds = (parse_timestamp(record["ended"]) - parse_timestamp(record["started"])).total_seconds() - thinking
    return f"({seconds:.1f} s)" if seconds >= 0.05 else ""
