"""The commands of action steps (the first call, repetitions, retries) and of pause steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from core import instants
from core.json_values import Json
from core.quantity import counted
from playbooks.engine.retrying import automatic_delay, with_default_key
from playbooks.engine.state import PendingRun, PendingSignal, StepRecord
from playbooks.language.errors import RepeatLimitReached
from playbooks.language.expressions import OMIT
from playbooks.language.format import ActionStep, ErrorHandler, PauseStep, PlaybookStep

if TYPE_CHECKING:
    from playbooks.engine.walk import Walk

# A repetition that the engine makes by itself, of an action that answers `done: false`.
MAX_CONTINUED_SECONDS = 86_400


class FittingHandler(NamedTuple):
    """A handler of an error, and its index in `on_error`; -1 and None without one."""

    number: int
    handler: ErrorHandler | None


def next_call(walk: Walk, step: ActionStep, record: StepRecord) -> PendingRun:
    """Return the next call of the current step's action, with the `resume` object of its last result."""
    scope = {"previous": record.result, "omit": OMIT}
    params: dict[str, Json] = walk.at("with").value(walk.context(scope))
    traits = walk.bundle.traits_of(step.action)
    resume = (record.result or {}).get("resume")
    if traits.resumable and step.repeat is None and isinstance(resume, dict):
        params = {**params, "resume": resume}
    params = with_default_key(params, traits, walk.state.key, walk.playbook.id, (*walk.place, step.id))
    return PendingRun(step_id=step.id, action=step.action, params=params)


def seconds_to_repeat(walk: Walk, step: ActionStep, record: StepRecord, before: dict[str, Json] | None) -> float | None:
    """Return the pause before the action's next call, or None if it is done. Raises: RepeatLimitReached."""
    result = record.result or {}
    if step.repeat is not None:
        scope = {"result": result, "previous": before, "attempt": record.attempts}
        if walk.at("repeat", "until").condition(walk.context(scope)):
            return None
        if record.repeats >= step.repeat.limit:
            raise RepeatLimitReached(f"step '{step.id}' ran {counted(record.repeats, 'time')} and is not done")
        return walk.at("repeat", "sleep").seconds(walk.context(scope))
    if not walk.bundle.traits_of(step.action).resumable or result.get("done") is not False:
        return None
    if not isinstance(result.get("resume"), dict):
        return None
    began = instants.parse_timestamp(record.started)
    if (walk.moment - began).total_seconds() >= MAX_CONTINUED_SECONDS:
        raise RepeatLimitReached(f"step '{step.id}' has run for a day and is not done")
    seconds = result.get("next_poll_seconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= 3600:
        return float(seconds)
    return 1.0


def seconds_to_retry(
    walk: Walk, pending: PendingRun, record: StepRecord, error: dict[str, Json], fitting: FittingHandler
) -> float | None:
    """Return the pause before a retry, or None: by the handler, or by the error's own fields."""
    number, handler = fitting
    if handler is not None and handler.retry is not None:
        used = record.retries.get(str(number), 0)
        if used >= handler.retry.times:
            return None
        record.retries = {**record.retries, str(number): used + 1}
        scope = {"error": error, "attempt": record.attempts}
        return walk.at("on_error", number, "retry", "after").seconds(walk.context(scope))
    traits = walk.bundle.traits_of(pending.action)
    used = record.retries.get("", 0)
    changed = walk.bundle.changed or record.doubt is not None
    seconds = automatic_delay(error, traits, pending.params, used=used, changed=changed)
    if seconds is not None:
        record.retries = {**record.retries, "": used + 1}
    return seconds


def handler_of(walk: Walk, step: ActionStep | PlaybookStep, error: dict[str, Json], attempts: int) -> FittingHandler:
    """Return the current step's first handler that fits an error."""
    context = walk.context({"error": error, "attempt": attempts})
    for number, handler in enumerate(step.on_error):
        fits = "*" in handler.types or error.get("type") in handler.types
        if fits and walk.at("on_error", number, "when").condition(context):
            return FittingHandler(number, handler)
    return FittingHandler(-1, None)


def pending_signal(walk: Walk, step: PauseStep) -> PendingSignal:
    """Return the command of the current pause step."""
    seconds = walk.at("within").pause_seconds(walk.context())
    return PendingSignal(
        step_id=step.id,
        name=step.pause,
        until=walk.after(seconds),
        seconds=seconds,
        count=walk.at("count").count(walk.context()),
        about=walk.at("about").value(walk.context({"omit": OMIT})),
    )
