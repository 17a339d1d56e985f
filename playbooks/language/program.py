"""A playbook with compiled expressions, each with its place in the YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

from core.errors import Problem
from core.json_values import Json, below, shown
from playbooks.language import advice
from playbooks.language.data_environment import EvaluationFailed, StepHasNoResult
from playbooks.language.errors import ExpressionFailed
from playbooks.language.expressions import (
    OMIT,
    Template,
    TemplateInvalid,
    compile_template,
    has_expression,
)
from playbooks.language.format import (
    MAX_PAUSE_SECONDS,
    MAX_SLEEP_SECONDS,
    ActionStep,
    CheckStep,
    FinishStep,
    PauseStep,
    Playbook,
    PlaybookStep,
    SetStep,
    SleepStep,
    Step,
)

BASE_NAMES = frozenset({"inputs", "steps", "errors", "run"})

RUN_KEYS = ("id", "key", "directory", "playbook", "started_at", "now")
"""The keys of `run`: the run's ID, its key or null, the folder for its files, the playbook's ID, the start of the run,
and the current time (both RFC 3339)."""

Kind = Literal["any", "condition", "seconds", "pause", "list", "count"]

MAX_ITEMS = 1000
MAX_SIGNALS = 10


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# The noun for an error, and for literals the test and its description.
_KINDS: dict[Kind, tuple[str, Callable[[Any], bool], str]] = {
    "any": ("value", lambda _: True, ""),
    "condition": ("condition", lambda v: isinstance(v, bool), "true or false"),
    "seconds": (
        "number of seconds",
        lambda v: _is_number(v) and 0 <= v <= MAX_SLEEP_SECONDS,
        f"a number of seconds from 0 to {MAX_SLEEP_SECONDS}",
    ),
    "pause": (
        "number of seconds",
        lambda v: _is_number(v) and 0 < v <= MAX_PAUSE_SECONDS,
        f"a number of seconds over 0, and at most {MAX_PAUSE_SECONDS}",
    ),
    "list": (
        "list",
        lambda v: isinstance(v, list) and len(v) <= MAX_ITEMS,
        f"a list of at most {MAX_ITEMS} items",
    ),
    "count": (
        "number of signals",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MAX_SIGNALS,
        f"a whole number from 1 to {MAX_SIGNALS}",
    ),
}

Tree: TypeAlias = Any
"""Plain JSON, with a Template in place of each text that has an expression."""


@dataclass(frozen=True)
class Field:
    """One place of the YAML that may have expressions: its pointer, its step, and its compiled value."""

    playbook_id: str
    step_id: str | None
    pointer: str
    tree: Tree

    def value(self, context: Mapping[str, Any]) -> Json:
        """Evaluate every expression and return the value. Raises: ExpressionFailed."""
        found = self._evaluate(self.tree, context, self.pointer)
        if found is OMIT:
            raise self.failed(self.pointer, "omit can only be the value of a key")
        return found

    def condition(self, context: Mapping[str, Any]) -> bool:
        """Return the value, which must be true or false. Raises: ExpressionFailed."""
        return bool(self._of_kind("condition", context))

    def seconds(self, context: Mapping[str, Any]) -> float:
        """Return the value, which must be 0 to MAX_SLEEP_SECONDS. Raises: ExpressionFailed."""
        return float(self._of_kind("seconds", context))

    def pause_seconds(self, context: Mapping[str, Any]) -> float:
        """Return the value, which must be over 0 and at most MAX_PAUSE_SECONDS. Raises: ExpressionFailed."""
        return float(self._of_kind("pause", context))

    def items(self, context: Mapping[str, Any]) -> list[Json]:
        """Return the value, which must be a list of at most MAX_ITEMS. Raises: ExpressionFailed."""
        return list(self._of_kind("list", context))

    def count(self, context: Mapping[str, Any]) -> int:
        """Return the value, which must be 1 to MAX_SIGNALS. Raises: ExpressionFailed."""
        return int(self._of_kind("count", context))

    def _of_kind(self, kind: Kind, context: Mapping[str, Any]) -> Any:
        found = self.value(context)
        _, holds, expected = _KINDS[kind]
        if not holds(found):
            raise self.failed(self.pointer, f"must be {expected}, and is {shown(found)}")
        return found

    def text(self, context: Mapping[str, Any]) -> str:
        """Return the value as text. Raises: ExpressionFailed."""
        found = self.value(context)
        return found if isinstance(found, str) else str(found)

    def templates(self) -> Iterator[tuple[str, Template]]:
        """Yield each expression with its pointer."""
        yield from _templates(self.tree, self.pointer)

    def _evaluate(self, tree: Tree, context: Mapping[str, Any], pointer: str) -> Any:
        if isinstance(tree, Template):
            try:
                return tree.evaluate(context)
            except EvaluationFailed as error:
                raise self.failed(pointer, str(error), source=tree.source) from error
        if isinstance(tree, dict):
            items = {key: self._evaluate(item, context, below(pointer, key)) for key, item in tree.items()}
            return {key: item for key, item in items.items() if item is not OMIT}
        if isinstance(tree, list):
            found = [self._evaluate(item, context, below(pointer, index)) for index, item in enumerate(tree)]
            return [item for item in found if item is not OMIT]
        return tree

    def failed(self, pointer: str, why: str, *, source: str | None = None) -> ExpressionFailed:
        """Return an error that names the playbook, the step and the place."""
        where = f"playbook {shown(self.playbook_id)}, "
        where += f"step {shown(self.step_id)}, {pointer}" if self.step_id else pointer
        shown_source = f" in {shown(' '.join(source.split()), 200)}" if source else ""
        return ExpressionFailed(
            f"{where}: {why}{shown_source}. Evaluating it changed nothing.",
            problems=[Problem(pointer=pointer, message=why)],
        )


def reads_absent_result(error: ExpressionFailed) -> bool:
    """Return whether the expression failed because it reads a step without a result."""
    return isinstance(error.__cause__, StepHasNoResult)


@dataclass
class Program:
    """The compiled fields of a playbook, by JSON pointer, and the problems of compiling them."""

    playbook: Playbook
    fields: dict[str, Field] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def _paths(self) -> dict[str, str]:
        steps = {step.id: f"steps.{step.id}" for step in self.playbook.steps}
        return steps | {name: f"inputs.{name}" for name in self.playbook.inputs}

    def at(self, step_index: int, *parts: object) -> Field:
        """Return the field at `/steps/<index>/<parts…>`."""
        return self.fields[below("/steps", step_index, *parts)]

    def add(
        self,
        step_id: str | None,
        pointer: str,
        value: Json,
        names: frozenset[str],
        kind: Kind = "any",
    ) -> None:
        """Compile one value of the playbook. names: the variables that it may read."""
        before = len(self.problems)
        tree = compile_tree(value, pointer, names, self._paths, self.problems)
        self.fields[pointer] = Field(self.playbook.id, step_id, pointer, tree)
        if kind == "any" or len(self.problems) > before:
            return
        noun, holds, expected = _KINDS[kind]
        if isinstance(tree, Template):
            if not tree.native:
                message = f"a {noun} must be exactly one {{{{ expression }}}}, with nothing before or after it"
                self.problems.append(Problem(pointer=pointer, message=message))
        elif kind == "list" and isinstance(tree, list) and len(tree) <= MAX_ITEMS:
            pass  # the items may have expressions
        elif not holds(tree):
            message = f"must be {expected}, or one expression in {{{{ … }}}}, and is {shown(value)}"
            message += advice.for_seconds(value) if kind in ("seconds", "pause") else ""
            self.problems.append(Problem(pointer=pointer, message=message))


def compile_tree(
    value: Json, pointer: str, names: frozenset[str], paths: Mapping[str, str], problems: list[Problem]
) -> Tree:
    """Return the value with each text that has an expression compiled. names, paths: as for `compile_template`.

    Each problem is added to `problems`. A tree with problems is never evaluated.
    """
    if isinstance(value, dict):
        problems += [
            Problem(pointer=below(pointer, key), message="a key can't have an expression")
            for key in value
            if has_expression(key)
        ]
        return {key: compile_tree(item, below(pointer, key), names, paths, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [compile_tree(item, below(pointer, index), names, paths, problems) for index, item in enumerate(value)]
    if isinstance(value, str) and has_expression(value):
        try:
            return compile_template(value, names, paths)
        except TemplateInvalid as error:
            problems.append(Problem(pointer=pointer, message=str(error)))
            return None
    return value


@lru_cache(maxsize=64)
def compiled(playbook: Playbook) -> Program:
    """Return the playbook's program. The same content gives the same object."""
    program = Program(playbook)
    if playbook.key is not None:
        program.add(None, "/key", playbook.key, frozenset({"inputs"}))
    for index, step in enumerate(playbook.steps):
        _add_step(program, step, below("/steps", index))
    for index, closing in enumerate(playbook.at_end):
        at = below("/at_end", index)
        names = BASE_NAMES | {"end"}
        program.add(closing.id, below(at, "when"), closing.when, names, "condition")
        program.add(closing.id, below(at, "with"), closing.with_, names | {"omit"})
    if isinstance(playbook.outputs, str):
        program.add(None, "/outputs", playbook.outputs, BASE_NAMES)
    else:
        for name, value in playbook.outputs.items():
            program.add(None, below("/outputs", name), value, BASE_NAMES)
    return program


