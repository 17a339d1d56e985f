"""Processes that create jobs, each on its own way to the service, and the boundaries at which one can be killed."""

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

LOOK, COUNT, CREATE, CANCEL = "listBulkJobs", "searchMessages", "createBulkJob", "cancelBulkJob"

# The sandbox's listing shows a job at once, but where a test says otherwise: real time is not spent on patience.
LAG_SECONDS = "0.3"

# A cap, so that there is a count between the first look and the create.
# No job begins while these tests look: a create that polls it would wait for a minute.
UNKEYED = {"search_params": CAMPAIGN, "destination": "JunkEmail", "max_messages": 1000, "wait_follows": True}
MOVE = {**UNKEYED, "idempotency_key": "case-42"}
RELEASE = {"search_params": {**CAMPAIGN, "sender": "statements@partner-bank.example"}, "idempotency_key": "case-43"}


class Worker:
    """One process that creates a job, and its own way to the service with the halts on it.

    stdout: where it writes its result; None for a pipe that this object reads.
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
        (given, stdin), (out, told), (errors, said) = os.pipe(), os.pipe(), os.pipe()
        self.command = Command(server, ["run", action], environment, [given, told if stdout is None else stdout, said])
        for end in (given, told, said):
            os.close(end)
        self.stdin, self.stdout, self.stderr = os.fdopen(stdin, "wb"), os.fdopen(out, "rb"), os.fdopen(errors, "rb")

    def given(self, params: dict[str, Any]) -> Worker:
        self.stdin.write(json.dumps(params).encode())
        self.stdin.close()
        return self

    def killed(self) -> bytes:
        """Kill it. Return what it had written before that."""
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


def alive(sandbox: RunningSandbox) -> list[str]:
    return [job["job_id"] for job in sandbox.state.truth()["jobs"] if job["status"] != "CANCELLED"]


def effects(sandbox: RunningSandbox) -> list[str]:
    return [effect["operation"] for effect in sandbox.state.truth()["effects"]]


@dataclass(frozen=True)
class Boundary:
    """Where the call is when its process is killed. late: what is held reaches the service all the same, afterwards.

    made: whether a job stands when the same call is run again.
    """

    operation: str
    point: Point
    late: bool = False
    made: bool = True

    def kill(self, start: Start, params: dict[str, Any], action: str = "create-move-job") -> None:
        halt = Halt(self.operation, self.point)
        worker = start(halt, action=action).given(params)
        halt.wait()
        assert worker.killed() == b""
        if self.late:
            halt.resume()
        else:
            halt.lose()


BOUNDARIES = {
    "the first look is asked": Boundary(LOOK, "request", made=False),
    "the first look is answered": Boundary(LOOK, "answer", made=False),
    "the count is asked": Boundary(COUNT, "request", made=False),
    "the count is answered": Boundary(COUNT, "answer", made=False),
    "the create is sent, and gets lost": Boundary(CREATE, "request", made=False),
    "the create is sent, and arrives after its sender's death": Boundary(CREATE, "request", late=True),
    "the create has taken effect, unanswered": Boundary(CREATE, "answer"),
    "the look for twins is asked": Boundary(LIST_AFTER_CREATE, "request"),
    "the look for twins is answered": Boundary(LIST_AFTER_CREATE, "answer"),
}
