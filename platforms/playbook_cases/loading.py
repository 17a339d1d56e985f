"""Load a playbook's test file: YAML, the playbook, and the files that its inputs name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from core import errors as pack_errors
from core.errors import PackError, ParameterError, Problem
from core.json_values import Json, below, did_you_mean, plain, read_json, shown
from core.strict_yaml import MAX_BYTES, YamlRefused, line_of, read
from core.validation_text import plain_message
from platforms.playbook_cases.expectations import NAMES
from platforms.playbook_cases.format import Case, ErrorSpec, Expect, SignalSpec, StepDay, TestFile
from platforms.playbook_cases.sandbox_world import fault_problems, operation_problems, setting_problems
from platforms.playbook_checks import require_sound
from playbooks import library
from playbooks.language.check_steps import playbooks_below
from playbooks.language.errors import PlaybookNotFound
from playbooks.language.expressions import TemplateInvalid, compile_template
from playbooks.language.format import ActionStep, PauseStep, Playbook
from playbooks.language.inputs import takes_text

_HELP = "Nothing was run. Correct the test file at the places named in `problems`."

ERRORS = {
    name: found for name, found in vars(pack_errors).items() if isinstance(found, type) and issubclass(found, PackError)
}


@dataclass(frozen=True)
class Loaded:
    """A test file with its playbook. inputs: those of the file, with the files that they name. lines: by pointer."""

    path: Path
    playbook: Playbook
    file: TestFile
    lines: Mapping[str, int]

    def inputs_of(self, case: Case) -> dict[str, Json]:
        """Return the inputs of a case: those of the file, changed by its own. Raises: ParameterError."""
        given = {name: self._value(name, value) for name, value in self.file.inputs.items()}
        for name, value in case.inputs.items():
            own, common = self._value(name, value), given.get(name)
            given[name] = {**common, **own} if isinstance(own, dict) and isinstance(common, dict) else own
        return given

    def _value(self, name: str, value: Json) -> Json:
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        if value.startswith("@@"):
            return value[1:]
        text = read_text(self.path.parent / value[1:])
        if name in self.playbook.inputs and takes_text(self.playbook, name):
            return text
        try:
            return plain(read_json(text))
        except (ValueError, RecursionError):
            raise ParameterError(
                f"{self.path.name}: the input {shown(name)} names {shown(value[1:])}, which is not valid JSON",
                help="Nothing was run. Correct the file.",
            ) from None


def load(path: Path) -> Loaded:
    """Load a test file and its playbook.

    Raises: ParameterError with every problem of the file, PlaybookNotFound and PlaybookInvalid for the playbook.
    """
    try:
        found = read(read_text(path))
    except YamlRefused as error:
        raise _invalid(path, [_located(error.pointer, error.message, error.line)]) from None
    if isinstance(found.data, dict) and "steps" in found.data and "cases" not in found.data:
        raise ParameterError(
            f"{path.name} is a playbook, and no test file is beside it",
            help=f"Nothing was run. Save its cases as {path.stem}.test.yaml, or give the path of its test file.",
        )
    try:
        file = TestFile.model_validate(found.data)
    except ValidationError as error:
        problems = [_explained(dict(detail)) for detail in error.errors(include_url=False)]
        raise _invalid(
            path, [_located(p["pointer"], p["message"], line_of(found.lines, p["pointer"])) for p in problems]
        ) from None
    playbook = library.find(_playbook_of(path, file.playbook))
    require_sound(playbook)
    problems = list(_contradictions(file, playbook))
    if problems:
        raise _invalid(
            path, [_located(p["pointer"], p["message"], line_of(found.lines, p["pointer"])) for p in problems]
        )
    return Loaded(path, playbook, file, found.lines)


def read_text(path: Path) -> str:
    """Return the text of a file, at most 256 KiB. Raises: ParameterError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ParameterError(f"the file {shown(str(path), 500)} is larger than 256 KiB", help="Nothing was run.")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise PlaybookNotFound(
            f"the file {shown(str(path), 500)} can't be read: {error.strerror}",
            help="Nothing was run. Give the path of a test file, or the ID of a shipped playbook.",
        ) from None
    except (UnicodeDecodeError, ValueError):
        raise ParameterError(f"the file {shown(str(path), 500)} is not UTF-8 text", help="Nothing was run.") from None


def _playbook_of(path: Path, name: str) -> str:
    return str(path.parent / name) if name.endswith((".yaml", ".yml")) else name


