"""Report what a run has changed so far, also in the error that ends the run.

An action's own error describes that action alone: "nothing was changed" is no longer true of a run in which an earlier
step created a job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.errors import CheckRefused, OutcomeUnknown, PackError, ParameterError, TemporaryFailure
from core.json_values import Json
from playbooks.engine.bundle import Bundle
from playbooks.engine.state import End, RunState, Status, StepRecord
from playbooks.language.format import ActionStep, Playbook, PlaybookStep

# Exit codes that promise that nothing was changed.
_PROMISES = (ParameterError.exit_code, CheckRefused.exit_code, TemporaryFailure.exit_code)

# In the errors of steps only: the run's closing error has it as part of its help.
_ADVICE = "advice"


@dataclass(frozen=True)
class Change:
    """A step that has changed something ("yes"), or may have ("unknown"). job_id: the job that the step reported."""

    step: str
    action: str
    applied: Literal["yes", "unknown"]
    job_id: str | None

    def __str__(self) -> str:
        state = "is done" if self.applied == "yes" else "may have changed something"
        return f"step '{self.step}' ({self.action}) {state}{f', job {self.job_id}' if self.job_id else ''}"


@dataclass(frozen=True)
class FailedAction:
    """The action that has ended a run as failed. path: its step, such as "job/create"."""

    path: str
    step: ActionStep


def changes(playbook: Playbook, state: RunState) -> list[Change]:
    """List the steps that have changed something, in order. An action of unknown effect counts by its errors."""
    return list(changes_within(playbook, state, Bundle(playbook.parts, state.traits)))


def changes_within(playbook: Playbook, state: RunState, bundle: Bundle) -> Iterator[Change]:
    """Yield the changes of a run, or of the run of a sub-playbook. The names of steps begin at this playbook."""
    for index, step in enumerate(playbook.steps[: state.position + 1]):
        record = state.steps.get(step.id)
        if record is None:
            continue
        if isinstance(step, ActionStep):
            applied = _applied(record, bundle.traits_of(step.action).effect)
            if applied is not None:
                yield Change(step.id, step.action, applied, _job_id(record))
        elif isinstance(step, PlaybookStep):
            yield from (Change(**change) for change in record.changes)
            if index == state.position:
                for number, child in enumerate(state.children):
                    for change in changes_within(bundle.parts[step.playbook], child, bundle):
                        yield replace(change, step=f"{child_name(step, number)}/{change.step}")


def child_name(step: PlaybookStep, index: int) -> str:
    """Return the name of a run of another playbook: the step's ID, with for_each also the item's index."""
    return step.id if step.for_each is None else f"{step.id}[{index}]"


def resumable(playbook: Playbook, state: RunState) -> bool:
    """Return whether the run has ended as failed in an action that can be tried again."""
    failed = isinstance(state.pending, End) and state.pending.status == "failed"
    return failed and failed_action(playbook, state) is not None


def failed_action(
    playbook: Playbook, state: RunState, parts: Mapping[str, Playbook] | None = None
) -> FailedAction | None:
    """Return the action of the run's current step if it was run and has failed, or None. parts: of the whole run."""
    parts = playbook.parts if parts is None else parts
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    record = state.steps.get(step.id) if step is not None else None
    if record is None or record.status != "failed":
        return None
    if isinstance(step, PlaybookStep):
        for index, child in enumerate(state.children):
            if isinstance(child.pending, End) and child.pending.status == "failed":
                found = failed_action(parts[step.playbook], child, parts)
                if found is not None:
                    return replace(found, path=f"{child_name(step, index)}/{found.path}")
    return FailedAction(step.id, step) if isinstance(step, ActionStep) and record.attempts > 0 else None


def error_document(error: PackError) -> dict[str, Json]:
    """Return the inner error document, with the error's advice: what to do next, whatever was changed before."""
    return {**error.document()["error"], _ADVICE: error.advice}


