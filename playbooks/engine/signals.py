"""The signals that a run waits for: their names, and the values that they accept.

The name of a signal is that of its pause. In a sub-playbook, the steps above it come first: "job/approval". Where only
one pause waits for "approval", that short name is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import ParameterError, Problem
from core.json_values import Json, did_you_mean, shown
from playbooks.engine.commands import AwaitSignal, Command, Place, path_of
from playbooks.language.shape import mismatches

# The first names are enough to find the right one.
MOST_NAMES = 20


@dataclass(frozen=True)
class Signal:
    """A value that is sent to a run. name: in full, or short."""

    name: str
    value: Any


def awaited_signals(commands: Mapping[Place, Command]) -> dict[str, AwaitSignal]:
    """Return the signals that a run waits for, by name."""
    return {path_of(at, each.name): each for at, each in commands.items() if isinstance(each, AwaitSignal)}


def is_named(name: str, place: Place, pause: AwaitSignal) -> bool:
    """Return whether a name, also a short one, is that of the pause at this place."""
    return name in (pause.name, path_of(place, pause.name))


def find_awaited(commands: Mapping[Place, Command], name: str) -> tuple[Place, AwaitSignal]:
    """Return the pause that waits for a signal, and its place. Raises: ParameterError unless exactly one does."""
    pauses = {place: each for place, each in commands.items() if isinstance(each, AwaitSignal)}
    found = [(place, pause) for place, pause in pauses.items() if is_named(name, place, pause)]
    if len(found) == 1:
        return found[0]
    if found:
        names = [path_of(place, pause.name) for place, pause in found[:MOST_NAMES]]
        raise ParameterError(
            f"several pauses wait for the signal {shown(name)}: name one of {', '.join(names)}",
            help="Nothing was sent. Name one of these signals.",
        )
    awaited = list(awaited_signals(commands))
    raise ParameterError(
        f"the run does not wait for the signal {shown(name)}{did_you_mean(name, awaited) or '.'} "
        f"It waits for {', '.join(awaited[:MOST_NAMES]) or 'no signal'}",
        help="Nothing was sent. `cfes playbook show RUN`, or GET /v1/runs/RUN of the HTTP service, shows what the run "
        "waits for.",
    )


def signal_problems(awaited: AwaitSignal, value: Json) -> list[Problem]:
    """Return every problem of a value for a signal."""
    return [] if awaited.accepts is None else mismatches(awaited.accepts, value)


def awaited_document(name: str, awaited: AwaitSignal) -> dict[str, Json]:
    """Return a signal that a run waits for as JSON, for `waits_for`."""
    return {
        "signal": name,
        "until": awaited.until,
        "accepts": awaited.accepts,
        "count": awaited.count,
        "received": len(awaited.values),
        "about": dict(awaited.about),
    }
