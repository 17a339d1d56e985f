"""The Jinja2 sandbox of expressions, which can only read the keys of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.json_values import Json, did_you_mean, shown
from playbooks.language.filters import FILTERS

MAX_NUMBER_BITS = 512


class EvaluationFailed(ValueError):
    """A template can't be evaluated with this data."""


class StepHasNoResult(EvaluationFailed):
    """The expression reads a step that was skipped, failed or not reached."""


class Results(dict[str, Json]):
    """The results of steps for expressions, with the reason why a step has no result."""

    def __init__(self, results: Mapping[str, Json], reasons: Mapping[str, str]) -> None:
        super().__init__(results)
        self.reasons = reasons


class NoResultRead(UndefinedError):
    """Jinja2 raises this error when an expression uses a missing result of a step."""


class DataEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, restricted to reading data.

    `a.b` and `a['b']` both read the key b of the map a, so that `items` or `count` is never a method of dict.
    """

    intercepted_binops = frozenset({"*", "%", "+"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, optimized=False)
        self.globals.clear()
        self.filters = dict(FILTERS)
        for name in ("callable", "escaped", "filter", "test"):
            self.tests.pop(name, None)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._read_key(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._read_key(obj, argument)

    def call(self, __context: Context, __obj: Any, *_args: Any, **_kwargs: Any) -> Any:
        # The compiler already refuses calls. This is a second protection.
        raise EvaluationFailed("calls are not available in expressions")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in "*%":
            for operand in (left, right):
                if isinstance(operand, bool) or not isinstance(operand, int | float):
                    raise EvaluationFailed(f"{operator} takes numbers, and {shown(operand)} is not a number")
                if isinstance(operand, int) and operand.bit_length() > MAX_NUMBER_BITS:
                    raise EvaluationFailed("the number is too large")
        return super().call_binop(context, operator, left, right)

    def _read_key(self, obj: Any, key: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # a strict Undefined raises its own message here
        if isinstance(obj, Mapping):
            if isinstance(key, str) and key in obj:
                return obj[key]
            if isinstance(obj, Results):
                why = obj.reasons.get(str(key), "this step does not exist")
                return StrictUndefined(hint=f"step {shown(key)} has no result: {why}", exc=NoResultRead)
            return StrictUndefined(hint=f"there is no key {shown(key)}{did_you_mean(str(key), obj)}")
        if isinstance(obj, list | tuple | str) and isinstance(key, int | slice) and not isinstance(key, bool):
            try:
                return obj[key]
            except IndexError:
                return StrictUndefined(hint=f"there is no item {key}; the length is {len(obj)}")
        kind = "null" if obj is None else type(obj).__name__
        return StrictUndefined(hint=f"there is no key {shown(key)} in a value of type {kind}")