def close(
    playbook: Playbook, state: RunState, status: Status, error: dict[str, Json], exit_code: int
) -> tuple[dict[str, Json], int]:
    """Return the error that ends the run, with earlier steps' changes in it, and the run's exit code.

    An exit code that promises that nothing was changed becomes that of OutcomeUnknown: check before you run it again.
    """
    own = {key: value for key, value in error.items() if key != _ADVICE}
    found = changes(playbook, state)
    at = failed_action(playbook, state)
    if not found:
        return ({**own, "applied": "no"} if status == "incomplete" else own), exit_code
    exit_code = OutcomeUnknown.exit_code if exit_code in _PROMISES else exit_code
    if error.get("applied") != "no" and at is not None and [change.step for change in found] == [at.path]:
        return own, exit_code
    help_ = error.get("help") if status == "incomplete" else _help(error, found, at)
    return {
        **own,
        "help": help_,
        "applied": _applied_by_run(error, found),
        "job_id": error.get("job_id") or job_of(found),
        "changes": [dict(vars(change)) for change in found],
    }, exit_code


def with_doubt(record: StepRecord, error: dict[str, Json], exit_code: int) -> tuple[dict[str, Json], int]:
    """Return the step's failure. An earlier attempt that may have changed something outweighs a later one."""
    if record.doubt is None or error.get("applied") != "no":
        return error, exit_code
    first = record.doubt.error
    message = f"{first.get('message')}; the next attempt ended in {error.get('type')}: {error.get('message')}"
    return {**first, "message": message}, record.doubt.exit_code


def with_changes(error: PackError, found: Sequence[Change]) -> PackError:
    """Return the error that ends a run whose state can't be recorded, with the run's changes in it."""
    next_ = f"{error.advice} Then resume the run: a step without a recorded result runs again, which is safe."
    if not found:
        return error.restate(error.message, help=f"Nothing was changed. {next_}")
    error.applied = certain_change(found)
    error.exit_code = OutcomeUnknown.exit_code
    return error.restate(error.message, help=f"{sentence_of(found)} {next_}", job_id=job_of(found))


def sentence_of(found: Sequence[Change]) -> str:
    """Write the changes as one sentence."""
    sentence = "; ".join(str(change) for change in found)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def job_of(found: Sequence[Change]) -> str | None:
    """Return the job that the changes are about: the last one that a step reported."""
    return next((change.job_id for change in reversed(found) if change.job_id), None)


def certain_change(found: Sequence[Change]) -> Literal["no", "unknown", "yes"]:
    """Return "yes" if a change is certain, "unknown" if one is possible, else "no"."""
    states = [change.applied for change in found]
    return "yes" if "yes" in states else "unknown" if states else "no"


def _applied(record: StepRecord, effect: str | None) -> Literal["yes", "unknown"] | None:
    if effect == "read":
        return None
    if effect is not None and record.repeats > 0 and not _changed_nothing(record.result or {}):
        return "yes"
    errors = [record.error or {}, record.doubt.error if record.doubt is not None else {}]
    states = [error.get("applied") for error in errors]
    return "yes" if "yes" in states else "unknown" if "unknown" in states else None


def _changed_nothing(result: Mapping[str, Json]) -> bool:
    """Return whether the result's fields report no change. A result without such fields counts as a change."""
    if result.get("created") is False:
        # A job was reused. That is a change only where a duplicate of it, or the job itself, was cancelled.
        # A run of an earlier version has them in `tripwire` and `twins`.
        limit = result.get("discovery_limit") or result.get("tripwire")
        duplicates = result.get("duplicates") or result.get("twins")
        return not duplicates and not (isinstance(limit, Mapping) and limit.get("cancelled"))
    return result.get("changed") is False or result.get("dry_run") is True


def _job_id(record: StepRecord) -> str | None:
    sources: list[Mapping[str, Any]] = [record.result or {}, record.error or {}]
    return next((source["job_id"] for source in sources if isinstance(source.get("job_id"), str)), None)


def _applied_by_run(error: Mapping[str, Json], found: Sequence[Change]) -> Json:
    own = error.get("applied")
    return own if own in ("unknown", "yes") else certain_change(found)


def _help(error: Mapping[str, Json], found: Sequence[Change], at: FailedAction | None) -> str:
    if at is not None:
        next_ = f"A resumed run continues with step '{at.path}' and repeats no step that is done."
    else:
        next_ = "Check these steps before you run the playbook again."
    advice = str(error.get(_ADVICE, error.get("help")) or "")
    return " ".join(part for part in (sentence_of(found), advice, next_) if part)
