"""The state of a run: one plain JSON document with everything that a driver has to keep.

    {"state": 2,
     "playbook": {"id", "sha256"},  "run_id", "key", "account", "directory", "started_at",  "inputs": {…},
     "traits": {action id: {"effect", "resumable", "repeatable", "keyed"}}, if the driver gave them,
     "position": index of the current step,  "commands": number of commands so far,
     "steps": {step id: {"status", "started", "ended", "attempts", "repeats", "retries", "result", "error",
                         "doubt", "reason", "inner", "changes"}},
     "closing": the end of a run whose `at_end` actions are not done, or null,
     "items": the items of the current step's for_each,  "children": [the states of the playbooks that it runs],
     "pending": the next command}

The state has the inputs and the results of actions, which include mail addresses and subjects, but never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.json_values import Json, NotPlainJson, below, plain, shown
from core.validation_text import plain_message
from playbooks.language.errors import RunOfOtherAccount, StateRefused
from playbooks.language.format import ActionStep, PauseStep, Playbook, PlaybookStep, SleepStep

Status = Literal["completed", "refused", "incomplete", "failed", "cancelled"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PlaybookVersion(_Part):
    """The playbook that a run began with. sha256: of its document, with its sub-playbooks."""

    id: str
    sha256: str


class ActionTraits(_Part):
    """What the engine knows of an action. The defaults are those of an action of which nothing is known."""

    effect: Literal["read", "write", "irreversible"] | None = None
    resumable: bool = Field(False, description="An answer `done: false` with `resume` is continued.")
    repeatable: bool = Field(False, description="Repeating a call whose outcome is unknown does no harm.")
    keyed: bool = Field(False, description="It takes an idempotency_key; with one it is repeatable.")


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
    inner: dict[str, StepRecord] = Field(
        default_factory=dict, description="The steps of the playbooks that it ran, by path, without their results."
    )
    changes: list[dict[str, Any]] = Field(
        default_factory=list, description="The changes of the playbooks that it ran (playbooks.engine.changes.Change)."
    )


class PendingRun(_Part):
    """An action to run, with its evaluated parameters."""

    kind: Literal["run"] = "run"
    step_id: str
    action: str
    params: dict[str, Any]


class PendingSleep(_Part):
    """A sleep until an instant. then: the action that runs after it; null in a sleep step."""

    kind: Literal["sleep"] = "sleep"
    step_id: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    until: str
    why: Literal["repeat", "retry", "sleep"]
    then: PendingRun | None = None


class PendingSignal(_Part):
    """A pause that waits for signals until an instant. values: those that came."""

    kind: Literal["signal"] = "signal"
    step_id: str
    name: str
    until: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=1)
    values: list[Any] = Field(default_factory=list)
    about: dict[str, Any] = Field(default_factory=dict)


class PendingChildren(_Part):
    """The runs of the current step's playbook have not ended: their states have the commands."""

    kind: Literal["children"] = "children"
    step_id: str


class End(_Part):
    """How a run ended; see `playbooks.engine.commands.Finished`."""

    kind: Literal["finished"] = "finished"
    status: Status
    exit_code: int
    outputs: dict[str, Any]
    error: dict[str, Any] | None
    message: str | None


class Closing(_Part):
    """The end of a run whose `at_end` actions are not done. position: the next of them."""

    end: End
    position: int = Field(0, ge=0)


Pending = Annotated[PendingRun | PendingSleep | PendingSignal | PendingChildren | End, Field(discriminator="kind")]


class RunState(_Part):
    state: Literal[2] = 2
    playbook: PlaybookVersion
    run_id: str
    key: str | None = None
    account: str | None = None
    directory: str
    started_at: str
    inputs: dict[str, Any]
    traits: dict[str, ActionTraits] = Field(default_factory=dict)
    position: int = Field(0, ge=0)
    commands: int = Field(0, ge=0)
    steps: dict[str, StepRecord] = Field(default_factory=dict)
    items: list[Any] = Field(default_factory=list)
    children: list[RunState] = Field(default_factory=list)
    closing: Closing | None = None
    pending: Pending | None = None

    def document(self) -> dict[str, Json]:
        """Return the state as plain JSON."""
        return self.model_dump(mode="json")

    def text(self) -> str:
        """Return the state as JSON text."""
        return self.model_dump_json()


