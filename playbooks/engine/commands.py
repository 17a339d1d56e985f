"""The commands that the engine gives to a driver, and the events that a driver sends back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from core.errors import PackError
from core.json_values import Json
from playbooks.engine.changes import error_document
from playbooks.engine.state import Status

Place: TypeAlias = tuple[str, ...]
"""Where in nested playbooks a command belongs: the names of the steps above it, such as ("job",) or ("sweeps[2]",).
The run itself is ()."""


def path_of(place: Place, step_id: str) -> str:
    """Return the step's name for people, such as "job/create"."""
    return "/".join((*place, step_id))


@dataclass(frozen=True)
class RunAction:
    """Run the action with these parameters, then send ActionSucceeded or ActionFailed. directory: for its files."""

    step_id: str
    action: str
    params: dict[str, Json]
    directory: str


@dataclass(frozen=True)
class Sleep:
    """Wait `seconds`, but at most until the instant `until`; then send Slept."""

    seconds: float
    step_id: str
    until: str
    why: Literal["repeat", "retry", "sleep"]


@dataclass(frozen=True)
class AwaitSignal:
    """Wait for the signal `name` until the instant `until`; then send Signalled, or Slept if the time has ended.

    accepts: the JSON Schema of a value, or null for any. count: how many signals are needed; values: those that came.
    about: what the person who answers has to see.
    """

    name: str
    step_id: str
    seconds: float
    until: str
    accepts: dict[str, Json] | None
    count: int
    values: Sequence[Json]
    about: Mapping[str, Json]


@dataclass(frozen=True)
class Finished:
    """The run is over.

    `status` and `exit_code`: completed 0; refused 3 (a check refused, or no signal came in time); incomplete 8;
    cancelled 3; failed: that of the error. If an earlier step has changed something, 2, 3 and 6 become 7, because they
    mean that nothing was changed.
    `outputs` has every output of the playbook; an output is null if the run ended before it was known. `error` is the
    inner error document (`type`, `message`, `help`, …), or null if completed: its `applied`, `job_id` and `help` are
    those of the whole run, and `changes` lists the changes of its steps. `message` is the reason for an early end.
    """

    status: Status
    exit_code: int
    outputs: dict[str, Json]
    error: dict[str, Json] | None
    message: str | None


@dataclass(frozen=True)
class ActionSucceeded:
    """The action of a RunAction returned this result, a JSON object."""

    result: Mapping[str, Json]


@dataclass(frozen=True)
class ActionFailed:
    """The action of a RunAction failed: the inner error document, and the exit code that belongs to it."""

    error: Mapping[str, Json]
    exit_code: int = 1

    @classmethod
    def of(cls, error: PackError) -> ActionFailed:
        """Return the event for an exception of the pack."""
        return cls(error_document(error), error.exit_code)


@dataclass(frozen=True)
class Slept:
    """The time of a Sleep or an AwaitSignal has passed."""


@dataclass(frozen=True)
class Signalled:
    """A signal came with this value."""

    value: Json


@dataclass(frozen=True)
class Cancelled:
    """A person or the driver ends the run. It is an event of the whole run, at any time before its end."""

    reason: str = field(default="the run was cancelled")


Command: TypeAlias = RunAction | Sleep | AwaitSignal | Finished
Event: TypeAlias = ActionSucceeded | ActionFailed | Slept | Signalled | Cancelled
