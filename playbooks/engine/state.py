"""The state of a run: one plain JSON document with everything that a driver has to keep.

    {"state": 1,
     "playbook": {"id", "sha256"},  "run_id", "directory", "started_at",  "inputs": {…},
     "effects": {action id: "read", "write" or "irreversible"}, if the driver gave them,
     "position": index of the current step,  "commands": number of commands so far,
     "steps": {step id: {"status", "started", "ended", "attempts", "repeats", "retries", "result", "error",
                         "doubt", "reason"}},
     "pending": the next command}

The state has the inputs and the results of actions, which include mail addresses and subjects, but never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.json_values import Json, NotPlainJson, below, plain, shown
from core.validation_text import plain_message
from playbooks.language.errors import StateRefused
from playbooks.language.format import ActionStep, Playbook

Status = Literal["completed", "refused", "incomplete", "failed"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PlaybookVersion(_Part):
    id: str
    sha256: str


class Doubt(_Part):
    """A failed attempt that may have changed something."""

    error: dict[str, Any]
    exit_code: int


class StepRecord(_Part):
    """The outcome of a step. A check that refused has failed; a finish step that ended the run has succeeded."""

    status: Literal["running", "succeeded", "failed", "skipped"]
    started: str
    ended: str | None = None
    attempts: int = Field(0, ge=0, description="How often its action was started.")
    repeats: int = Field(0, ge=0, description="How many results it returned.")
    retries: dict[str, int] = Field(default_factory=dict, description="Retries used, by the handler's index.")
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    doubt: Doubt | None = Field(None, description="The first attempt whose outcome is not known.")
    reason: str | None = None


class PendingRun(_Part):
    kind: Literal["run"] = "run"
    step_id: str
    action: str
    params: dict[str, Any]


class PendingSleep(_Part):
    kind: Literal["sleep"] = "sleep"
    step_id: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    until: str
    why: Literal["repeat", "retry"]
    then: PendingRun


class End(_Part):
    kind: Literal["finished"] = "finished"
    status: Status
    exit_code: int
    outputs: dict[str, Any]
    error: dict[str, Any] | None
    message: str | None


Pending = Annotated[PendingRun | PendingSleep | End, Field(discriminator="kind")]


class RunState(_Part):
    state: Literal[1] = 1
    playbook: PlaybookVersion
    run_id: str
    directory: str
    started_at: str
    inputs: dict[str, Any]
    effects: dict[str, str] = Field(default_factory=dict)
    position: int = Field(0, ge=0)
    commands: int = Field(0, ge=0)
    steps: dict[str, StepRecord] = Field(default_factory=dict)
    pending: Pending | None = None

    def document(self) -> dict[str, Json]:
        """Return the state as plain JSON."""
        return self.model_dump(mode="python")


def opened(playbook: Playbook, document: Mapping[str, Json]) -> RunState:
    """Return a working copy of a state document. Raises: StateRefused if it is damaged or of another playbook."""
    try:
        state = RunState.model_validate(plain(document))
    except NotPlainJson as error:
        raise StateRefused(f"the state is damaged: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = below("", *first["loc"])
        raise StateRefused(
            f"the state is damaged, or of another version: {at or '/'}: {plain_message(first)}"
        ) from None
    if state.playbook.id != playbook.id or state.playbook.sha256 != playbook.sha256:
        raise StateRefused(
            f"the run began with playbook {shown(state.playbook.id)} {state.playbook.sha256[:12]}, "
            f"and this playbook is {shown(playbook.id)} {playbook.sha256[:12]}"
        )
    problem = _contradiction(playbook, state)
    if problem:
        raise StateRefused(f"the state is damaged: {problem}")
    return state


def _contradiction(playbook: Playbook, state: RunState) -> str | None:
    ids = [step.id for step in playbook.steps]
    contradictions = {
        "its inputs are not those of the playbook": set(state.inputs) != set(playbook.inputs),
        "it has steps that were not reached yet": not set(state.steps) <= set(ids[: state.position + 1]),
        "it has no record of steps that came before": not set(ids[: state.position]) <= set(state.steps),
        "it has no next command": state.pending is None,
        "its next command does not belong to its current step": not _fits_position(playbook, state),
    }
    return next((problem for problem, found in contradictions.items() if found), None)


def _fits_position(playbook: Playbook, state: RunState) -> bool:
    pending = state.pending
    if pending is None or isinstance(pending, End):
        return True
    run = pending.then if isinstance(pending, PendingSleep) else pending
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    record = state.steps.get(run.step_id)
    return (
        isinstance(step, ActionStep)
        and {run.step_id, pending.step_id} == {step.id}
        and run.action == step.action
        and record is not None
        and record.status == "running"
    )
