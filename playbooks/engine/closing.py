"""The `at_end` actions of a run: they run between its last step and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.json_values import Json, below
from playbooks.engine.changes import error_document
from playbooks.engine.context import context_of
from playbooks.engine.state import Closing, End, PendingRun, StepRecord
from playbooks.language.errors import ExpressionFailed
from playbooks.language.expressions import OMIT

# The words of the action notify.
_EVENTS = {
    "completed": "done",
    "incomplete": "partial",
    "refused": "refused",
    "failed": "failed",
    "cancelled": "refused",
}

if TYPE_CHECKING:
    from playbooks.engine.walk import Walk


def begin(walk: Walk, end: End) -> None:
    """End the run, after its `at_end` actions."""
    walk.state.closing = Closing(end=end)
    _next(walk)


def record_action(walk: Walk, *, result: dict[str, Json] | None = None, error: dict[str, Json] | None = None) -> None:
    """Record how an `at_end` action ended, and continue with the next one. A failure changes nothing else."""
    closing = walk.state.closing
    if closing is None:
        return
    record = walk.state.steps[walk.playbook.at_end[closing.position].id]
    record.result, record.error = result, error
    record.status, record.ended = "failed" if result is None else "succeeded", walk.now
    walk.state.closing = closing.model_copy(update={"position": closing.position + 1})
    _next(walk)


def _next(walk: Walk) -> None:
    """Make the next `at_end` action the pending command, or the end itself."""
    state = walk.state
    while state.closing is not None and state.closing.position < len(walk.playbook.at_end):
        index = state.closing.position
        step = walk.playbook.at_end[index]
        record = state.steps[step.id] = StepRecord(status="running", started=walk.now)
        context = _context(walk, state.closing.end)
        try:
            if walk.program.fields[below("/at_end", index, "when")].condition(context):
                params: Any = walk.program.fields[below("/at_end", index, "with")].value({**context, "omit": OMIT})
                state.commands += 1
                record.attempts = 1
                state.pending = PendingRun(step_id=step.id, action=step.action, params=params)
                return
            record.status, record.reason = "skipped", "its condition `when` is false"
        except ExpressionFailed as error:
            record.status, record.error = "failed", error_document(error)
        record.ended = walk.now
        state.closing = state.closing.model_copy(update={"position": index + 1})
    if state.closing is not None:
        state.pending, state.closing = state.closing.end, None


def _context(walk: Walk, end: End) -> dict[str, Any]:
    context = context_of(walk.playbook, walk.state, walk.now, ended=True)
    return {**context, "end": {**end.model_dump(mode="json", exclude={"kind"}), "event": _EVENTS[end.status]}}
