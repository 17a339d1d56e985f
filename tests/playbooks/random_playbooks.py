"""Random playbooks, and a reference interpreter that says what a run of one must do.

The interpreter knows nothing of the engine: it walks the same description that is written as YAML. A description has
only conditions and values that the interpreter can evaluate by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

from hypothesis import strategies as st

from core.errors import NotFound, RateLimited
from playbooks.engine.state import ActionTraits
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document

TRAITS = {
    "write": ActionTraits(effect="write"),
    "wait": ActionTraits(effect="read", resumable=True),
    "flaky": ActionTraits(effect="read"),
    "broken": ActionTraits(effect="read"),
}

# What the fake actions do, in the words of the interpreter.
Behaviour = Literal["write", "wait", "flaky", "broken"]
Status = Literal["completed", "refused", "incomplete", "failed"]


@dataclass(frozen=True)
class Condition:
    """True if the input n is at least this; None: always."""

    at_least: int | None

    def text(self) -> bool | str:
        return True if self.at_least is None else f"{{{{ inputs.n >= {self.at_least} }}}}"

    def holds(self, n: int) -> bool:
        return self.at_least is None or n >= self.at_least


@dataclass(frozen=True)
class Act:
    behaviour: Behaviour
    when: Condition
    handled: bool


@dataclass(frozen=True)
class Check:
    condition: Condition
    outcome: Literal["refused", "incomplete"]


@dataclass(frozen=True)
class Finish:
    condition: Condition


@dataclass(frozen=True)
class Value:
    added: int


@dataclass(frozen=True)
class Rest:
    seconds: int


@dataclass(frozen=True)
class Pause:
    answered: bool
    count: int


@dataclass(frozen=True)
class Run:
    """Runs a part. items: with for_each, and then the part's n; else n + added."""

    part: int
    items: tuple[int, ...] | None
    at_most: int
    added: int
    handled: bool


Step = Act | Check | Finish | Value | Rest | Pause | Run


@dataclass(frozen=True)
class Description:
    """The steps of the root, and of each part. A part runs only parts with a higher number."""

    root: tuple[Step, ...]
    parts: tuple[tuple[Step, ...], ...]


@dataclass
class Expected:
    """What the reference says. effects: (behaviour, n) of each call that was answered, in order."""

    status: Status = "completed"
    seen: list[str] = field(default_factory=list)
    effects: list[tuple[str, int]] = field(default_factory=list)


conditions = st.builds(Condition, st.sampled_from([None, None, 0, 2, 9]))
simple_steps = st.one_of(
    st.builds(Act, st.sampled_from(["write", "write", "wait", "flaky", "broken"]), conditions, st.booleans()),
    st.builds(
        Check, st.builds(Condition, st.sampled_from([None, 0, 1, 9])), st.sampled_from(["refused", "incomplete"])
    ),
    st.builds(Finish, st.builds(Condition, st.sampled_from([1, 5, 9]))),
    st.builds(Value, st.integers(0, 3)),
    st.builds(Rest, st.integers(0, 3)),
    st.builds(Pause, st.sampled_from([True, True, False]), st.integers(1, 2)),
)


@st.composite
def runs_of(draw: st.DrawFn, first: int, last: int) -> Run:
    """A step that runs one of the parts first to last."""
    items = draw(st.one_of(st.none(), st.lists(st.integers(0, 3), max_size=3).map(tuple)))
    at_most = draw(st.integers(1, 3)) if items is not None else 1
    # Several active runs: which of them begin after one has failed depends on their order.
    handled = draw(st.booleans()) or at_most > 1
    return Run(draw(st.integers(first, last)), items, at_most, draw(st.integers(0, 2)), handled)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    """A root and up to three parts, nested up to four deep."""
    count = draw(st.integers(0, 3))

    def steps(own: int) -> tuple[Step, ...]:
        any_step = st.one_of(simple_steps, runs_of(own + 1, count - 1)) if own + 1 < count else simple_steps
        return tuple(draw(st.lists(any_step, min_size=1, max_size=4)))

    return Description(steps(-1), tuple(steps(number) for number in range(count)))


def playbook_of(description: Description, second: float = 1) -> Playbook:
    """Return the playbook that a description stands for. second: how long its seconds are."""
    ids = [f"part-{number}" for number in range(len(description.parts))]
    parts = {name: _document(name, steps, second) for name, steps in zip(ids, description.parts, strict=True)}
    return from_document({**_document("root", description.root, second), "parts": parts})


def _document(name: str, steps: tuple[Step, ...], second: float) -> dict[str, Any]:
    return {
        "playbook": 1,
        "id": name,
        "title": name,
        "inputs": {"n": {"type": "integer", "description": "A number."}},
        "steps": [{"id": f"s{number}", **_step(step, second)} for number, step in enumerate(steps)],
        "outputs": {"seen": "{{ steps | keys }}"},
    }


