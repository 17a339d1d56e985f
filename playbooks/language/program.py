"""A playbook with compiled expressions, each with its place in the YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from core.errors import Problem
from core.json_values import Json, below, shown
from playbooks.language.data_environment import EvaluationFailed, StepHasNoResult
from playbooks.language.errors import ExpressionFailed
from playbooks.language.expressions import (
    OMIT,
    Template,
    TemplateInvalid,
    compile_template,
    has_expression,
)
from playbooks.language.format import MAX_SLEEP_SECONDS, ActionStep, CheckStep, FinishStep, Playbook, SetStep, Step

BASE_NAMES = frozenset({"inputs", "steps", "errors", "run"})

RUN_KEYS = ("id", "directory", "playbook", "started_at", "now")
"""The keys of `run`: the run's ID, the folder for its files, the playbook's ID, the start of the run, and the current
time (both RFC 3339)."""

Kind = Literal["any", "condition", "seconds"]

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
        found = self.value(context)
        if not isinstance(found, bool):
            raise self.failed(self.pointer, f"must be true or false, and is {shown(found)}")
        return found

    def seconds(self, context: Mapping[str, Any]) -> float:
        """Return the value, which must be 0 to MAX_SLEEP_SECONDS. Raises: ExpressionFailed."""
        found = self.value(context)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MAX_SLEEP_SECONDS:
            raise self.failed(
                self.pointer, f"must be a number of seconds from 0 to {MAX_SLEEP_SECONDS}, and is {shown(found)}"
            )
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
        tree = self._tree(value, pointer, names)
        self.fields[pointer] = Field(self.playbook.id, step_id, pointer, tree)
        if kind == "any" or len(self.problems) > before:
            return
        message = None
        if isinstance(tree, Template):
            if not tree.native:
                message = f"a {kind} must be exactly one {{{{ expression }}}}, with nothing before or after it"
        elif kind == "condition" and not isinstance(tree, bool):
            message = f"{shown(value)} is text; a condition must be true, false or one expression in {{{{ … }}}}"
        elif kind == "seconds" and (isinstance(tree, str) or not 0 <= tree <= MAX_SLEEP_SECONDS):
            message = f"{shown(value)} is not a number of seconds from 0 to {MAX_SLEEP_SECONDS} or an expression"
        if message is not None:
            self.problems.append(Problem(pointer=pointer, message=message.replace("a seconds", "a number of seconds")))

    def _tree(self, value: Json, pointer: str, names: frozenset[str]) -> Tree:
        if isinstance(value, dict):
            for key in value:
                if has_expression(key):
                    problem = Problem(pointer=below(pointer, key), message="a key can't have an expression")
                    self.problems.append(problem)
            return {key: self._tree(item, below(pointer, key), names) for key, item in value.items()}
        if isinstance(value, list):
            return [self._tree(item, below(pointer, index), names) for index, item in enumerate(value)]
        if isinstance(value, str) and has_expression(value):
            try:
                return compile_template(value, names)
            except TemplateInvalid as error:
                self.problems.append(Problem(pointer=pointer, message=str(error)))
                # Never evaluated: a playbook with problems is not run.
                return None
        return value


@lru_cache(maxsize=64)
def compiled(playbook: Playbook) -> Program:
    """Return the playbook's program. The same content gives the same object."""
    program = Program(playbook)
    for index, step in enumerate(playbook.steps):
        _add_step(program, step, below("/steps", index))
    for name, value in playbook.outputs.items():
        program.add(None, below("/outputs", name), value, BASE_NAMES)
    return program


def _add_step(program: Program, step: Step, pointer: str) -> None:
    def add(*parts: object, value: Json, names: frozenset[str] = frozenset(), kind: Kind = "any") -> None:
        program.add(step.id, below(pointer, *parts), value, BASE_NAMES | names, kind)

    add("when", value=step.when, kind="condition")
    match step:
        case ActionStep():
            add("with", value=step.with_, names=frozenset({"previous", "omit"}))
            if step.repeat is not None:
                names = frozenset({"result", "previous", "attempt"})
                add("repeat", "until", value=step.repeat.until, names=names, kind="condition")
                add("repeat", "sleep", value=step.repeat.sleep, names=names, kind="seconds")
            for number, handler in enumerate(step.on_error):
                names = frozenset({"error", "attempt"})
                add("on_error", number, "when", value=handler.when, names=names, kind="condition")
                if handler.retry is not None:
                    add("on_error", number, "retry", "after", value=handler.retry.after, names=names, kind="seconds")
        case CheckStep():
            add("check", value=step.check, kind="condition")
            add("otherwise", value=step.otherwise)
        case FinishStep():
            add("finish", value=step.finish, kind="condition")
            add("message", value=step.message)
        case SetStep():
            add("set", value=step.set_, names=frozenset({"omit"}))


def _templates(tree: Tree, pointer: str) -> Iterator[tuple[str, Template]]:
    if isinstance(tree, Template):
        yield pointer, tree
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from _templates(item, below(pointer, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _templates(item, below(pointer, index))
