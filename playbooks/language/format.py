"""What a playbook may say: the YAML format as strict models, and its JSON Schema.

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

TypeName = Literal["string", "integer", "number", "boolean", "object", "array", "null"]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Condition: TypeAlias = bool | str
Seconds: TypeAlias = int | float | str


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_alias=True)


class ValueSpec(_Part):
    """What a value must look like: a subset of JSON Schema, with its names and meanings."""

    type: TypeName | list[TypeName] = Field(description="The JSON type, or a list of the types allowed.")
    description: str = Field("", description="What the value is, with its unit.")
    enum: list[Json] | None = Field(None, min_length=1, description="The values allowed.")
    minimum: int | float | None = Field(None, description="The smallest number allowed.")
    maximum: int | float | None = Field(None, description="The largest number allowed.")
    min_length: int | None = Field(None, alias="minLength", ge=0, description="The least number of characters.")
    max_length: int | None = Field(None, alias="maxLength", ge=0, description="The greatest number of characters.")
    pattern: str | None = Field(None, description="A regular expression that is found in the text.")
    min_items: int | None = Field(None, alias="minItems", ge=0, description="The least number of items.")
    max_items: int | None = Field(None, alias="maxItems", ge=0, description="The greatest number of items.")
    items: ValueSpec | None = Field(None, description="What each item of an array must look like.")
    required: list[str] | None = Field(None, description="The keys that an object must have. It may have others.")
    properties: dict[str, ValueSpec] | None = Field(None, description="What the values of an object's keys look like.")

    def json_schema(self) -> dict[str, Json]:
        """The same as a JSON Schema."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"primary": True, "default": True, "title": True}
        )


class InputSpec(ValueSpec):
    """One input of the playbook. Without a `default` it must be given; `default: null` makes it optional."""

    title: str = Field("", description="A short name for forms.")
    primary: bool = Field(False, description="The input that a command line takes as a file (`--input FILE`).")
    default: Json = Field(None, description="The value if none is given. null: there may be none.")

    @property
    def has_default(self) -> bool:
        """Whether the YAML says a default; null is one."""
        return "default" in self.model_fields_set


class Retry(_Part):
    """Run the step again, with the same parameters, after a pause."""

    times: int = Field(ge=1, le=100, description="How often at most.")
    after: Seconds = Field(
        description="Seconds to sleep before, or an expression for them: {{ error.retry_after_seconds or 30 }}."
    )


class ErrorHandler(_Part):
    """What to do when the action fails with an error of this type. The first handler that fits is taken."""

    type: str | list[str] = Field(description='The `type` of the error, a list of them, or "*" for any.')
    when: Condition = Field(True, description="Takes the handler only if this holds; reads `error`.")
    retry: Retry | None = Field(None, description="Try again first.")
    do: Literal["stop", "continue"] = Field(
        "stop", description="Afterwards: stop the run as failed, or go on with the next step without a result."
    )

    @property
    def types(self) -> list[str]:
        """The error types it takes; "*" takes any."""
        return [self.type] if isinstance(self.type, str) else self.type


class Repeat(_Part):
    """Run the action again and again until its result says that it is done."""

    until: Condition = Field(description="Ends the repeating; reads `result` and `attempt`.")
    sleep: Seconds = Field(description="Seconds between two runs, or an expression; reads `result`.")
    limit: int = Field(ge=1, le=MAX_REPEATS, description="The greatest number of runs; then the step has failed.")


class _Step(_Part):
    id: Id = Field(description="The name of the step, unique in the playbook: `steps.<id>` is its result.")
    title: str = Field("", description="What the step does, for people who watch.")
    when: Condition = Field(True, description="Skips the step unless this holds.")


class ActionStep(_Step):
    """Runs an action of the pack."""

    action: str = Field(min_length=1, description="The action's ID, such as search-messages.")
    with_: dict[str, Json] = Field(
        default_factory=dict,
        alias="with",
        description="The action's parameters. Texts may hold expressions; `omit` as a whole value leaves the key out.",
    )
    repeat: Repeat | None = Field(None, description="Repeats the action; `previous` is the last result, or null.")
    on_error: list[ErrorHandler] = Field(default_factory=list, description="What to do when the action fails.")
    keep: list[str] | None = Field(
        None, description="The keys of the result that are kept. Without it all are, and stand in the journal."
    )


class CheckStep(_Step):
    """Ends the run unless the condition holds."""

    check: Condition = Field(description="The condition.")
    otherwise: str = Field(min_length=1, description="Says to people why the run ends here; may hold expressions.")
    outcome: Literal["refused", "incomplete"] = Field(
        "refused",
        description="How the run ends: `refused` (exit 3: a guardrail said no), or `incomplete` "
        "(exit 8: it was carried out, but not everything succeeded).",
    )


class FinishStep(_Step):
    """Ends the run early and successfully if the condition holds."""

    finish: Condition = Field(description="The condition.")
    message: str = Field(min_length=1, description="Says to people why there is nothing more to do.")


class SetStep(_Step):
    """Computes values once and gives them names: its result is the map of them."""

    set_: dict[Name, Json] = Field(alias="set", min_length=1, description="Names and values, or expressions.")


STEP_KINDS: dict[str, type[_Step]] = {"action": ActionStep, "check": CheckStep, "finish": FinishStep, "set": SetStep}


def _kind(step: Any) -> str | None:
    if isinstance(step, _Step):
        return next(f"{key} step" for key in STEP_KINDS if type(step) is STEP_KINDS[key])
    kinds = [key for key in STEP_KINDS if isinstance(step, dict) and key in step]
    return f"{kinds[0]} step" if len(kinds) == 1 else None


Step = Annotated[
    Annotated[ActionStep, Tag("action step")]
    | Annotated[CheckStep, Tag("check step")]
    | Annotated[FinishStep, Tag("finish step")]
    | Annotated[SetStep, Tag("set step")],
    Discriminator(_kind),
]


class Playbook(_Part):
    """A chain of steps with typed inputs and outputs."""

    playbook: Literal[1] = Field(description="The version of the format.")
    id: Id = Field(description="The playbook's name, unique in the pack.")
    title: str = Field(min_length=1, description="What it does, in one line.")
    description: str = Field("", description="When to use it, what it changes, what it leaves behind.")
    inputs: dict[Name, InputSpec] = Field(default_factory=dict, description="What the playbook is given.")
    steps: list[Step] = Field(min_length=1, max_length=MAX_STEPS, description="What is done, in this order.")
    outputs: dict[Name, Json] = Field(
        default_factory=dict, description="What the run gives back; null where a run ended before it could be known."
    )

    _lines: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def lines(self) -> dict[str, int]:
        """The line (from 1) of each place in the YAML, by JSON pointer; empty if it was not loaded from text."""
        return self._lines

    @property
    def primary_input(self) -> str | None:
        """The name of the input that comes as a document of its own."""
        return next((name for name, spec in self.inputs.items() if spec.primary), None)

    def document(self) -> dict[str, Json]:
        """The playbook as plain JSON, as it was written: without comments and without defaults filled in."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content: comments, order of keys and white space between them do not count."""
        return digest(self.document())

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Playbook) and self.sha256 == other.sha256


def schema_document() -> dict[str, Json]:
    """The JSON Schema (2020-12) of the format, generated from the models."""
    schema = Playbook.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The JSON Schema as it stands in `playbook.schema.json`."""
    return json.dumps(schema_document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
