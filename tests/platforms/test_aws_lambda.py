"""The AWS Lambda handler: one event in, one result out, within the time limit of the function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import (
    AuthenticationFailed,
    BroadSearchRefused,
    DeadlineExceeded,
    InlineTooLarge,
    PackError,
    ParameterError,
)
from platforms import aws_lambda
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN


class Context:
    """A Lambda context with this many seconds left on a clock."""

    def __init__(self, seconds: float, clock: FakeClock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._ends = self._clock.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - self._clock.monotonic()) * 1000)


@pytest.fixture
def connected(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}


@pytest.mark.usefixtures("connected")
def test_an_event_runs_its_action(sandbox: RunningSandbox) -> None:
    result = aws_lambda.handler({"action": "create-move-job", "params": MOVE}, Context(60))
    assert result["created"]
    assert [job["job_id"] for job in sandbox.state.truth()["jobs"]] == [result["job_id"]]


@pytest.mark.usefixtures("connected")
def test_a_wait_ends_before_the_function_limit_and_can_be_resumed(sandbox: RunningSandbox) -> None:
    clock = FakeClock(moved=sandbox.state.advance)
    job_id = aws_lambda.run({"action": "create-move-job", "params": MOVE}, Context(60), clock)["job_id"]
    event = {"action": "wait-for-job", "params": {"job_id": job_id, "timeout_seconds": 3600}}
    context = Context(1.5, clock)
    result = aws_lambda.run(event, context, clock)
    assert not result["done"]
    assert context.get_remaining_time_in_millis() >= 300
    resumed = {"job_id": job_id, "timeout_seconds": 3600, "resume": result["resume"]}
    assert aws_lambda.run({"action": "wait-for-job", "params": resumed}, Context(900, clock), clock)["done"]


@pytest.mark.parametrize(
    "event",
    [None, [], {}, {"action": 5}, {"action": "get-job", "parameters": {}}, {"action": "get-job", "params": []},
     {"action": "no-such-action"}, {"action": "../get_job"}],
)  # fmt: skip
def test_an_invalid_event_is_refused(event: Any) -> None:
    with pytest.raises(ParameterError):
        aws_lambda.handler(event, Context(60))


@pytest.mark.usefixtures("connected")
def test_an_error_keeps_its_type_and_has_the_document_as_its_message() -> None:
    with pytest.raises(BroadSearchRefused) as caught:
        aws_lambda.handler({"action": "release-job", "params": {"search_params": {}}}, Context(60))
    assert json.loads(str(caught.value))["error"]["type"] == "BroadSearchRefused"


@pytest.mark.usefixtures("connected")
def test_an_event_without_enough_time_starts_nothing(sandbox: RunningSandbox) -> None:
    with pytest.raises(DeadlineExceeded):
        aws_lambda.handler({"action": "create-move-job", "params": MOVE}, Context(0.5))
    assert sandbox.state.truth()["jobs"] == []


def test_missing_credentials_are_an_authentication_failure() -> None:
    with pytest.raises(AuthenticationFailed):
        aws_lambda.handler({"action": "list-jobs"}, Context(60))


def test_an_action_without_a_connection_needs_no_credentials(tmp_path: Any) -> None:
    params = {"destination": str(tmp_path / "report.html"), "job": {"status": "COMPLETED"}}
    assert aws_lambda.handler({"action": "render-report", "params": params}, Context(60))["file"]["bytes"] > 0


@pytest.mark.usefixtures("connected")
def test_an_error_contains_no_secret(sandbox: RunningSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.state.faults.add("*", "address_denied", times=None)
    with pytest.raises(PackError) as caught:
        aws_lambda.handler({"action": "list-jobs", "params": {}}, Context(60))
    assert sandbox.token not in str(caught.value) + capsys.readouterr().err


@pytest.mark.usefixtures("connected")
def test_a_result_over_the_lambda_size_limit_is_refused(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(moved=sandbox.state.advance)
    job_id = aws_lambda.run({"action": "create-move-job", "params": MOVE}, Context(60), clock)["job_id"]
    wait = {"job_id": job_id, "timeout_seconds": 800}
    assert aws_lambda.run({"action": "wait-for-job", "params": wait}, Context(900, clock), clock)["done"]
    inline = {"action": "export-job-messages", "params": {"job_id": job_id, "inline_limit_bytes": 50_000_000}}
    assert aws_lambda.run(inline, Context(60), clock)["complete"]
    monkeypatch.setattr(aws_lambda, "LARGEST_RESULT_BYTES", 5000)
    with pytest.raises(InlineTooLarge, match="6 MB") as caught:
        aws_lambda.run(inline, Context(60), clock)
    assert "store" in caught.value.help
    # A limit set by the caller is named in the error.
    inline["params"] = {"job_id": job_id, "inline_limit_bytes": 3000}
    with pytest.raises(InlineTooLarge, match=r"inline_limit_bytes \(3000\)"):
        aws_lambda.run(inline, Context(60), clock)
    monkeypatch.setattr(aws_lambda, "LARGEST_RESULT_BYTES", 100)
    with pytest.raises(InlineTooLarge, match="bytes, and AWS Lambda returns at most 6 MB"):
        aws_lambda.run({"action": "get-job", "params": {"job_id": job_id}}, Context(60), clock)
