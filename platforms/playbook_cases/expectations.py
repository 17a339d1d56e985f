"""Compare how a run ended, and what it changed in the sandbox, with what the case expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import Problem
from core.json_values import Json, below, shown
from platforms.playbook_cases.format import Expect
from playbooks.language.data_environment import EvaluationFailed
from playbooks.language.expressions import compile_template

NAMES = frozenset({"status", "exit_code", "message", "outputs", "error", "steps", "jobs", "moved", "released", "calls"})


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what happened in the sandbox. steps: the status by path.

    status: None if the run could not begin. jobs: as the sandbox has them. moved, released: numbers of messages.
    """

    status: str | None
    exit_code: int
    outputs: Mapping[str, Json]
    error: Mapping[str, Json] | None
    message: str | None
    steps: Mapping[str, str] = field(default_factory=dict)
    jobs: list[Json] = field(default_factory=list)
    moved: int = 0
    released: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)


def differences(expect: Expect, ended: Ended, pointer: str) -> Iterator[Problem]:
    """Yield every difference, with the pointer to the expectation."""
    for name in ("status", "exit_code", "moved", "released"):
        expected, found = getattr(expect, name), getattr(ended, name)
        if expected is not None and expected != found:
            yield Problem(pointer=below(pointer, name), message=f"{name} is {shown(found)}, not {shown(expected)}")
    if expect.jobs is not None and expect.jobs != len(ended.jobs):
        yield Problem(pointer=below(pointer, "jobs"), message=f"jobs is {len(ended.jobs)}, not {expect.jobs}")
    if expect.message is not None and expect.message not in (ended.message or ""):
        message = f"message is {shown(ended.message, 300)}, without {shown(expect.message, 300)}"
        yield Problem(pointer=below(pointer, "message"), message=message)
    yield from _of_map(expect.outputs, ended.outputs, "outputs", below(pointer, "outputs"))
    if expect.error is not None:
        yield from _of_map(expect.error, ended.error or {}, "error", below(pointer, "error"))
    yield from _of_map(
        expect.calls, {**dict.fromkeys(expect.calls, 0), **ended.calls}, "calls", below(pointer, "calls")
    )
    for path, status in expect.steps.items():
        found = ended.steps.get(path, "not reached")
        if found != status:
            yield Problem(pointer=below(pointer, "steps", path), message=f"step {shown(path)} is {found}, not {status}")
    yield from _conditions(expect, ended, below(pointer, "that"))


def _of_map(expected: Mapping[str, Json], found: Mapping[str, Json], name: str, pointer: str) -> Iterator[Problem]:
    for key, value in expected.items():
        path, at = f"{name}.{key}", below(pointer, key)
        if key not in found:
            yield Problem(pointer=at, message=f"{path} is missing, not {shown(value)}")
        elif isinstance(value, dict) and isinstance(found[key], dict):
            yield from _of_map(value, found[key], path, at)
        elif not _equal(value, found[key]):
            yield Problem(pointer=at, message=f"{path} is {shown(found[key], 300)}, not {shown(value, 300)}")


def _equal(expected: Json, found: Json) -> bool:
    """Compare two values as JSON does: 1 is 1.0, and true is not 1."""
    return expected == found and isinstance(expected, bool) == isinstance(found, bool)


def _conditions(expect: Expect, ended: Ended, pointer: str) -> Iterator[Problem]:
    values: dict[str, Any] = {name: getattr(ended, name) for name in NAMES}
    for index, source in enumerate(expect.that):
        try:
            found = compile_template(source, NAMES).evaluate(values)
        except EvaluationFailed as error:
            yield Problem(pointer=below(pointer, index), message=f"can't be evaluated: {error}")
            continue
        if found is not True:
            text = " ".join(source.split())
            yield Problem(pointer=below(pointer, index), message=f"is {shown(found)}, not true: {shown(text, 300)}")
