"""The YAML format of a playbook's test file as strict models, and its JSON Schema.

`python -m platforms.playbook_cases.format` writes the JSON Schema of the format, for editors, to
`playbooks/playbook-test.schema.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.json_values import Json
from playbooks.engine.state import Status
from playbooks.language.format import MAX_PAUSE_SECONDS

SCHEMA_PATH = Path(__file__).parents[2] / "playbooks" / "playbook-test.schema.json"

MAX_CASES = 100


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FaultSpec(BaseModel):
    """A fault of the sandbox. Further keys are the fields of its kind, such as `status` or `seconds`."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    operation: str = Field("*", description="The operation that fails, such as createBulkJob; * is every call.")
    kind: str = Field(description="The kind of the fault, such as drop_after (the answer is lost).")
    times: int | None = Field(1, ge=1, description="The number of calls that fail; null: until the step has ended.")
    after: int = Field(0, ge=0, description="The number of calls that succeed before.")

    def fields(self) -> dict[str, Any]:
        """Return every field, as the sandbox takes them."""
        return {"operation": self.operation, **self.model_dump(exclude_unset=True)}


class ErrorSpec(Part):
    """The error that an action reports in place of running."""

    type: str = Field(description="The type of an error of the pack, such as NotFound.")
    message: str = Field("made up by the test", description="The message.")


class StepDay(Part):
    """What happens while a step runs its action."""

    faults: list[FaultSpec] = Field(default_factory=list, description="Faults from the start of the step to its end.")
    advance: float = Field(0, ge=0, le=MAX_PAUSE_SECONDS, description="Seconds that pass before its action begins.")
    crash: Literal["before", "after"] | None = Field(
        None, description="The process ends before or after the action's first call, and the run is resumed."
    )
    result: dict[str, Json] | None = Field(None, description="The action's result; the action is not run.")
    error: ErrorSpec | None = Field(None, description="The action's error; the action is not run.")


class SignalSpec(Part):
    """A signal for a pause. A pause without one waits until its time ends."""

    name: str = Field(description="The signal's name, such as approval, or job/approval.")
    value: Json = Field(None, description="Its value.")
    after: float = Field(0, ge=0, le=MAX_PAUSE_SECONDS, description="Seconds that pass before it is sent.")


class Expect(Part):
    """What the case expects. A key that is left out is not compared."""

    status: Status | None = Field(None, description="How the run ends.")
    exit_code: int | None = Field(None, description="The exit code of the run.")
    message: str | None = Field(None, description="A part of the message of an early end.")
    outputs: dict[str, Json] = Field(default_factory=dict, description="Outputs; a map may leave keys out.")
    error: dict[str, Json] | None = Field(None, description="Fields of the error, such as its `type`.")
    steps: dict[str, Literal["succeeded", "failed", "skipped", "not reached"]] = Field(
        default_factory=dict, description="How steps end, by path, such as job/create."
    )
    jobs: int | None = Field(None, ge=0, description="The number of jobs that the sandbox has at the end.")
    moved: int | None = Field(None, ge=0, description="The number of messages that were moved in the sandbox.")
    released: int | None = Field(None, ge=0, description="The number of messages that were released in the sandbox.")
    calls: dict[str, int] = Field(default_factory=dict, description="The number of calls, by operation.")
    that: list[str] = Field(
        default_factory=list,
        description="Conditions as expressions. They read status, exit_code, message, outputs, error, steps, jobs, "
        "moved, released and calls.",
    )


class Case(Part):
    """One run of the playbook."""

    name: str = Field(min_length=1, max_length=200, description="What the playbook does in this case.")
    inputs: dict[str, Json] = Field(
        default_factory=dict, description="Inputs. A map is merged into the map of the file's `inputs`."
    )
    sandbox: dict[str, Json] = Field(default_factory=dict, description="Settings that differ from the file's.")
    policy: dict[str, Json] | str | None = Field(None, description="The policy: a map, or the path of a file.")
    requested_by: str | None = Field(None, description="The requester, as in CFES_REQUESTED_BY.")
    token: Literal["full", "read", "revoked"] = Field("full", description="The rights of the API token.")
    earlier_runs: int = Field(
        0, ge=0, le=10, description="How often the playbook runs before, with the same inputs and without faults."
    )
    faults: list[FaultSpec] = Field(default_factory=list, description="Faults from the start of the run.")
    steps: dict[str, StepDay] = Field(
        default_factory=dict, description="What happens in a step, by its ID, or by its path, such as job/create."
    )
    signals: list[SignalSpec] = Field(default_factory=list, description="The signals, in order.")
    expect: Expect = Field(description="What the case expects.")


class TestFile(Part):
    """The test cases of one playbook."""

    __test__ = False

    test: Literal[1] = Field(description="The version of the format.")
    playbook: str = Field(min_length=1, description="A shipped playbook's ID, or the path of a file beside this one.")
    inputs: dict[str, Json] = Field(
        default_factory=dict, description='The inputs of every case. "@FILE" reads a file, relative to this one.'
    )
    sandbox: dict[str, Json] = Field(
        default_factory=dict,
        description="The sandbox of every case: messages, campaign_size, seed and other settings. `alert`: the record "
        "whose campaign it has; by default the playbook's main input. null for none.",
    )
    cases: list[Case] = Field(min_length=1, max_length=MAX_CASES, description="The cases.")


def schema_document() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of the format, generated from the models."""
    schema = TestFile.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """Return the text of `playbook-test.schema.json`."""
    return json.dumps(schema_document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
