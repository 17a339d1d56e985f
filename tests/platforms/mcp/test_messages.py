"""`cfes mcp` as a process, message by message: mistakes of a client, cancelled calls, and its end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sandbox.server import RunningSandbox
from sandbox.settings import Pace
from tests.conftest import CAMPAIGN
from tests.platforms.mcp.agent import RawServer

PREVIEW = {"action": "MOVE", "destination": "JunkEmail", "search_params": CAMPAIGN}

# Less than any wait in these tests.
AT_ONCE = 15.0


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A sandbox whose jobs do not end by themselves."""
    return start_sandbox(manual_clock=False, pace=Pace(start_delay=0.1, discover_rate=2000, process_rate=0.01))


@pytest.fixture
def server(settings: dict[str, str]) -> Iterator[RawServer]:
    server = RawServer(settings, "--toolset", "all")
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


def new_job(server: RawServer) -> str:
    server.call(1, "preview_job", **PREVIEW)
    plan_hash = server.answer(1)["result"]["structuredContent"]["plan_hash"]
    server.call(2, "create_job", plan=plan_hash, wait_follows=True)
    return str(server.answer(2)["result"]["structuredContent"]["job_id"])


def test_mistakes_of_a_client_are_answered_and_the_session_goes_on(server: RawServer) -> None:
    server.call(1, "get_jobb", job_id="x")
    error = server.answer(1)["error"]
    assert (error["code"], "get_job" in error["message"]) == (-32602, True)
    server.write("this is not JSON")
    server.write("[" * 50_000)
    server.send("tools/call", {"name": "get_job", "arguments": [1]}, request=2)
    assert "error" in server.answer(2)
    server.send("resources/list", request=3)
    assert server.answer(3)["error"]["code"] == -32601
    server.call(4, "get_job", job_id="x" * (5 << 20))
    refused = server.answer(4)["result"]
    assert refused["isError"]
    assert refused["structuredContent"]["error"]["applied"] == "no"
    server.call(5, "list_jobs")
    assert not server.answer(5)["result"]["isError"]
    code, log = server.end()
    assert code == 0
    assert "Traceback" not in log


def test_another_call_is_answered_while_one_waits_and_a_cancelled_wait_ends(server: RawServer) -> None:
    job_id = new_job(server)
    server.call(3, "wait_for_job", job_id=job_id, timeout_seconds=40)
    server.call(4, "get_job", job_id=job_id)
    assert server.answer(4)["result"]["structuredContent"]["job_id"] == job_id
    server.send("notifications/cancelled", {"requestId": 3, "reason": "enough"})
    server.call(5, "get_job", job_id=job_id)
    assert server.answer(5)["result"]["structuredContent"]["status"] not in ("CANCELLED", "COMPLETED")
    begun = time.monotonic()
    assert server.end()[0] == 0
    assert time.monotonic() - begun < AT_ONCE


def test_a_client_that_leaves_during_a_wait_leaves_no_process(server: RawServer, sandbox: RunningSandbox) -> None:
    job_id = new_job(server)
    server.call(3, "wait_for_job", job_id=job_id, timeout_seconds=40)
    while "progressToken" not in str(server.receive()):
        pass
    begun = time.monotonic()
    assert server.end()[0] == 0
    assert time.monotonic() - begun < AT_ONCE
    # The job is left as it is.
    [job] = sandbox.state.truth()["jobs"]
    assert job["status"] != "CANCELLED"


def test_sigterm_ends_the_server_though_its_input_is_open(server: RawServer) -> None:
    server.call(3, "test_connection")
    server.answer(3)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.ended()[0] == 128 + signal.SIGTERM
    assert time.monotonic() - begun < AT_ONCE


def test_a_run_that_was_left_is_continued_by_the_next_session(server: RawServer, settings: dict[str, str]) -> None:
    server.call(1, "run_playbook", playbook="stop-and-report", inputs={"job_id": new_job(server)})
    run_id = server.answer(1)["result"]["structuredContent"]["run_id"]
    server.process.kill()
    server.ended()
    following = RawServer(settings)
    for request in range(10, 200):
        following.call(request, "show_run", run_id=run_id)
        run = following.answer(request)["result"]["structuredContent"]
        if run["status"] in ("completed", "incomplete", "failed", "refused"):
            break
        threading.Event().wait(0.05)
    assert run["status"] == "completed", run
    assert following.end()[0] == 0
