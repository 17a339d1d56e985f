"""Advance a run from an event to its next command, through all steps in between that run no action."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from core import instants
from core.errors import CheckRefused, InternalError
from core.json_values import Json, plain
from core.quantity import counted
from playbooks.engine import changes
from playbooks.engine.state import Doubt, End, PendingRun, PendingSleep, RunState, Status, StepRecord
from playbooks.language.data_environment import Results
from playbooks.language.errors import ExpressionFailed, RepeatLimitReached, RunIncomplete
from playbooks.language.expressions import OMIT
from playbooks.language.format import ActionStep, CheckStep, ErrorHandler, FinishStep, SetStep, Step
from playbooks.language.program import Field, Program, reads_absent_result

MAX_COMMANDS = 20_000


class Walk:
    """Changes the working copy of a state until it has a next command."""

    def __init__(self, program: Program, state: RunState, now: datetime) -> None:
        self.program = program
        self.state = state
        self.moment = now
        self.now = instants.format_shortest(now)

    def settle(self) -> None:
        """Advance from the state's position to the next action, or to the end."""
        steps = self.program.playbook.steps
        try:
            while self.state.position < len(steps):
                if self._enter(steps[self.state.position]):
                    return
                self.state.position += 1
            self._end("completed", 0)
        except ExpressionFailed as error:
            self._broken(error)

    def succeeded(self, result: dict[str, Json]) -> None:
        """Record the result of the pending action."""
        step, record = self._current()
        before = record.result
        record.repeats += 1
        record.result = result
        if step.repeat is None:
            self._done(step, record)
            return
        scope = {"result": result, "previous": before, "attempt": record.attempts}
        try:
            if self._at("repeat", "until").condition(self._context(scope)):
                self._done(step, record)
            elif record.repeats >= step.repeat.limit:
                limit = RepeatLimitReached(f"step '{step.id}' ran {counted(record.repeats, 'time')} and is not done")
                self.failed(changes.error_document(limit), limit.exit_code, retry=False)
            else:
                seconds = self._at("repeat", "sleep").seconds(self._context(scope))
                self._sleep(seconds, "repeat", self._call(step, record))
        except ExpressionFailed as error:
            self._broken(error)

    def failed(self, error: dict[str, Json], exit_code: int, *, retry: bool = True) -> None:
        """Record that the pending action failed. The first matching handler decides; without one the run fails."""
        step, record = self._current()
        record.error = error
        if error.get("applied") == "unknown" and record.doubt is None:
            record.doubt = Doubt(error=error, exit_code=exit_code)
        try:
            number, handler = self._handler(step, record, error)
            if retry and handler is not None and handler.retry is not None:
                used = record.retries.get(str(number), 0)
                if used < handler.retry.times:
                    record.retries[str(number)] = used + 1
                    scope = {"error": error, "attempt": record.attempts}
                    seconds = self._at("on_error", number, "retry", "after").seconds(self._context(scope))
                    self._sleep(seconds, "retry", self._pending_run())
                    return
        except ExpressionFailed as broken:
            self._broken(broken)
            return
        error, exit_code = changes.with_doubt(record, error, exit_code)
        record.error = error
        record.status = "failed"
        record.ended = self.now
        if handler is not None and handler.do == "continue":
            self.state.position += 1
            self.settle()
        else:
            self._end("failed", exit_code, error=error)

    def slept(self) -> None:
        """Record that the pending sleep is over."""
        self._command(self._pending_run())

    def bad_result(self, why: str) -> None:
        """Record that the action returned a value that can't be kept."""
        step, _ = self._current()
        error = InternalError(f"the result of action {step.action} in step '{step.id}' can't be stored: it {why}")
        self.failed(changes.error_document(error), error.exit_code)

    def _enter(self, step: Step) -> bool:
        """Begin a step. Returns True if the run has a next command."""
        earlier = self.state.steps.get(step.id)
        # Keep the doubt of an earlier attempt, which may have changed something.
        doubt = earlier.doubt if earlier is not None else None
        record = self.state.steps[step.id] = StepRecord(status="running", started=self.now, doubt=doubt)
        if not self._at("when").condition(self._context()):
            self._close(record, "skipped", reason="its condition `when` is false")
            return False
        match step:
            case ActionStep():
                self._command(self._call(step, record))
                return True
            case SetStep():
                record.result = self._at("set").value(self._context({"omit": OMIT}))
                self._close(record, "succeeded")
            case CheckStep():
                return self._check(step, record)
            case FinishStep():
                ends = self._at("finish").condition(self._context())
                message = self._at("message").text(self._context()) if ends else None
                self._close(record, "succeeded", reason=message)
                if ends:
                    self._end("completed", 0, message=message, early=True)
                return ends
        return False

    def _check(self, step: CheckStep, record: StepRecord) -> bool:
        if self._at("check").condition(self._context()):
            self._close(record, "succeeded")
            return False
        message = self._at("otherwise").text(self._context())
        self._close(record, "failed", reason=message)
        error = RunIncomplete(message) if step.outcome == "incomplete" else CheckRefused(message)
        self._end(step.outcome, error.exit_code, error=changes.error_document(error), message=message)
        return True

    def _call(self, step: ActionStep, record: StepRecord) -> PendingRun:
        scope = {"previous": record.result, "omit": OMIT}
        params = self._at("with").value(self._context(scope))
        return PendingRun(step_id=step.id, action=step.action, params=params)

    def _sleep(self, seconds: float, why: Literal["repeat", "retry"], then: PendingRun) -> None:
        if seconds == 0:
            self._command(then)
            return
        until = instants.format_shortest(self.moment + timedelta(seconds=seconds))
        self._command(PendingSleep(step_id=then.step_id, seconds=float(seconds), until=until, why=why, then=then))

    def _command(self, command: PendingRun | PendingSleep) -> None:
        if self.state.commands >= MAX_COMMANDS:
            limit = RepeatLimitReached(f"the run made {MAX_COMMANDS:,} commands and is not done")
            record = self.state.steps[self.program.playbook.steps[self.state.position].id]
            record.error = changes.error_document(limit)
            self._close(record, "failed")
            self._end("failed", limit.exit_code, error=record.error)
            return
        self.state.commands += 1
        self.state.pending = command
        if isinstance(command, PendingRun):
            self.state.steps[command.step_id].attempts += 1

    def _done(self, step: ActionStep, record: StepRecord) -> None:
        if step.keep is not None and record.result is not None:
            record.result = {key: record.result[key] for key in step.keep if key in record.result}
        record.error = None
        self._close(record, "succeeded")
        self.state.position += 1
        self.settle()

    def _close(
        self, record: StepRecord, status: Literal["succeeded", "failed", "skipped"], *, reason: str | None = None
    ) -> None:
        record.status = status
        record.reason = reason
        record.ended = self.now

    def _broken(self, error: ExpressionFailed) -> None:
        """End the run as failed, because an expression can't be evaluated. `on_error` does not apply."""
        ran = [step.id for step in self._actions_run()]
        earlier = f"Earlier steps: {', '.join(ran)}." if ran else "No action ran before it."
        located = type(error)(f"{error.message} {earlier}", help=error.help, problems=error.problems)
        document = changes.error_document(located)
        if self.state.position < len(self.program.playbook.steps):
            record = self.state.steps[self.program.playbook.steps[self.state.position].id]
            record.error = document
            self._close(record, "failed")
        self._end("failed", error.exit_code, error=document)

    def _end(
        self,
        status: Status,
        exit_code: int,
        *,
        error: dict[str, Json] | None = None,
        message: str | None = None,
        early: bool = False,
    ) -> None:
        """End the run. In an early end, outputs that read steps without a result are null."""
        outputs: dict[str, Json] = {}
        for name in self.program.playbook.outputs:
            try:
                outputs[name] = self.program.fields[f"/outputs/{name}"].value(self._context())
            except ExpressionFailed as broken:
                outputs[name] = None
                if error is None and not (early and reads_absent_result(broken)):
                    status, exit_code, error = "failed", broken.exit_code, changes.error_document(broken)
        if error is not None:
            error, exit_code = changes.close(self.program.playbook, self.state, status, error, exit_code)
        self.state.pending = End(
            status=status, exit_code=exit_code, outputs=outputs, error=plain(error), message=message
        )

    def _handler(self, step: ActionStep, record: StepRecord, error: dict[str, Json]) -> tuple[int, ErrorHandler | None]:
        context = self._context({"error": error, "attempt": record.attempts})
        for number, handler in enumerate(step.on_error):
            fits = "*" in handler.types or error.get("type") in handler.types
            if fits and self._at("on_error", number, "when").condition(context):
                return number, handler
        return -1, None

    def _context(self, scope: dict[str, Any] | None = None) -> dict[str, Any]:
        results: dict[str, Json] = {}
        errors: dict[str, Json] = {}
        reasons: dict[str, str] = {}
        for step in self.program.playbook.steps:
            record = self.state.steps.get(step.id)
            if record is not None and record.status == "succeeded" and record.result is not None:
                results[step.id] = record.result
            else:
                reasons[step.id] = _why_no_result(record)
            if record is not None and record.status == "failed" and record.error is not None:
                errors[step.id] = record.error
        run = {
            "id": self.state.run_id,
            "directory": self.state.directory,
            "playbook": self.state.playbook.id,
            "started_at": self.state.started_at,
            "now": self.now,
        }
        return {
            "inputs": self.state.inputs,
            "steps": Results(results, reasons),
            "errors": errors,
            "run": run,
            **(scope or {}),
        }

    def _actions_run(self) -> list[ActionStep]:
        records = self.state.steps
        return [
            step
            for step in self.program.playbook.steps
            if isinstance(step, ActionStep) and step.id in records and records[step.id].attempts > 0
        ]

    def _current(self) -> tuple[ActionStep, StepRecord]:
        step = self.program.playbook.steps[self.state.position]
        if not isinstance(step, ActionStep):
            raise InternalError(f"step '{step.id}' runs no action")
        return step, self.state.steps[step.id]

    def _pending_run(self) -> PendingRun:
        pending = self.state.pending
        if isinstance(pending, PendingSleep):
            return pending.then
        if isinstance(pending, PendingRun):
            return pending
        raise InternalError("no action is pending")

    def _at(self, *parts: object) -> Field:
        return self.program.at(self.state.position, *parts)


def _why_no_result(record: StepRecord | None) -> str:
    if record is None:
        return "it was not reached"
    if record.status == "skipped":
        return "it was skipped, because its condition `when` is false"
    if record.status == "failed":
        return "it failed"
    if record.status == "running":
        return "it is not done yet"
    return "only action and set steps have results"
