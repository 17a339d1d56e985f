"""Advance a run from an event to its next command, through all steps in between that run no action."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from core import instants
from core.errors import CheckRefused, InternalError, ParameterError
from core.json_values import Json, plain
from playbooks.engine import changes, children, closing
from playbooks.engine.bundle import Bundle
from playbooks.engine.calls import handler_of, next_call, pending_signal, seconds_to_repeat, seconds_to_retry
from playbooks.engine.context import context_of, outputs_of
from playbooks.engine.state import (
    Doubt,
    End,
    PendingChildren,
    PendingRun,
    PendingSignal,
    PendingSleep,
    RunState,
    Status,
    StepRecord,
)
from playbooks.language.errors import ExpressionFailed, RepeatLimitReached, RunIncomplete
from playbooks.language.expressions import OMIT
from playbooks.language.format import (
    ActionStep,
    CheckStep,
    FinishStep,
    PauseStep,
    Playbook,
    PlaybookStep,
    SetStep,
    SleepStep,
    Step,
)
from playbooks.language.program import Field, compiled, reads_absent_result

MAX_COMMANDS = 20_000


class Walk:
    """Changes the working copy of a state until it has a next command. place: the names of the steps above it."""

    def __init__(
        self, playbook: Playbook, state: RunState, now: datetime, bundle: Bundle, place: tuple[str, ...] = ()
    ) -> None:
        self.playbook = playbook
        self.program = compiled(playbook)
        self.state = state
        self.moment = now
        self.now = instants.format_shortest(now)
        self.bundle = bundle
        self.place = place

    def settle(self) -> None:
        """Advance from the state's position to the next command, or to the end."""
        try:
            while self.state.position < len(self.playbook.steps):
                if self._enter(self.playbook.steps[self.state.position]):
                    return
                self.state.position += 1
            self._end("completed", 0)
        except ExpressionFailed as error:
            self._broken(error)

    def succeeded(self, result: dict[str, Json]) -> None:
        """Record the result of the pending action."""
        if self.state.closing is not None:
            closing.record_action(self, result=result)
            return
        step, record = self._action()
        before = record.result
        record.repeats += 1
        record.result = result
        try:
            seconds = seconds_to_repeat(self, step, record, before)
            if seconds is None:
                self._done(record, keep=step.keep)
            else:
                self._sleep(seconds, "repeat", next_call(self, step, record))
        except RepeatLimitReached as limit:
            self._fail(changes.error_document(limit), limit.exit_code, retry=False)
        except ExpressionFailed as error:
            self._broken(error)

    def failed(self, error: dict[str, Json], exit_code: int) -> None:
        """Record that the pending action failed. A matching handler decides, or the action is repeated by itself."""
        if self.state.closing is not None:
            closing.record_action(self, error=error)
            return
        self._fail(error, exit_code, retry=True)

    def bad_result(self, why: str) -> None:
        """Record that the action returned a value that can't be kept."""
        pending = self._pending_run()
        error = InternalError(
            f"the result of action {pending.action} in step '{pending.step_id}' can't be stored: it {why}"
        )
        self.failed(changes.error_document(error), error.exit_code)

    def slept(self) -> None:
        """Record that the pending sleep or the time of the pending signal is over."""
        pending = self.state.pending
        step, record = self._current()
        if isinstance(pending, PendingSleep) and pending.then is not None:
            self._command(pending.then)
        elif isinstance(step, PauseStep):
            try:
                message = self.at("otherwise").text(self.context())
            except ExpressionFailed as error:
                self._broken(error)
                return
            self._refuse(step, record, message)
        else:
            self._done(record)

    def signalled(self, value: Json) -> None:
        """Record a valid signal."""
        pending = self.state.pending
        if not isinstance(pending, PendingSignal):
            raise InternalError("no signal is awaited")
        values = [*pending.values, value]
        if len(values) < pending.count:
            self.state.pending = pending.model_copy(update={"values": values})
            return
        _, record = self._current()
        record.result = {"value": value, "values": values}
        self._done(record)

    def children_moved(self) -> None:
        """Begin further runs of the current step's playbook, or continue once they have ended."""
        step, record = self._current()
        if not isinstance(step, PlaybookStep):
            raise InternalError(f"step '{step.id}' runs no playbook")
        try:
            children.begin_more(self, step)
            if any(not isinstance(child.pending, End) for child in self.state.children):
                self.state.pending = PendingChildren(step_id=step.id)
                return
            ended = children.gather(self, step, record)
        except ParameterError as error:
            self._stop(record, "failed", changes.error_document(error), error.exit_code)
        except ExpressionFailed as error:
            self._broken(error)
        else:
            if ended is not None:
                self._stop(record, ended.status, ended.error or {}, ended.exit_code, message=ended.message)
            elif record.status == "failed":
                self.state.position += 1
                self.settle()
            else:
                self._done(record)

    def cancel(self, error: dict[str, Json], exit_code: int, message: str) -> None:
        """End the run, and the runs of its sub-playbooks, before the next command."""
        if self.state.closing is not None:
            # It has ended: only its `at_end` actions are left out.
            self.state.pending, self.state.closing = self.state.closing.end, None
            return
        step, record = self._current()
        for index, child in enumerate(self.state.children):
            if isinstance(step, PlaybookStep) and not isinstance(child.pending, End):
                self.child_walk(step, index, child).cancel(error, exit_code, message)
        self._close(record, "failed", reason=message)
        self._end("cancelled", exit_code, error=error, message=message)

    def _enter(self, step: Step) -> bool:
        """Begin a step. Returns True if the run has a next command."""
        earlier = self.state.steps.get(step.id)
        # Keep the doubt of an earlier attempt, which may have changed something.
        doubt = earlier.doubt if earlier is not None else None
        record = self.state.steps[step.id] = StepRecord(status="running", started=self.now, doubt=doubt)
        if not self.at("when").condition(self.context()):
            self._close(record, "skipped", reason="its condition `when` is false")
            return False
        match step:
            case ActionStep():
                self._command(next_call(self, step, record))
            case SetStep():
                record.result = self.at("set").value(self.context({"omit": OMIT}))
                self._close(record, "succeeded")
                return False
            case CheckStep():
                if self.at("check").condition(self.context()):
                    self._close(record, "succeeded")
                    return False
                self._refuse(step, record, self.at("otherwise").text(self.context()))
            case FinishStep():
                ends = self.at("finish").condition(self.context())
                message = self.at("message").text(self.context()) if ends else None
                self._close(record, "succeeded", reason=message)
                if ends:
                    self._end("completed", 0, message=message, early=True)
                return ends
            case SleepStep():
                seconds = self.at("sleep").seconds(self.context())
                if seconds == 0:
                    self._close(record, "succeeded")
                    return False
                self._sleep(seconds, "sleep", None)
            case PauseStep():
                self._command(pending_signal(self, step))
            case PlaybookStep():
                self.state.items = self.at("for_each").items(self.context()) if step.for_each is not None else [None]
                self.state.children = []
                self.children_moved()
                return True
        return True

    def child_walk(self, step: PlaybookStep, index: int, child: RunState) -> Walk:
        """Return the walk of a run of the current step's playbook."""
        place = (*self.place, changes.child_name(step, index))
        return Walk(self.bundle.parts[step.playbook], child, self.moment, self.bundle, place)

    def _refuse(self, step: CheckStep | PauseStep, record: StepRecord, message: str) -> None:
        error = RunIncomplete(message) if step.outcome == "incomplete" else CheckRefused(message)
        self._close(record, "failed", reason=message)
        self._end(step.outcome, error.exit_code, error=changes.error_document(error), message=message)

    def _fail(self, error: dict[str, Json], exit_code: int, *, retry: bool) -> None:
        step, record = self._action()
        record.error = error
        if error.get("applied") == "unknown" and record.doubt is None:
            record.doubt = Doubt(error=error, exit_code=exit_code)
        try:
            fitting = handler_of(self, step, error, record.attempts)
            seconds = seconds_to_retry(self, self._pending_run(), record, error, fitting) if retry else None
        except ExpressionFailed as broken:
            self._broken(broken)
            return
        if seconds is not None:
            self._sleep(seconds, "retry", self._pending_run())
            return
        error, exit_code = changes.with_doubt(record, error, exit_code)
        record.error = error
        if fitting.handler is not None and fitting.handler.do == "continue":
            self._close(record, "failed")
            self.state.position += 1
            self.settle()
        else:
            self._stop(record, "failed", error, exit_code)

    def _sleep(self, seconds: float, why: Literal["repeat", "retry", "sleep"], then: PendingRun | None) -> None:
        if seconds == 0 and then is not None:
            self._command(then)
            return
        step_id = self.playbook.steps[self.state.position].id
        until = self.after(seconds)
        self._command(PendingSleep(step_id=step_id, seconds=float(seconds), until=until, why=why, then=then))

    def after(self, seconds: float) -> str:
        """Return the instant in so many seconds."""
        return instants.format_shortest(self.moment + timedelta(seconds=seconds))

    def _command(self, command: PendingRun | PendingSleep | PendingSignal) -> None:
        if self.state.commands >= MAX_COMMANDS:
            limit = RepeatLimitReached(f"the run made {MAX_COMMANDS:,} commands and is not done")
            _, record = self._current()
            self._stop(record, "failed", changes.error_document(limit), limit.exit_code)
            return
        self.state.commands += 1
        self.state.pending = command
        if isinstance(command, PendingRun):
            self.state.steps[command.step_id].attempts += 1

    def _done(self, record: StepRecord, *, keep: list[str] | None = None) -> None:
        if keep is not None and record.result is not None:
            record.result = {key: record.result[key] for key in keep if key in record.result}
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

    def _stop(
        self, record: StepRecord, status: Status, error: dict[str, Json], exit_code: int, *, message: str | None = None
    ) -> None:
        """Close the current step as failed and end the run."""
        record.error = error
        self._close(record, "failed", reason=message)
        self._end(status, exit_code, error=error, message=message)

    def _broken(self, error: ExpressionFailed) -> None:
        """End the run as failed, because an expression can't be evaluated. `on_error` does not apply."""
        ran = [id_ for id_, record in self.state.steps.items() if record.attempts > 0]
        earlier = f"Earlier steps: {', '.join(ran)}." if ran else "No action ran before it."
        located = type(error)(f"{error.message} {earlier}", help=error.help, problems=error.problems)
        document = changes.error_document(located)
        if self.state.position < len(self.playbook.steps):
            _, record = self._current()
            self._stop(record, "failed", document, error.exit_code)
        else:
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
        outputs, broken = outputs_of(self.program, self.state, self.now, self.bundle.parts)
        if error is None and broken is not None and not (early and reads_absent_result(broken)):
            status, exit_code, error = "failed", broken.exit_code, changes.error_document(broken)
        if error is not None and not self.place:
            error, exit_code = changes.close(self.playbook, self.state, status, error, exit_code)
        end = End(status=status, exit_code=exit_code, outputs=outputs, error=plain(error), message=message)
        if status == "cancelled":
            self.state.pending, self.state.closing = end, None
        else:
            closing.begin(self, end)

    def context(self, scope: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the variables of the current step's expressions."""
        return {**context_of(self.playbook, self.state, self.now), **(scope or {})}

    def at(self, *parts: object) -> Field:
        """Return a field of the current step."""
        return self.program.at(self.state.position, *parts)

    def _current(self) -> tuple[Step, StepRecord]:
        step = self.playbook.steps[self.state.position]
        return step, self.state.steps[step.id]

    def _action(self) -> tuple[ActionStep, StepRecord]:
        step, record = self._current()
        if not isinstance(step, ActionStep):
            raise InternalError(f"step '{step.id}' runs no action")
        return step, record

    def _pending_run(self) -> PendingRun:
        pending = self.state.pending
        found = pending.then if isinstance(pending, PendingSleep) else pending
        if not isinstance(found, PendingRun):
            raise InternalError("no action is pending")
        return found
