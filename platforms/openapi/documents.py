"""The bodies and answers of the service that are not parameters or results of an action."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.json_model import JsonModel, StrictModel

# A run without a person's answer in time ends as refused.
RunStatus = Literal["running", "sleeping", "waiting", "completed", "refused", "incomplete", "failed", "cancelled"]


class ErrorProblem(JsonModel):
    """A problem in a request."""

    pointer: str = Field(description="Its place as a JSON pointer (RFC 6901).")
    message: str


class ErrorObject(JsonModel):
    """An error, in the shape that every platform returns."""

    type: str = Field(description="The error type, such as RateLimited.")
    message: str = Field(description="What happened.")
    help: str = Field(description="What to do next.")
    retryable: bool = Field(description="Whether the same call may succeed later.")
    applied: Literal["no", "unknown", "yes"] = Field(description="Whether anything was changed in Cloudflare.")
    http_status: int | None = Field(description="The status that the remote API returned.")
    api_errors: list[dict[str, Any]] = Field(description="The errors that the remote API returned.")
    ray_id: str | None = Field(description="The remote API's ID of the request, for Cloudflare's support.")
    job_id: str | None = Field(description="The job that the error is about.")
    retry_after_seconds: int | None = Field(description="Wait this long before the next call.")
    problems: list[ErrorProblem] = Field(default_factory=list, description="The problems of the request.")
    resume: dict[str, Any] | None = Field(None, description="The parameter with which the same call continues.")


class Problem(JsonModel):
    """A failure as application/problem+json (RFC 9457)."""

    type: str = Field(description="`urn:cfes:error:` and the error type.")
    title: str = Field(description="What the error type means.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened.")
    error: ErrorObject


class RunInputs(StrictModel):
    """The inputs of a run, by name. `GET /v1/playbooks` lists those of each playbook."""

    inputs: dict[str, Any] = Field(default_factory=dict, description="The inputs by name.")


class PlaybookSummary(JsonModel):
    """A playbook that the service can run."""

    id: str
    title: str
    description: str
    inputs: dict[str, Any] = Field(description="The JSON Schema of the inputs, as one object.")


class PlaybookList(JsonModel):
    """The playbooks of the service."""

    playbooks: list[PlaybookSummary]


class AwaitedSignal(JsonModel):
    """A signal that a run waits for."""

    signal: str = Field(description="The name to send it to. In a sub-playbook it has a slash: `job/approval`.")
    until: str = Field(description="The end of the wait, RFC 3339.")
    accepts: dict[str, Any] | None = Field(description="The JSON Schema of a valid value. null: any value.")
    count: int = Field(description="How many signals are needed.")
    received: int = Field(description="How many signals were received.")
    about: dict[str, Any] = Field(description="What the person who answers has to see. A plan needs an approval.")


class RunFile(JsonModel):
    """A file of a run."""

    name: str
    size: int = Field(description="In bytes.")


class FileList(JsonModel):
    """The files of a run."""

    files: list[RunFile]


class RunSummary(JsonModel):
    """A run in a list."""

    run_id: str
    playbook: str
    status: RunStatus
    at_step: str | None = Field(description="The current step. null: the run has ended.")
    started_at: str = Field(description="RFC 3339.")
    updated_at: str = Field(description="RFC 3339.")
    requested_by: str | None = Field(description="The caller who began the run.")


class Run(RunSummary):
    """A run: its status, the signals that it waits for, and how it ended."""

    waits_for: list[AwaitedSignal]
    outputs: dict[str, Any] = Field(description="The outputs of the playbook. Empty until the run has ended.")
    error: ErrorObject | None = Field(description="The error that ended the run. null: it has none.")
    message: str | None = Field(description="The text with which the playbook ended.")
    exit_code: int | None = Field(description="The exit code, as of `cfes playbook run`. null: it has not ended.")
    files: list[RunFile]


class RunList(JsonModel):
    """Runs, the newest first."""

    runs: list[RunSummary]


class SignalValue(StrictModel):
    """The value of a signal."""

    value: Any = Field(description="The value. For an approval: the token or the output of `cfes approve`.")


class CancelReason(StrictModel):
    """Why a run is cancelled."""

    reason: str | None = Field(None, max_length=1000, description="The reason, for the history of the run.")


class SignalReceipt(JsonModel):
    """A signal that was accepted. The run takes it when it continues."""

    run_id: str
    signal: str = Field(description="The full name of the signal.")


class CancelReceipt(JsonModel):
    """A run that is being cancelled."""

    run_id: str
    status: RunStatus


class AlertReceipt(JsonModel):
    """What was accepted of a batch of records, or of a webhook."""

    received: int = Field(description="The number of records.")
    test: bool = Field(False, description="Whether only a test record came. Nothing is stored then.")


class RefusedAlert(JsonModel):
    """An alert for which nothing was started, or a record that is no alert."""

    refused_at: str = Field(description="RFC 3339.")
    alert_id: str | None = Field(description="The AlertID. null: it has none.")
    rule_id: str | None = Field(description="The rule that matched. null: none did, or the record is no alert.")
    reason: str
    batch: str = Field(description="The batch that it came in.")
    line: int = Field(description="Its line in the batch.")


class RefusedAlertList(JsonModel):
    """The newest refused alerts."""

    total: int = Field(description="The number of all refused alerts.")
    refused: list[RefusedAlert] = Field(description="The newest ones, at most 1,000.")


class Health(JsonModel):
    """Whether the service works."""

    status: Literal["ok", "unavailable"]
    reason: str | None = Field(None, description="Why it is unavailable.")
