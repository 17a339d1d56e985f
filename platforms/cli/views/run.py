"""Show a playbook's run: one line per step, and on a terminal a progress bar for the current step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actions.contract import catalog
from connectors.objects.job import HAS_ENDED
from core import progress
from core.errors import PackError
from core.instants import parse_timestamp, whole_second
from platforms.cli.views.errors import Interruption
from platforms.cli.views.palette import BAD, GOOD, QUIET, STRONG, WARNING
from platforms.cli.views.progress_bar import Bar
from platforms.cli.views.screen import Screen
from platforms.cli.views.step_summary import changed_nothing, summary
from playbooks.drivers.drive import Observer
from playbooks.drivers.outcome import answer_to
from playbooks.engine.commands import AwaitSignal, RunAction, Sleep, path_of
from playbooks.engine.history import Reached
from playbooks.engine.state import StepRecord
from playbooks.language.format import ActionStep, CheckStep, FinishStep, PauseStep, PlaybookStep, SetStep, Step

_MARKS = {"succeeded": ("✓", GOOD), "failed": ("✗", BAD), "skipped": ("-", QUIET)}

_NOTHING_NEW = ("!", WARNING)


class RunView(Observer):
    """Shows a run and remembers its job. bar: None without a terminal. names_run: show the run's ID first."""

    def __init__(self, screen: Screen, bar: Bar | None, *, names_run: bool = True) -> None:
        self.names_run = names_run
        self._screen = screen
        self._bar = bar
        self.job_id: str | None = None
        self.job_has_ended = False
        self.run_id: str | None = None
        self.under_way: Reached | None = None
        self.thinking: Mapping[str, float] = {}

    def show_progress(self, report: progress.Progress) -> None:
        """Show the progress that an action reports, and remember its job."""
        self.job_id = report.job_id or self.job_id
        if self._bar is not None:
            self._bar.show(report)

    def began(self, run_id: str, directory: str) -> None:  # noqa: ARG002
        self.run_id = run_id
        if self.names_run:
            self._screen.say(f"Run {run_id}", QUIET)
            self._screen.command("follow", f"cfes playbook watch {run_id}")

    def resumed(self, reached: Sequence[Reached]) -> None:
        for at in reached:
            if isinstance(at.step, ActionStep):
                self._learn(at.record)

    def step_started(self, at: Reached, command: RunAction, *, again: bool) -> None:  # noqa: ARG002
        self.under_way = at
        if again:
            self._screen.say(f"  {_title(at)}: the step was interrupted and runs again, which is safe", QUIET)
        if self._bar is not None and not at.record.repeats:
            self._bar.begin(_title(at))

    def step_ended(self, at: Reached) -> None:
        self.under_way = None
        if isinstance(at.step, ActionStep):
            self._learn(at.record)
        if self._bar is not None:
            self._bar.end()
        if _is_worth_a_line(at):
            self._line(at)

    def sleeping(self, at: Reached, command: Sleep) -> None:
        self.under_way = at
        self._learn(at.record)
        if command.why == "repeat":
            return
        if command.why == "sleep":
            self._note(at, f"waiting until {whole_second(command.until)}")
            return
        self._note(at, f"{(at.record.error or {}).get('type')}, retrying in {command.seconds:.0f} s")

    def waiting(self, at: Reached, command: AwaitSignal) -> None:
        self.under_way = at
        path = path_of(at.place, command.name)
        self._screen.say(f"  {_title(at)}: waiting for the signal {path} until {whole_second(command.until)}", STRONG)
        self._screen.command("answer", answer_to(str(self.run_id), path, command))

    def signal_refused(self, name: str, error: PackError) -> None:
        self._screen.say(f"  The signal {name} was refused: {error.message}", WARNING)

    def interruption(self) -> Interruption:
        """Return the text for Ctrl-C."""
        at, job_id = self.under_way, None if self.job_has_ended else self.job_id
        step = at.step if at is not None else None
        message = f"Interrupted in step {at.path}." if at is not None else "Interrupted."
        if job_id is not None:
            message += f" Job {job_id} is still running in Cloudflare."
        elif self.job_id is None and isinstance(step, ActionStep) and catalog.find(step.action).effect != "read":
            message += " A job may exist. The resumed run finds the job and does not create a second one."
        return Interruption(
            message,
            resume=f"cfes playbook resume {self.run_id}" if self.run_id is not None else None,
            cancel=None if job_id is None else f"cfes cancel-job --job-id {job_id}",
        )

    def _note(self, at: Reached, why: str) -> None:
        if self._bar is not None:
            self._bar.note(why)
        else:
            self._screen.say(f"  {_title(at)}: {why}")

    def _learn(self, record: StepRecord) -> None:
        result = record.result or record.error or {}
        self.job_id = result.get("job_id") or self.job_id
        job = result.get("job")
        status = result.get("status") or (job.get("status") if isinstance(job, Mapping) else None)
        if result.get("job_id") and isinstance(status, str):
            self.job_has_ended = HAS_ENDED.get(status, False)

    def _line(self, at: Reached) -> None:
        record = at.record
        mark = _NOTHING_NEW if changed_nothing(record.result or {}) else _MARKS[record.status]
        parts = [_title(at)]
        parts.append("skipped" if record.status == "skipped" else _outcome(at.step, record))
        parts.append(_took(record, self.thinking.get(at.path, 0.0)))
        style = "" if mark == _MARKS["succeeded"] else mark[1]
        self._screen.say("  ".join(part for part in parts if part), style, mark)


def _is_worth_a_line(at: Reached) -> bool:
    """Return whether to show the step.

    Steps that compute, that run other steps, and finish steps that did not end the run, are hidden.
    """
    if at.record.status == "skipped":
        # A person who was promised a question wants to know why none came.
        return isinstance(at.step, ActionStep) and catalog.find(at.step.action).approval != "not needed"
    if at.record.status == "failed":
        return not isinstance(at.step, PlaybookStep)
    if isinstance(at.step, FinishStep):
        return at.record.reason is not None
    return not isinstance(at.step, SetStep | PlaybookStep)


def _title(at: Reached) -> str:
    # With for_each several runs of one playbook have the same titles.
    items = [name for name in at.place if name.endswith("]")]
    return "".join(f"{name}: " for name in items) + (at.step.title or at.step.id)


def _outcome(step: Step, record: StepRecord) -> str:
    if record.status == "failed":
        # The closing block shows the reason, unless the run continues.
        handled = isinstance(step, ActionStep) and any(handler.do == "continue" for handler in step.on_error)
        error = record.error
        kind = (error or {}).get("type") or (step.outcome if isinstance(step, CheckStep | PauseStep) else "failed")
        return f"{kind}: {error.get('message')}" if handled and error else str(kind)
    if isinstance(step, FinishStep):
        # The closing lines show the reason.
        return "the run ends here"
    return summary(step.action, record.result or {}) if isinstance(step, ActionStep) else ""


def _took(record: StepRecord, thinking: float) -> str:
    """Return how long the step took, without the time for a confirmation."""
    if record.ended is None:
        return ""
    seconds = (parse_timestamp(record.ended) - parse_timestamp(record.started)).total_seconds() - thinking
    return f"({seconds:.1f} s)" if seconds >= 0.05 else ""
