"""The activity that runs an action, without a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from core.errors import OutcomeUnknown, PackError, RateLimited
from playbooks.drivers.temporal.activity import ActionActivity
from playbooks.drivers.temporal.messages import LARGEST_BYTES, ActionAnswer, ActionCall, Pace
from tests.clock import FakeClock

Act = Callable[[dict[str, Any]], dict[str, Any]]


def run(act: Act, environment: ActivityEnvironment | None = None, **call: Any) -> ActionAnswer:
    """Run an action that can be continued in the activity."""
    given = {"action": "wait", "params": {}, "directory": "", "resumable": True, "pace": Pace(short_pause=1), **call}

    def run_action(action_id: str, params: dict[str, Any], **_: object) -> dict[str, Any]:
        return act(params)

    activity = ActionActivity(run_action, FakeClock())
    answer: ActionAnswer = (environment or ActivityEnvironment()).run(activity.run, ActionCall(**given))
    return answer


def polls(*answers: dict[str, Any] | PackError) -> Act:
    """Return an action with these answers. A number of polls means: not done yet."""
    left = list(answers)

    def act(params: dict[str, Any]) -> dict[str, Any]:
        answer = left.pop(0)
        if isinstance(answer, PackError):
            raise answer
        return answer

    return act


def unfinished(number: int) -> dict[str, Any]:
    return {"done": False, "resume": {"polls": number}, "next_poll_seconds": 0}


def test_a_poll_that_failed_and_changed_nothing_keeps_the_result_before_it() -> None:
    answer = run(polls(unfinished(1), unfinished(2), RateLimited("slow down")))
    assert answer.result == unfinished(2)


def test_a_poll_that_may_have_changed_something_fails_the_activity() -> None:
    with pytest.raises(ApplicationError) as failed:
        run(polls(unfinished(1), OutcomeUnknown("the cancel was not answered")))
    assert failed.value.non_retryable
    assert failed.value.details[0]["error"]["applied"] == "unknown"


def test_a_first_call_that_fails_fails_the_activity() -> None:
    with pytest.raises(ApplicationError) as failed:
        run(polls(RateLimited("slow down", retry_after_seconds=30)))
    assert (failed.value.type, failed.value.details[0]["exit_code"]) == ("RateLimited", 6)
    assert failed.value.details[0]["error"]["retry_after_seconds"] == 30


def test_a_worker_that_shuts_down_makes_no_further_poll() -> None:
    environment = ActivityEnvironment()

    def act(params: dict[str, Any]) -> dict[str, Any]:
        environment.worker_shutdown()
        return unfinished(1)

    assert run(act, environment).result == unfinished(1)


def test_an_action_that_can_not_be_continued_runs_once() -> None:
    assert run(polls(unfinished(1)), resumable=False).result == unfinished(1)


def test_a_result_that_the_server_would_refuse_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(ApplicationError, match="Temporal does not store it") as failed:
        run(polls({"done": True, "rows": "x" * LARGEST_BYTES}))
    assert "max_result_bytes" in failed.value.details[0]["error"]["help"]


def test_an_exception_that_is_not_the_packs_is_a_defect_and_not_retried() -> None:
    def act(params: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("no such field")

    with pytest.raises(ApplicationError) as failed:
        run(act)
    assert (failed.value.type, failed.value.non_retryable) == ("InternalError", True)


def test_a_heartbeat_is_sent_while_the_action_runs() -> None:
    beaten = threading.Event()
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beaten.set()
    assert run(lambda _: {"beaten": beaten.wait(timeout=30)}, environment, pace=Pace(heartbeat=0.03)).result["beaten"]


def test_the_runs_directory_is_private_and_a_url_is_no_directory(tmp_path: Path) -> None:
    run(polls({}), directory=str(tmp_path / "runs" / "run-1"))
    assert (tmp_path / "runs" / "run-1").stat().st_mode & 0o777 == 0o700
    run(polls({}), directory="s3://evidence/run-1")
    with pytest.raises(ApplicationError, match="can't be created on this machine"):
        run(polls({}), directory="/dev/null/run-1")
