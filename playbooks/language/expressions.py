"""Compile and evaluate expressions: `{{ … }}` in a playbook reads data. It never runs code.

Templates come only from the playbook file and are compiled once. A text that is exactly one `{{ expression }}` gives
the value itself, with its type; any other text is joined to a string. Results are never evaluated again: a subject
`{{ 7*7 }}` or `123` remains text.

The grammar is a subset of Jinja2's, without statements, calls, `**`, `~`, and attributes other than keys of maps. An
expression therefore ends in time proportional to the data.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.environment import TemplateExpression

from core.json_values import NotPlainJson, did_you_mean, plain, shown
from playbooks.language.data_environment import DataEnvironment, EvaluationFailed, NoResultRead, StepHasNoResult
from playbooks.language.filters import FILTERS, MAX_TEXT, OWN_FILTERS, as_text

MAX_TEMPLATE = 20_000


class TemplateInvalid(ValueError):
    """A template can't be compiled. The message is for the author of the playbook."""


class Omit:
    """The value of `omit`. A key with this value is left out."""

    def __repr__(self) -> str:
        return "omit"


OMIT = Omit()


_ENVIRONMENT = DataEnvironment()

_ALLOWED = (
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.Keyword,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Pos,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.CondExpr,
)

_INSTEAD: dict[type[nodes.Node], str] = {
    nodes.Call: "calls are not allowed; use a filter, as in {{ value | lower }}",
    nodes.Pow: "** is not allowed",
    nodes.Concat: "~ is not allowed, because it writes null as None; use + between texts, or {{ a }}{{ b }}",
}

# The places where the names exist that not every expression can read.
_SCOPES = {
    "item": "`with` of a playbook step with for_each",
    "index": "`with` of a playbook step with for_each",
    "previous": "`with` and `repeat` of an action step",
    "result": "`repeat` of an action step",
    "error": "`on_error`",
    "attempt": "`repeat` and `on_error`",
    "omit": "`with`, `set` and `about`",
}


@dataclass(frozen=True)
class Template:
    """One compiled text of a playbook.

    native: the text is exactly one expression. path: the path that it reads, if it does nothing else. references: the
    literal paths that it reads, such as `("steps", "find", "count")`. guarded: the steps that it tests for a result.
    """

    source: str
    native: bool
    path: tuple[str | int, ...] | None
    references: tuple[tuple[str | int, ...], ...]
    guarded: frozenset[str]
    pieces: tuple[str | TemplateExpression, ...]

    def evaluate(self, context: Mapping[str, Any]) -> Any:
        """Return the value: plain JSON or OMIT. Raises: EvaluationFailed."""
        try:
            if self.native:
                (piece,) = (piece for piece in self.pieces if not isinstance(piece, str))
                return _finished(piece(context))
            text = "".join(p if isinstance(p, str) else as_text(_finished(p(context))) for p in self.pieces)
        except NotPlainJson as error:
            raise EvaluationFailed(f"the value is not plain JSON: {error.message}") from None
        except NoResultRead as error:
            raise StepHasNoResult(str(error)) from None
        except EvaluationFailed:
            raise
        except RecursionError:
            raise EvaluationFailed("nested too deeply") from None
        except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            raise EvaluationFailed(str(error) or type(error).__name__) from None
        if len(text) > MAX_TEXT:
            raise EvaluationFailed(f"the text is longer than {MAX_TEXT} characters")
        return text


