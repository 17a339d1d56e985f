"""Processes that create jobs, each through a middlebox of its own, and the points at which a test can kill them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.server import RunningSandbox
from tests.command_server import Command
from tests.conftest import CAMPAIGN
from tests.middlebox import LIST_AFTER_CREATE, Halt, Middlebox, Point
from tests.secrets_watch import see_streams

LIST, COUNT, CREATE, CANCEL = "listBulkJobs", "searchMessages", "createBulkJob", "cancelBulkJob"

# The list of the sandbox shows a job at once unless a test delays it, so a short lag saves real time.
LAG_SECONDS = "0.1"

# The message limit adds a count between the first list request and the create.
# No job starts in these tests: a create that polls its job would wait for a minute.
UNKEYED = {"search_params": CAMPAIGN, "destination": "JunkEmail", "max_messages": 1000, "wait_follows": True}
MOVE = {**UNKEYED, "idempotency_key": "case-42"}
RELEASE = {"search_params": {**CAMPAIGN, "sender": "statements@partner-bank.example"}, "idempotency_key": "case-43"}


class Worker:
    """A process that creates a job through a middlebox of its own, which holds calls at the halts.

    stdout: the file descriptor for the result; None for a pipe that this object reads.
    """

    def __init__(
        self, server: str, box: Middlebox, environment: dict[str, str], action: str, stdout: int | None
    ) -> None:
        self.box = box
        environment = {
            **environment,
            "CLOUDFLARE_BASE_URL": box.base_url,
            "CFES_LISTING_LAG_SECONDS": LAG_SECONDS,
        }
        (child_stdin, stdin), (out, result_end), (errors, error_end) = os.pipe(), os.pipe(), os.pipe()
        self.command = Command(
            server, ["run", action], environment, [child_stdin, result_end if stdout is None else stdout, error_end]
        )
        for end in (child_stdin, result_end, error_end):
            os.close(end)
        self.stdin, self.stdout, self.stderr = os.fdopen(stdin, "wb"), os.fdopen(out, "rb"), os.fdopen(errors, "rb")

    def send(self, params: dict[str, Any]) -> Worker:
        self.stdin.write(json.dumps(params).encode())
        self.stdin.close()
        return self

    def kill_and_read(self) -> bytes:
        """Kill the process and return its output."""
        self.command.kill()
        return self._written()

    def result(self) -> dict[str, Any]:
        out = self._written()
        assert self.command.exit_code() == 0, out
        document: dict[str, Any] = json.loads(out)
        return document

    def _written(self) -> bytes:
        out, errors = self.stdout.read(), self.stderr.read()
        see_streams("a worker's output", out, errors)
        return out

    def close(self) -> None:
        for each in (self.command, self.stdin, self.stdout, self.stderr):
            each.close()


Start = Callable[..., Worker]
Call = Callable[[dict[str, Any]], dict[str, Any]]


def active_jobs(sandbox: RunningSandbox) -> list[str]:
    return [job["job_id"] for job in sandbox.state.truth()["jobs"] if job["status"] != "CANCELLED"]


def effects(sandbox: RunningSandbox) -> list[str]:
    return [effect["operation"] for effect in sandbox.state.truth()["effects"]]


@dataclass(frozen=True)
class Boundary:
    """Where a call is when its process is killed. late: the held request still reaches the service afterwards.

    made: whether a job exists when the same call is run again.
    """

    operation: str
    point: Point
    late: bool = False
    made: bool = True

    def kill(self, start: Start, params: dict[str, Any], action: str = "create-move-job") -> None:
        halt = Halt(self.operation, self.point)
        worker = start(halt, action=action).send(params)
        halt.wait()
        assert worker.kill_and_read() == b""
        if self.late:
            halt.resume()
        else:
            halt.lose()


BOUNDARIES = {
    "the first list request is sent": Boundary(LIST, "request", made=False),
    "the first list request is answered": Boundary(LIST, "answer", made=False),
    "the count request is sent": Boundary(COUNT, "request", made=False),
    "the count request is answered": Boundary(COUNT, "answer", made=False),
    "the create is sent and lost": Boundary(CREATE, "request", made=False),
    "the create is sent and arrives after the kill": Boundary(CREATE, "request", late=True),
    "the create is applied but not answered": Boundary(CREATE, "answer"),
    "the check for duplicates is sent": Boundary(LIST_AFTER_CREATE, "request"),
    "the check for duplicates is answered": Boundary(LIST_AFTER_CREATE, "answer"),
}
