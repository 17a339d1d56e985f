"""The time limit of the function is kept in AWS's runtime client against a slow service."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.scripted import ACCOUNT, JOB_ID, TOKEN, envelope, job
from tests.platforms.lambda_runtime import Answer, LambdaRuntime

LIMITS = (1, 2, 3, 5, 10, 15)
ANSWER_SECONDS = (0.1, 0.5, 1.0, 3.0)

# Cases with many polls, and with none within the limit.
SHORT = [(1, 0.1), (1, 3.0)]
CASES = [
    case if case in SHORT else pytest.param(*case, marks=pytest.mark.exhaustive)
    for case in itertools.product(LIMITS, ANSWER_SECONDS)
]

POLL = {"action": "wait-for-job", "params": {"job_id": JOB_ID, "timeout_seconds": 0}}
WAIT = {"action": "wait-for-job", "params": {"job_id": JOB_ID, "timeout_seconds": 3600}}


@contextmanager
def slow_service(seconds: float) -> Iterator[str]:
    """Serve a running job for every request, delayed by `seconds` after the first answer."""
    ended = threading.Event()
    pauses = itertools.chain([0.0], itertools.repeat(seconds))
    running = job(status="PROCESSING", total_messages_discovered=500, messages_pending=400, messages_successful=100)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            body = json.dumps(envelope(running)).encode()
            ended.wait(next(pauses))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def environment(url: str, state: Path) -> dict[str, str]:
    return {
        "CLOUDFLARE_API_TOKEN": TOKEN,
        "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
        "CLOUDFLARE_BASE_URL": url,
        "CFES_STATE_DIR": str(state),
        "CFES_LOG": "off",
    }


@pytest.fixture(scope="module")
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[int, float], Answer]]:
    """The answer for each limit and service. All run at once, because they mostly wait."""
    state = tmp_path_factory.mktemp("state", numbered=True)
    state.chmod(0o700)
    cases = itertools.product(LIMITS, ANSWER_SECONDS) if request.config.getoption("--exhaustive") else SHORT
    with ExitStack() as stack:
        runtimes = {
            (limit, seconds): stack.enter_context(LambdaRuntime(environment(url, state)))
            for limit, seconds in cases
            for url in [stack.enter_context(slow_service(seconds))]
        }
        with ThreadPoolExecutor(len(runtimes)) as pool:
            # A first call starts each process and loads all modules.
            list(pool.map(lambda runtime: runtime.invoke(POLL, 60), runtimes.values()))
            yield dict(pool.map(lambda case: (case, runtimes[case].invoke(WAIT, case[0])), runtimes))


@pytest.mark.parametrize(("limit", "seconds"), CASES)
def test_a_wait_ends_before_the_function_limit(
    limit: int, seconds: float, answers: dict[tuple[int, float], Answer]
) -> None:
    answer = answers[limit, seconds]
    assert answer.seconds < limit, answer
    if seconds > 0.7 * limit:
        assert answer.kind == "error"
        assert answer.body["errorType"] in ("NotReceived", "NetworkFailure", "DeadlineExceeded"), answer
        document: dict[str, Any] = json.loads(answer.body["errorMessage"])["error"]
        assert (document["applied"], document["retryable"]) == ("no", True)
        return
    assert answer.kind == "response", answer
    assert (answer.body["done"], answer.body["resume"]["job_id"]) == (False, JOB_ID)
    assert answer.body["progress"]["processed"] == 100
