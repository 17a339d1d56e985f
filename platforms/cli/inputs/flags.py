"""The flags of an action, generated from its parameters' JSON Schema, and the JSON document made from typed flags.

Each field of `search_params` is a flag (`--sender`). Any other object or list is given as JSON text or `@FILE`. The
action itself checks the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from core.errors import ParameterError, Problem
from core.json_values import read_json
from platforms.cli.inputs.documents import read_bytes, shown
from platforms.schema_fields import Field, read_fields

if TYPE_CHECKING:
    from actions.contract.action import ActionParams

# texts: one text as it is, or several as a JSON list.
Kind = Literal["text", "texts", "integer", "number", "boolean", "json"]

METAVARS: Mapping[Kind, str] = {
    "text": "TEXT",
    "texts": "TEXT|JSON",
    "integer": "NUMBER",
    "number": "NUMBER",
    "boolean": "",
    "json": "JSON|@FILE",
}

# The only object whose fields are flags.
SPREAD = "search_params"

# A longer list of choices is in the flag's description, where lines are wrapped.
LONGEST_METAVAR = 24

# Values that a printed command line never has. Nor has it a value longer than LONGEST_TYPED.
FILES_ONLY = ("plan", "approvals")
LONGEST_TYPED = 200


class Named(Protocol):
    """A flag, and the parameter that it sets."""

    @property
    def option(self) -> str:
        """The flag as typed."""

    @property
    def pointer(self) -> str:
        """The JSON pointer of the parameter."""


@dataclass(frozen=True)
class Flag:
    """One flag. path: the parameter that it sets. choices: the values that the schema lists, or empty."""

    path: tuple[str, ...]
    kind: Kind
    help: str
    choices: tuple[str, ...] = ()
    required: bool = False
    deprecated: bool = False

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def pointer(self) -> str:
        return "".join(f"/{part}" for part in self.path)

    @property
    def example(self) -> str:
        """The flag with an example file name, if its value is a file; else empty."""
        return f"{self.option} @{self.name}.json" if self.kind == "json" else ""

    @property
    def metavar(self) -> str:
        """The placeholder of the value in the help."""
        if self.choices:
            listed = "|".join(self.choices)
            return listed if len(listed) <= LONGEST_METAVAR else "CHOICE"
        return METAVARS[self.kind]

    def value(self, given: Any) -> Any:
        """Convert a typed value to JSON. Raises: ParameterError if it is not valid."""
        if self.kind in ("integer", "number"):
            return self._number(given)
        several = self.kind == "texts" and given.startswith("[")
        return self._json(given) if self.kind == "json" or several else given

    def _number(self, text: str) -> int | float:
        try:
            number = json.loads(text)
        except (ValueError, RecursionError):
            number = None
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ParameterError.at(self.pointer, "not a number")
        # A person may type 1e3 for 1000, which is not an integer in JSON.
        return int(number) if self.kind == "integer" and float(number).is_integer() else number

    def _json(self, text: str) -> Any:
        data = read_bytes(text[1:], self.option) if text.startswith("@") else text
        try:
            return read_json(data)
        except (ValueError, RecursionError) as error:
            if text.startswith("@"):
                message = f"the file {shown(text[1:])} is not valid JSON ({str(error)[:100]})"
            else:
                message = f"not valid JSON ({str(error)[:100]}); to read it from a file, write {self.option} @FILE"
            raise ParameterError.at(self.pointer, message) from None


def flags_of(params: type[ActionParams]) -> list[Flag]:
    """Return a flag for each parameter of an action, in the model's order."""
    return list(_flags(read_fields(params.model_json_schema()), ()))


def document(
    flags: Sequence[Flag], given: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the parameters: `base`, overridden by each flag that is not None. Also return the problems of values."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    problems: list[Problem] = []
    for flag in flags:
        if given.get(flag.name) is None:
            continue
        place = found.setdefault(SPREAD, {}) if flag.path[0] == SPREAD else found
        if not isinstance(place, dict):
            problems.append(Problem(pointer=f"/{SPREAD}", message=f"must be an object to take {flag.option}"))
            continue
        try:
            place[flag.name] = flag.value(given[flag.name])
        except ParameterError as error:
            problems += error.problems or [Problem(pointer=flag.pointer, message=error.message)]
    return found, problems


def typed(flags: Sequence[Flag], params: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> list[str]:
    """Return the parameters as words of a command line. given: the flags as typed.

    A value typed as a file keeps the file name. A plan or an approval from another source becomes the name of a file to
    write it to, because every user of the machine can see a command line.
    """
    words: list[str] = []
    for flag in flags:
        place = params.get(SPREAD) if flag.path[0] == SPREAD else params
        value = place.get(flag.name) if isinstance(place, Mapping) else None
        if value is None:
            continue
        if flag.kind == "boolean":
            words.append(flag.option if value else f"--no-{flag.option[2:]}")
        else:
            words += [flag.option, _word(flag, value, (given or {}).get(flag.name))]
    return words


def is_file(as_typed: object) -> bool:
    """Return whether a flag's value was typed as a file name that can be read again."""
    return isinstance(as_typed, str) and as_typed.startswith("@") and as_typed != "@-"


def _word(flag: Flag, value: Any, as_typed: Any) -> str:
    if flag.kind != "json":
        return value if isinstance(value, str) else json.dumps(value)
    if is_file(as_typed):
        return str(as_typed)
    text = json.dumps(value)
    return f"@{flag.name}.json" if flag.name in FILES_ONLY or len(text) > LONGEST_TYPED else text


def flag_at(flags: Sequence[Named], pointer: str) -> str | None:
    """Return the flag that a problem at this JSON pointer is about, or None."""
    for flag in flags:
        if pointer == flag.pointer or pointer.startswith(f"{flag.pointer}/"):
            return flag.option
    within = any(pointer and flag.pointer.startswith(f"{pointer}/") for flag in flags)
    return "a search flag, such as --sender," if within else None


def _flags(fields: Sequence[Field], path: tuple[str, ...]) -> Iterator[Flag]:
    for field in fields:
        if (*path, field.name) == (SPREAD,):
            yield from _flags(field.fields, (SPREAD,))
            continue
        yield Flag(
            path=(*path, field.name),
            kind=_kind(field),
            help=_help(field),
            choices=field.choices,
            required=field.required,
            deprecated=field.deprecated,
        )


def _kind(field: Field) -> Kind:
    match sorted(field.types):
        case ["integer"]:
            return "integer"
        case ["number"]:
            return "number"
        case ["boolean"]:
            return "boolean"
        case ["string"]:
            return "text"
        case ["array", "string"]:
            return "texts"
    return "text" if field.choices else "json"


def _help(field: Field) -> str:
    text, default = field.description, field.default
    if len("|".join(field.choices)) > LONGEST_METAVAR:
        text += f" One of {', '.join(field.choices)}."
    if field.required:
        return f"{text} [required]"
    if default is None or default == []:
        return text
    if isinstance(default, bool):
        return f"{text} [default: {'yes' if default else 'no'}]"
    return f"{text} [default: {default:g}]" if isinstance(default, float) else f"{text} [default: {default}]"
