"""The YAML format of playbooks as strict models, and its JSON Schema.

`python -m playbooks.language.format` writes the JSON Schema of the format, for editors, to
`playbooks/playbook.schema.json`.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag

from core.json_values import Json, digest

SCHEMA_PATH = Path(__file__).parents[1] / "playbook.schema.json"

MAX_STEPS = 100
MAX_REPEATS = 5000
MAX_SLEEP_SECONDS = 86_400
MAX_PAUSE_SECONDS = 2_592_000
MAX_AT_MOST = 50
MAX_AT_END = 5

TypeName = Literal["string", "integer", "number", "boolean", "object", "array", "null"]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Condition: TypeAlias = bool | str
Seconds: TypeAlias = int | float | str


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_alias=True)


class ValueSpec(_Part):
    """The rules for a value: a subset of JSON Schema."""

    type: TypeName | list[TypeName] = Field(description="The JSON type, or a list of the types allowed.")
    description: str = Field("", description="The meaning of the value, with its unit.")
    enum: list[Json] | None = Field(None, min_length=1, description="The values allowed.")
    minimum: int | float | None = Field(None, description="The smallest number allowed.")
    maximum: int | float | None = Field(None, description="The largest number allowed.")
    min_length: int | None = Field(None, alias="minLength", ge=0, description="The least number of characters.")
    max_length: int | None = Field(None, alias="maxLength", ge=0, description="The greatest number of characters.")
    pattern: str | None = Field(None, description="A regular expression that must match a part of the text.")
    min_items: int | None = Field(None, alias="minItems", ge=0, description="The least number of items.")
    max_items: int | None = Field(None, alias="maxItems", ge=0, description="The greatest number of items.")
    items: ValueSpec | None = Field(None, description="The rules for each item of an array.")
    required: list[str] | None = Field(None, description="The keys that an object must have. Other keys are allowed.")
    properties: dict[str, ValueSpec] | None = Field(None, description="The rules for the values of an object, by key.")

    def json_schema(self) -> dict[str, Json]:
        """Return the rules as a JSON Schema. A rule that is null does not apply."""
        names = {name: info.alias or name for name, info in ValueSpec.model_fields.items()}
        found = {alias: getattr(self, name) for name, alias in names.items() if name in self.model_fields_set}
        if self.items is not None:
            found["items"] = self.items.json_schema()
        if self.properties is not None:
            found["properties"] = {key: spec.json_schema() for key, spec in self.properties.items()}
        return {key: value for key, value in found.items() if value is not None}


class InputSpec(ValueSpec):
    """One input of the playbook. Without a `default` it must be given; `default: null` makes it optional."""

    title: str = Field("", description="A short name for forms.")
    primary: bool = Field(
        False,
        description="The input that a command line takes as a file (`--input FILE`): of a string the text, of an "
        "object one record, of any other type the JSON value.",
    )
    default: Json = Field(None, description="The value if none is given. null makes the input optional.")

    @property
    def has_default(self) -> bool:
        """Whether the YAML has a default, which may be null."""
        return "default" in self.model_fields_set


class Retry(_Part):
    """Run the step again, with the same parameters, after a pause."""

    times: int = Field(ge=1, le=100, description="The maximum number of retries.")
    after: Seconds = Field(
        description="Seconds to wait before a retry, or an expression: {{ error.retry_after_seconds or 30 }}."
    )


class ErrorHandler(_Part):
    """Handles an error of the step. The first handler that matches is used.

    Errors that are safe to repeat need no handler: the engine repeats the action by itself.
    """

    type: str | list[str] = Field(description='The `type` of the error, a list of them, or "*" for any.')
    when: Condition = Field(True, description="A condition for using the handler. It may read `error`.")
    retry: Retry | None = Field(None, description="Retries before `do`.")
    do: Literal["stop", "continue"] = Field(
        "stop", description="Then stop the run, or continue with the next step without a result."
    )

    @property
    def types(self) -> list[str]:
        """The error types that the handler takes; "*" takes any."""
        return [self.type] if isinstance(self.type, str) else self.type


class Repeat(_Part):
    """Repeats the action until a condition on its result is true.

    An action that answers `done: false` with `resume` needs no repetition here: the engine continues it by itself.
    """

    until: Condition = Field(
        description="The condition that ends the repetition. It may read `result`, `previous` and `attempt`."
    )
    sleep: Seconds = Field(description="Seconds between two repetitions, or an expression. It may read `result`.")
    limit: int = Field(ge=1, le=MAX_REPEATS, description="The maximum number of repetitions. After it the step fails.")


class StepBase(_Part):
    """The keys of every step."""

    id: Id = Field(
        "",
        description="The name of the step, unique in the playbook: `steps.<id>` is its result. "
        "By default its kind and number, such as check-3.",
    )
    title: str = Field("", description="What the step does, shown to people.")
    when: Condition = Field(True, description="A condition. If it is false, the step is skipped.")


class ActionStep(StepBase):
    """Runs an action of the pack."""

    action: str = Field(min_length=1, description="The action's ID, such as search-messages.")
    with_: dict[str, Json] = Field(
        default_factory=dict,
        alias="with",
        description="The action's parameters. Texts may contain expressions. The value `omit` leaves a key out.",
    )
    repeat: Repeat | None = Field(None, description="Repeats the action. `previous` is the last result, or null.")
    on_error: list[ErrorHandler] = Field(default_factory=list, description="Handlers for errors of the action.")
    keep: list[str] | None = Field(
        None, description="The keys of the result to keep in the run's state. By default all keys are kept."
    )


class CheckStep(StepBase):
    """Ends the run if the condition is false."""

    check: Condition = Field(description="The condition.")
    otherwise: str = Field(min_length=1, description="The message if the run ends here. It may contain expressions.")
    outcome: Literal["refused", "incomplete"] = Field(
        "refused",
        description="How the run ends: `refused` (exit 3, nothing was changed) or `incomplete` "
        "(exit 8, not everything succeeded).",
    )


class FinishStep(StepBase):
    """Ends the run early and successfully if the condition is true."""

    finish: Condition = Field(description="The condition.")
    message: str = Field(min_length=1, description="The message if the run ends here. It may contain expressions.")


class SetStep(StepBase):
    """Computes named values once. The result is the map of these values."""

    set_: dict[Name, Json] = Field(alias="set", min_length=1, description="Names and values, or expressions.")


class SleepStep(StepBase):
    """Waits for a time."""

    sleep: Seconds = Field(description="The number of seconds, or an expression.")


class PauseStep(StepBase):
    """Waits for a signal from outside, such as an approval. The result is `value` (the last) and `values` (all)."""

    pause: Name = Field(description="The signal's name.")
    accepts: ValueSpec | None = Field(None, description="The rules for the signal's value. By default any JSON value.")
    count: int | str = Field(1, description="The number of signals to wait for, or an expression.")
    about: dict[Name, Json] = Field(
        default_factory=dict,
        description="What the person who answers has to see, such as the plan to approve. Texts may have expressions.",
    )
    within: Seconds = Field(86_400, description="The number of seconds to wait, or an expression.")
    otherwise: str = Field(min_length=1, description="The message if the time ends. It may contain expressions.")
    outcome: Literal["refused", "incomplete"] = Field(
        "refused", description="How the run ends if the time ends: as in a check step."
    )


class PlaybookStep(StepBase):
    """Runs another playbook. The result is its outputs; with for_each it is `runs`, a list with one entry per item."""

    playbook: Id = Field(description="The ID of the other playbook.")
    with_: dict[str, Json] = Field(
        default_factory=dict,
        alias="with",
        description="Its inputs. Texts may contain expressions, which may read `item` and `index` with for_each.",
    )
    for_each: list[Json] | str | None = Field(
        None, description="Runs the playbook once for each item: a list, or an expression that gives one."
    )
    at_most: int = Field(1, ge=1, le=MAX_AT_MOST, description="How many of these runs may be active at a time.")
    on_error: list[ErrorHandler] = Field(
        default_factory=list,
        description="Handlers for the error of a run that did not complete. By default this run ends the same way.",
    )


STEP_KINDS: dict[str, type[StepBase]] = {
    "action": ActionStep,
    "check": CheckStep,
    "finish": FinishStep,
    "set": SetStep,
    "sleep": SleepStep,
    "pause": PauseStep,
    "playbook": PlaybookStep,
}


def _kind(step: Any) -> str | None:
    if isinstance(step, StepBase):
        return next(f"{key} step" for key in STEP_KINDS if type(step) is STEP_KINDS[key])
    kinds = [key for key in STEP_KINDS if isinstance(step, dict) and key in step]
    return f"{kinds[0]} step" if len(kinds) == 1 else None


Step = Annotated[
    Annotated[ActionStep, Tag("action step")]
    | Annotated[CheckStep, Tag("check step")]
    | Annotated[FinishStep, Tag("finish step")]
    | Annotated[SetStep, Tag("set step")]
    | Annotated[SleepStep, Tag("sleep step")]
    | Annotated[PauseStep, Tag("pause step")]
    | Annotated[PlaybookStep, Tag("playbook step")],
    Discriminator(_kind),
]


class Playbook(_Part):
    """A chain of steps with typed inputs and outputs."""

    playbook: Literal[1] = Field(description="The version of the format.")
    id: Id = Field(description="The playbook's name, unique in the pack.")
    title: str = Field(min_length=1, description="What the playbook does, in one line.")
    description: str = Field("", description="When to use the playbook, what it changes, and which files it writes.")
    key: str | None = Field(
        None,
        min_length=1,
        description="What the run is for, such as an alert's ID: an expression that reads inputs. A second start with "
        "the same key follows the first run.",
    )
    inputs: dict[Name, InputSpec] = Field(default_factory=dict, description="The inputs, by name.")
    steps: list[Step] = Field(min_length=1, max_length=MAX_STEPS, description="The steps, in order.")
    at_end: list[ActionStep] = Field(
        default_factory=list,
        max_length=MAX_AT_END,
        description="Read-only actions, such as notify, that run when the run ends in any way but by cancelling it. "
        "They may read `end`: status, event (the word of notify for it), exit_code, message, error and outputs. Their "
        "failures change nothing.",
    )
    outputs: dict[Name, Json] | str = Field(
        default_factory=dict,
        description="The outputs of a run, by name, or one expression that gives them all. An output is null if the "
        "run ended before it was known.",
    )
    parts: dict[Id, Playbook] = Field(
        default_factory=dict,
        description="The playbooks that its steps run, by ID. Loading a playbook from its file adds them.",
    )

    _lines: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def lines(self) -> dict[str, int]:
        """The line (from 1) of each place in the YAML, by JSON pointer; empty without a YAML text."""
        return self._lines

    @property
    def primary_input(self) -> str | None:
        """The name of the input that a command line reads from a file."""
        return next((name for name, spec in self.inputs.items() if spec.primary), None)

    def document(self) -> dict[str, Json]:
        """Return the playbook as plain JSON, without comments and without defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, without comments, order of keys and white space."""
        return digest(self.document())

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Playbook) and self.sha256 == other.sha256


def schema_document() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of the format, generated from the models."""
    schema = Playbook.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """Return the text of `playbook.schema.json`."""
    return json.dumps(schema_document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