def _step(step: Step, second: float) -> dict[str, Any]:
    handler = {"on_error": [{"type": "*", "do": "continue"}]}
    match step:
        case Act():
            found = {"action": step.behaviour, "when": step.when.text(), "with": {"n": "{{ inputs.n }}"}}
            return {**found, **(handler if step.handled else {})}
        case Check():
            return {"check": step.condition.text(), "otherwise": "No.", "outcome": step.outcome}
        case Finish():
            return {"finish": step.condition.text(), "message": "Enough."}
        case Value():
            return {"set": {"v": f"{{{{ inputs.n + {step.added} }}}}"}}
        case Rest():
            return {"sleep": step.seconds * second}
        case Pause():
            name = "yes" if step.answered else "nobody"
            within = 60 if step.answered else 2 * second
            return {"pause": name, "count": step.count, "within": within, "otherwise": "Late."}
        case Run():
            each = {} if step.items is None else {"for_each": list(step.items), "at_most": step.at_most}
            n = f"{{{{ inputs.n + {step.added} }}}}" if step.items is None else "{{ item }}"
            return {"playbook": f"part-{step.part}", "with": {"n": n}, **each, **(handler if step.handled else {})}


def interpret(description: Description, n: int) -> Expected:
    """Return what a run with this input must do."""
    expected = Expected()
    expected.status, expected.seen = _run(description, description.root, n, expected.effects)
    return expected


def _run(  # noqa: PLR0912 -- one branch for each kind of step
    description: Description, steps: tuple[Step, ...], n: int, effects: list[tuple[str, int]]
) -> tuple[Status, list[str]]:
    seen: list[str] = []
    for number, step in enumerate(steps):
        name = f"s{number}"
        match step:
            case Act() if step.when.holds(n):
                effects.append((step.behaviour, n))
                if step.behaviour != "broken":
                    seen.append(name)
                elif not step.handled:
                    return "failed", seen
            case Check() if not step.condition.holds(n):
                return step.outcome, seen
            case Finish() if step.condition.holds(n):
                return "completed", seen
            case Value():
                seen.append(name)
            case Pause() if not step.answered:
                return "refused", seen
            case Pause():
                seen.append(name)
            case Run():
                status = _run_parts(description, step, n, effects)
                if status == "completed" or (step.handled and step.items is not None):
                    seen.append(name)
                elif not step.handled:
                    # The outputs of a run that ends may read those of the run that ended it.
                    return status, [*seen, name]
            case _:
                pass
    return "completed", seen


def _run_parts(description: Description, step: Run, n: int, effects: list[tuple[str, int]]) -> Status:
    for item in (n + step.added,) if step.items is None else step.items:
        status, _ = _run(description, description.parts[step.part], item, effects)
        if status != "completed" and not step.handled:
            return status
        if status != "completed" and step.items is None:
            return status
    return "completed"


def is_concurrent(description: Description) -> bool:
    """Return whether several runs may be active at a time, so that the order of effects is not fixed."""
    every = [step for steps in (description.root, *description.parts) for step in steps]
    return any(isinstance(step, Run) and step.at_most > 1 for step in every)


class Actions:
    """The fake actions, for several threads. A call that only makes its caller repeat it is no effect.

    second: how long a second is. most_failures: of the action `flaky`, so that its caller retries it often enough.
    """

    def __init__(self, second: float = 1, most_failures: int | None = None) -> None:
        self.effects: list[tuple[str, int]] = []
        self._second = second
        self._most_failures = most_failures
        self._flaky_calls = 0
        self._lock = Lock()

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "flaky" and self._fails():
            raise RateLimited("slow down", retry_after_seconds=int(self._second))
        if action == "wait" and "resume" not in params:
            return {"done": False, "resume": {"once": True}, "next_poll_seconds": self._second}
        self.effects.append((action, params["n"]))
        if action == "broken":
            raise NotFound("gone")
        return {"done": True, "n": params["n"]}

    def _fails(self) -> bool:
        """Return whether a call of `flaky` fails: every second call does."""
        with self._lock:
            failed, is_repeated = divmod(self._flaky_calls, 2)
            self._flaky_calls += 1
            return not is_repeated and (self._most_failures is None or failed < self._most_failures)


def require_equal(description: Description, n: int, status: str, outputs: dict[str, Any], actions: Actions) -> None:
    """Check a run against the reference."""
    expected = interpret(description, n)
    assert (status, outputs) == (expected.status, {"seen": expected.seen})
    if is_concurrent(description):
        assert sorted(actions.effects) == sorted(expected.effects)
    else:
        assert actions.effects == expected.effects