def _contradictions(file: TestFile, playbook: Playbook) -> Iterator[Problem]:
    every = [step for one in playbooks_below(playbook, playbook.parts) for step in one.steps]
    steps = {step.id for step in every}
    acting = {step.id for step in every if isinstance(step, ActionStep)}
    pauses = {step.pause for step in every if isinstance(step, PauseStep)}
    yield from setting_problems(file.sandbox, "/sandbox")
    for number, case in enumerate(file.cases):
        at = below("/cases", number)
        yield from setting_problems(case.sandbox, below(at, "sandbox"))
        yield from fault_problems(case.faults, below(at, "faults"))
        for name, day in case.steps.items():
            own = name.rpartition("/")[2]
            if own not in acting:
                what = "runs no action" if own in steps else f"does not exist{did_you_mean(own, acting)}"
                yield Problem(pointer=below(at, "steps", name), message=f"step {shown(own)} {what}")
            yield from fault_problems(day.faults, below(at, "steps", name, "faults"))
            if day.error is not None and day.error.type not in ERRORS:
                hint = did_you_mean(day.error.type, ERRORS)
                message = f"unknown error type {shown(day.error.type)}{hint}"
                yield Problem(pointer=below(at, "steps", name, "error", "type"), message=message)
        for name in case.expect.steps:
            own = name.rpartition("/")[2]
            if own not in steps:
                message = f"step {shown(own)} does not exist{did_you_mean(own, steps)}"
                yield Problem(pointer=below(at, "expect", "steps", name), message=message)
        if not case.expect.model_fields_set:
            yield Problem(pointer=below(at, "expect"), message="expects nothing, so the case can't fail")
        for index, signal in enumerate(case.signals):
            own = signal.name.rpartition("/")[2]
            if own not in pauses:
                message = f"no pause waits for the signal {shown(own)}{did_you_mean(own, pauses)}"
                yield Problem(pointer=below(at, "signals", index, "name"), message=message)
        yield from operation_problems(case.expect.calls, below(at, "expect", "calls"))
        for index, condition in enumerate(case.expect.that):
            yield from _condition_problems(condition, below(at, "expect", "that", index))


def _condition_problems(condition: str, pointer: str) -> Iterator[Problem]:
    try:
        if not compile_template(condition, NAMES).native:
            yield Problem(pointer=pointer, message="must be exactly one {{ expression }}")
    except TemplateInvalid as error:
        yield Problem(pointer=pointer, message=str(error))


def _explained(error: dict[str, Any]) -> Problem:
    location = [part for part in error["loc"] if part not in ("dict[str,any]", "str", "float", "int")]
    key = str(location[-1]) if location else ""
    match error["type"]:
        case "extra_forbidden":
            message = f"unknown key {shown(key)}{_suggestion(key, location[:-1])}"
        case "missing":
            message = f"the key {shown(key)} is missing"
        case "model_type" | "dict_type":
            message = "must be a map of keys and values"
        case _:
            message = plain_message(error)
    return Problem(pointer=below("", *location), message=message)


_PLACES: dict[type[BaseModel], str] = {
    TestFile: "the top of the file",
    Case: "a case",
    Expect: "`expect`",
    StepDay: "a step in `steps`",
    SignalSpec: "a signal in `signals`",
    ErrorSpec: "`error` of a step",
}


def _suggestion(key: str, location: list[Any]) -> str:
    own = _model_at(location)
    elsewhere = [place for model, place in _PLACES.items() if key in model.model_fields and model is not own]
    return f"; it belongs into {' or '.join(elsewhere)}" if elsewhere else did_you_mean(key, own.model_fields)


def _model_at(location: list[Any]) -> type[BaseModel]:
    """Return the model of the map at this place of a test file."""
    if not location:
        return TestFile
    if location[-1] in ("expect", "error"):
        return Expect if location[-1] == "expect" else ErrorSpec
    parents: dict[Any, type[BaseModel]] = {"steps": StepDay, "signals": SignalSpec}
    return parents.get(location[-2], Case) if len(location) > 1 else Case


def _located(pointer: str, message: str, line: int | None) -> Problem:
    return Problem(pointer=pointer, message=message if line is None else f"line {line}: {message}")


def _invalid(path: Path, problems: list[Problem]) -> ParameterError:
    listed = "; ".join(f"{p['pointer'] or '/'}: {p['message']}" for p in problems)
    return ParameterError(f"{path.name}: {listed}", problems=problems, help=_HELP)
