"""What a run has changed so far, and its closing error in words that are true of the whole run.

An action's own error speaks of that action alone: "nothing was changed" is no longer true of a run whose earlier step
has created a job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import NOTHING_CHANGED, CheckRefused, OutcomeUnknown, PackError, ParameterError, TemporaryFailure
from core.json_values import Json
from playbooks.engine.state import End, RunState, Status, StepRecord
from playbooks.language.format import ActionStep, Playbook

# Exit codes that promise that nothing was changed.
_PROMISES = (ParameterError.exit_code, CheckRefused.exit_code, TemporaryFailure.exit_code)


@dataclass(frozen=True)
class Change:
    """A step that has changed something ("yes"), or may have ("unknown"). job_id: the job that it told of."""

    step: str
    action: str
    applied: Literal["yes", "unknown"]
    job_id: str | None

    def __str__(self) -> str:
        what = "is done" if self.applied == "yes" else "may have changed something"
        return f"step '{self.step}' ({self.action}) {what}{f', job {self.job_id}' if self.job_id else ''}"


def changes(playbook: Playbook, state: RunState) -> list[Change]:
    """What the run's steps have changed, in their order. Actions whose effect is not known count by their errors."""
    found = []
    for step in playbook.steps:
        record = state.steps.get(step.id)
        if isinstance(step, ActionStep) and record is not None:
            applied = _applied(record, state.effects.get(step.action))
            if applied is not None:
                found.append(Change(step.id, step.action, applied, _job_id(record)))
    return found


def resumable(playbook: Playbook, state: RunState) -> bool:
    """Whether the run has ended as failed in an action that can be tried again."""
    failed = isinstance(state.pending, End) and state.pending.status == "failed"
    return failed and failed_action(playbook, state) is not None


def failed_action(playbook: Playbook, state: RunState) -> ActionStep | None:
    """The step that the run stands at, if its action was run and has failed."""
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    record = state.steps.get(step.id) if step is not None else None
    tried = record is not None and record.status == "failed" and record.attempts > 0
    return step if tried and isinstance(step, ActionStep) else None


def closing(
    playbook: Playbook, state: RunState, status: Status, error: dict[str, Json], exit_code: int
) -> tuple[dict[str, Json], int]:
    """The error that ends the run, and its exit code, with what was changed before told in them.

    Exit codes that promise that nothing was changed become that of OutcomeUnknown, whose meaning is to look first.
    """
    found = changes(playbook, state)
    at = failed_action(playbook, state)
    if not found:
        return ({**error, "applied": "no"} if status == "incomplete" else error), exit_code
    exit_code = OutcomeUnknown.exit_code if exit_code in _PROMISES else exit_code
    if error.get("applied") != "no" and at is not None and [change.step for change in found] == [at.id]:
        return error, exit_code
    help_ = error.get("help") if status == "incomplete" else _help(error, found, at)
    return {
        **error,
        "help": help_,
        "applied": _whole(error, found),
        "job_id": error.get("job_id") or job_of(found),
        "changes": [dict(vars(change)) for change in found],
    }, exit_code


def with_doubt(record: StepRecord, error: dict[str, Json], exit_code: int) -> tuple[dict[str, Json], int]:
    """The step's failure. An earlier attempt that may have changed something outweighs a later one that did not."""
    if record.doubt is None or error.get("applied") != "no":
        return error, exit_code
    first = record.doubt.error
    message = f"{first.get('message')}; tried again, it ended in {error.get('type')}: {error.get('message')}"
    return {**first, "message": message}, record.doubt.exit_code


def with_changes(error: PackError, found: Sequence[Change]) -> PackError:
    """The error that ends a run whose state can't be recorded, in words that are true of the whole run."""
    go_on = "Make room, then resume the run: a step whose result is not on record runs again, which is safe."
    if not found:
        return error.restate(error.message, help=f"Nothing was changed. {go_on}")
    error.applied = surest(found)
    error.exit_code = OutcomeUnknown.exit_code
    return error.restate(error.message, help=f"{told(found)} {go_on}", job_id=job_of(found))


def told(found: Sequence[Change]) -> str:
    """The changes in one sentence."""
    sentence = "; ".join(str(change) for change in found)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def job_of(found: Sequence[Change]) -> str | None:
    """The job that the changes are about: the last one told of."""
    return next((change.job_id for change in reversed(found) if change.job_id), None)


def surest(found: Sequence[Change]) -> Literal["no", "unknown", "yes"]:
    """Whether anything was changed."""
    said = [change.applied for change in found]
    return "yes" if "yes" in said else "unknown" if said else "no"


def _applied(record: StepRecord, effect: str | None) -> Literal["yes", "unknown"] | None:
    if effect == "read":
        return None
    if effect is not None and record.repeats > 0 and not _changed_nothing(record.result or {}):
        return "yes"
    errors = [record.error or {}, record.doubt.error if record.doubt is not None else {}]
    said = [error.get("applied") for error in errors]
    return "yes" if "yes" in said else "unknown" if "unknown" in said else None


def _changed_nothing(result: Mapping[str, Json]) -> bool:
    """Whether the result says so itself; one that says neither counts as a change."""
    if result.get("created") is False:
        # A job was reused: that is a change only where a duplicate of it, or the job itself, was cancelled.
        tripwire = result.get("tripwire")
        # A run of an earlier version has them in `twins`.
        duplicates = result.get("duplicates") or result.get("twins")
        return not duplicates and not (isinstance(tripwire, Mapping) and tripwire.get("cancelled"))
    return result.get("changed") is False or result.get("dry_run") is True


def _job_id(record: StepRecord) -> str | None:
    sources: list[Mapping[str, Any]] = [record.result or {}, record.error or {}]
    return next((source["job_id"] for source in sources if isinstance(source.get("job_id"), str)), None)


def _whole(error: Mapping[str, Json], found: Sequence[Change]) -> Json:
    own = error.get("applied")
    return own if own in ("unknown", "yes") else surest(found)


def _help(error: Mapping[str, Json], found: Sequence[Change], at: ActionStep | None) -> str:
    if at is not None:
        go_on = f"Resumed, the run goes on with step '{at.id}' and repeats nothing that is done."
    else:
        go_on = "Look at that before you run the playbook again."
    own = NOTHING_CHANGED.sub("", str(error.get("help") or "")).strip()
    return " ".join(part for part in (told(found), own, go_on) if part)