def has_expression(text: str) -> bool:
    """Return whether a text of a playbook is a template."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def compile_template(source: str, names: frozenset[str], paths: Mapping[str, str] | None = None) -> Template:
    """Compile a text of a playbook that may read the variables `names`. Raises: TemplateInvalid.

    paths: what an author may have meant by another name, such as `inputs.alert` by `alert`.
    """
    if len(source) > MAX_TEMPLATE:
        raise TemplateInvalid(f"longer than {MAX_TEMPLATE} characters")
    try:
        tree = _ENVIRONMENT.parse(source)
        parts = list(_parts(tree))
        for part in parts:
            _vet(part, names, paths or {})
        pieces = tuple(part.data if isinstance(part, nodes.TemplateData) else _compiled(part) for part in parts)
    except TemplateError as error:
        raise TemplateInvalid(f"not a valid expression: {error.message or error}") from None
    except (RecursionError, SyntaxError, MemoryError):
        # Jinja2 generates Python code, and Python's compiler limits the nesting.
        raise TemplateInvalid("nested too deeply") from None
    texts = [piece for piece in pieces if isinstance(piece, str)]
    # A block scalar of YAML (`|`) ends with a line break.
    native = len(pieces) - len(texts) == 1 and texts in ([], ["\n"]) and not isinstance(pieces[0], str)
    references: list[tuple[str | int, ...]] = []
    guarded: set[str] = set()
    for part in parts:
        _collect(part, references, guarded)
    path = _path(parts[0]) if native else None
    return Template(source, native, path, tuple(dict.fromkeys(references)), frozenset(guarded), pieces)


def _parts(tree: nodes.Template) -> Iterator[nodes.Expr]:
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            raise TemplateInvalid("statements {% … %} are not allowed, only expressions {{ … }}")
        yield from node.nodes


def _compiled(expression: nodes.Expr) -> TemplateExpression:
    body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)]
    template = nodes.Template(body, lineno=1)
    template.set_environment(_ENVIRONMENT)
    return TemplateExpression(_ENVIRONMENT.from_string(template), undefined_to_none=False)


def _hint(name: str, names: frozenset[str], paths: Mapping[str, str]) -> str:
    if name in _SCOPES:
        return f": it exists only in {_SCOPES[name]}."
    return f"; did you mean {shown(paths[name])}?" if name in paths else did_you_mean(name, names) or "."


def _vet(node: nodes.Node, names: frozenset[str], paths: Mapping[str, str]) -> None:
    if not isinstance(node, _ALLOWED):
        raise TemplateInvalid(_INSTEAD.get(type(node), f"{type(node).__name__} is not allowed in expressions"))
    if isinstance(node, nodes.Name) and node.name not in names:
        readable = ", ".join(sorted(names))
        raise TemplateInvalid(
            f"unknown name {shown(node.name)}{_hint(node.name, names, paths)} Available names: {readable}. "
            "Write a key with a dash as steps['a-b']"
        )
    if isinstance(node, nodes.Getattr) and node.attr.startswith("__"):
        raise TemplateInvalid(f"{shown(node.attr)} is not allowed: expressions read keys of data, not attributes")
    if isinstance(node, nodes.Filter):
        _vet_filter(node)
    if isinstance(node, nodes.Test) and node.name not in _ENVIRONMENT.tests:
        raise TemplateInvalid(f"unknown test 'is {node.name}'{did_you_mean(node.name, _ENVIRONMENT.tests)}")
    for child in node.iter_child_nodes():
        _vet(child, names, paths)


def _vet_filter(node: nodes.Filter) -> None:
    if node.name not in FILTERS:
        raise TemplateInvalid(f"unknown filter {shown(node.name)}{did_you_mean(node.name, FILTERS)}")
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise TemplateInvalid("* and ** are not allowed in a filter's arguments")
    tests: Mapping[str, Any] = _ENVIRONMENT.tests
    named = {"map": FILTERS, "select": tests, "reject": tests}.get(node.name)
    first = node.args[0] if node.args else None
    if named is not None and isinstance(first, nodes.Const) and first.value not in named:
        raise TemplateInvalid(
            f"{node.name}(): unknown name {shown(first.value)}{did_you_mean(str(first.value), named)}"
        )
    if node.name in OWN_FILTERS:
        try:
            inspect.signature(OWN_FILTERS[node.name]).bind(None, *node.args, **{str(k.key): k for k in node.kwargs})
        except TypeError as error:
            raise TemplateInvalid(f"filter {shown(node.name)}: {error}") from None


def _collect(node: nodes.Node, references: list[tuple[str | int, ...]], guarded: set[str]) -> None:
    path = _path(node)
    if path is not None:
        references.append(path)
        return
    if isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
        tested = _path(node.node)
        if tested is not None and tested[0] == "steps" and len(tested) == 2:
            guarded.add(str(tested[1]))
    if isinstance(node, nodes.Compare) and isinstance(node.expr, nodes.Const):
        for operand in node.ops:
            if operand.op in ("in", "notin") and _path(operand.expr) == ("steps",):
                guarded.add(str(node.expr.value))
    for child in node.iter_child_nodes():
        _collect(child, references, guarded)


def _path(node: nodes.Node) -> tuple[str | int, ...] | None:
    if isinstance(node, nodes.Name):
        return (node.name,)
    key: Any = None
    if isinstance(node, nodes.Getattr):
        key = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        key = node.arg.value
    if not isinstance(key, str | int) or not isinstance(node, nodes.Getattr | nodes.Getitem):
        return None
    before = _path(node.node)
    return None if before is None else (*before, key)


def _finished(value: Any) -> Any:
    """Return the result of an expression as plain JSON. Lazy sequences are read to their end."""
    if isinstance(value, Undefined):
        str(value)  # a strict Undefined raises its own message here
    if isinstance(value, Omit):
        return value
    if isinstance(value, Iterator) or type(value).__name__ in ("dict_items", "dict_keys", "dict_values"):
        value = list(value)
    return plain(value)