def problems_of(playbook: Playbook) -> list[Problem]:
    """Return the problems of all expressions, also of the parts, and each playbook that is not in the parts."""
    problems = [*compiled(playbook).problems, *_absent_parts(playbook, playbook.parts)]
    for name, part in playbook.parts.items():
        found = [*compiled(part).problems, *_absent_parts(part, playbook.parts)]
        at = below("/parts", name)
        problems += [Problem(pointer=at + problem["pointer"], message=problem["message"]) for problem in found]
    return problems


def _absent_parts(playbook: Playbook, parts: Mapping[str, Playbook]) -> Iterator[Problem]:
    for index, step in enumerate(playbook.steps):
        if isinstance(step, PlaybookStep) and step.playbook not in parts:
            message = f"the playbook {shown(step.playbook)} is not in `parts`"
            yield Problem(pointer=below("/steps", index, "playbook"), message=message)


def _add_step(program: Program, step: Step, pointer: str) -> None:
    def add(*parts: object, value: Json, names: frozenset[str] = frozenset(), kind: Kind = "any") -> None:
        program.add(step.id, below(pointer, *parts), value, BASE_NAMES | names, kind)

    def add_handlers(step: ActionStep | PlaybookStep) -> None:
        names = frozenset({"error", "attempt"})
        for number, handler in enumerate(step.on_error):
            add("on_error", number, "when", value=handler.when, names=names, kind="condition")
            if handler.retry is not None:
                add("on_error", number, "retry", "after", value=handler.retry.after, names=names, kind="seconds")

    add("when", value=step.when, kind="condition")
    match step:
        case ActionStep():
            add("with", value=step.with_, names=frozenset({"previous", "omit"}))
            if step.repeat is not None:
                names = frozenset({"result", "previous", "attempt"})
                add("repeat", "until", value=step.repeat.until, names=names, kind="condition")
                add("repeat", "sleep", value=step.repeat.sleep, names=names, kind="seconds")
            add_handlers(step)
        case CheckStep():
            add("check", value=step.check, kind="condition")
            add("otherwise", value=step.otherwise)
        case FinishStep():
            add("finish", value=step.finish, kind="condition")
            add("message", value=step.message)
        case SetStep():
            add("set", value=step.set_, names=frozenset({"omit"}))
        case SleepStep():
            add("sleep", value=step.sleep, kind="seconds")
        case PauseStep():
            add("count", value=step.count, kind="count")
            add("about", value=step.about, names=frozenset({"omit"}))
            add("within", value=step.within, kind="pause")
            add("otherwise", value=step.otherwise)
        case PlaybookStep():
            names = frozenset({"omit"}) | (frozenset() if step.for_each is None else frozenset({"item", "index"}))
            add("with", value=step.with_, names=names)
            if step.for_each is not None:
                add("for_each", value=step.for_each, kind="list")
            add_handlers(step)


def _templates(tree: Tree, pointer: str) -> Iterator[tuple[str, Template]]:
    if isinstance(tree, Template):
        yield pointer, tree
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from _templates(item, below(pointer, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _templates(item, below(pointer, index))