def open_state(playbook: Playbook, document: Mapping[str, Json]) -> RunState:
    """Return the state in a document, which only this process uses and which was validated this once.

    Raises: StateRefused if the document is damaged, or belongs to another playbook or version.
    """
    try:
        state = RunState.model_validate(_of_this_version(plain(document)))
    except NotPlainJson as error:
        raise StateRefused(f"the state is damaged: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = below("", *first["loc"])
        raise StateRefused(
            f"the state is damaged, or of another version: {at or '/'}: {plain_message(first)}"
        ) from None
    _refuse_contradictions(playbook, playbook.parts, state)
    return state


def refuse_other_account(state: RunState, account: str | None) -> None:
    """Raise RunOfOtherAccount if the run began with another account than this one. Unknown accounts are allowed."""
    if None not in (state.account, account) and state.account != account:
        raise RunOfOtherAccount(
            f"the run {shown(state.run_id, 210)} belongs to the account {shown(state.account)}, and the settings name "
            f"the account {shown(account)}"
        )


def _of_this_version(document: Any) -> Any:
    """Return the document, with a state of version 1 as one of version 2."""
    if not isinstance(document, dict) or document.get("state") != 1 or isinstance(document["state"], bool):
        return document
    effects = document.get("effects", {})
    others = {key: value for key, value in document.items() if key != "effects"}
    traits = {name: {"effect": effect} for name, effect in effects.items()} if isinstance(effects, dict) else effects
    return {**others, "state": 2, "traits": traits}


def _refuse_contradictions(playbook: Playbook, parts: Mapping[str, Playbook], state: RunState) -> None:
    if state.playbook.id != playbook.id or state.playbook.sha256 != playbook.sha256:
        raise StateRefused(
            f"the run began with playbook {shown(state.playbook.id)} {state.playbook.sha256[:12]}, "
            f"and this playbook is {shown(playbook.id)} {playbook.sha256[:12]}"
        )
    problem = _contradiction(playbook, state)
    if problem:
        raise StateRefused(f"the state is damaged: {problem}")
    if state.children:
        step = playbook.steps[state.position]
        for child in state.children:
            _refuse_contradictions(parts[step.playbook], parts, child) if isinstance(step, PlaybookStep) else None


def _contradiction(playbook: Playbook, state: RunState) -> str | None:
    ids = [step.id for step in playbook.steps]
    at_end = {step.id for step in playbook.at_end}
    contradictions = {
        "its inputs are not those of the playbook": set(state.inputs) != set(playbook.inputs),
        "it has steps that were not reached yet": not set(state.steps) - at_end <= set(ids[: state.position + 1]),
        "it has no record of steps that came before": not set(ids[: state.position]) <= set(state.steps),
        "it has no next command": state.pending is None,
        "its next command does not belong to its current step": not _fits_position(playbook, state),
        "it has runs of other playbooks that its current step does not run": not _fits_children(playbook, state),
    }
    return next((problem for problem, found in contradictions.items() if found), None)


def _fits_position(playbook: Playbook, state: RunState) -> bool:
    pending = state.pending
    if pending is None or isinstance(pending, End):
        return True
    if state.closing is not None:
        at_end = playbook.at_end[state.closing.position : state.closing.position + 1]
        return isinstance(pending, PendingRun) and [(s.id, s.action) for s in at_end] == [
            (pending.step_id, pending.action)
        ]
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    record = state.steps.get(pending.step_id)
    if step is None or pending.step_id != step.id or record is None or record.status != "running":
        return False
    match pending:
        case PendingRun():
            return isinstance(step, ActionStep) and pending.action == step.action
        case PendingSleep():
            if pending.then is None:
                return isinstance(step, SleepStep)
            then = pending.then
            return isinstance(step, ActionStep) and (then.step_id, then.action) == (step.id, step.action)
        case PendingSignal():
            return isinstance(step, PauseStep) and pending.name == step.pause and len(pending.values) < pending.count
        case PendingChildren():
            return isinstance(step, PlaybookStep)


def _fits_children(playbook: Playbook, state: RunState) -> bool:
    step = playbook.steps[state.position] if state.position < len(playbook.steps) else None
    most = 0
    if isinstance(step, PlaybookStep):
        most = 1 if step.for_each is None else len(state.items)
    live = [child for child in state.children if not isinstance(child.pending, End)]
    if isinstance(state.pending, PendingChildren) and not live:
        return False
    return len(state.children) <= most
