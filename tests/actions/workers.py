"""Processes that create jobs, each on its own way to the service, and the boundaries at which one can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.middlebox import TWINS, WAIT_SECONDS, Halt, Middlebox, Point

ROOT = Path(__file__).parent.parent.parent

LOOK, COUNT, CREATE, CANCEL = "listBulkJobs", "searchMessages", "createBulkJob", "cancelBulkJob"

# The sandbox's listing shows a job at once, but where a test says otherwise: real time is not spent on patience.
LAG_SECONDS = "0.3"

# A cap, so that there is a count between the first look and the create.
# No job begins while these tests look: a create that polls it would wait for a minute.
UNKEYED = {"search_params": CAMPAIGN, "destination": "JunkEmail", "max_messages": 1000, "wait_follows": True}
MOVE = {**UNKEYED, "idempotency_key": "case-42"}
RELEASE = {"search_params": {**CAMPAIGN, "sender": "statements@partner-bank.example"}, "idempotency_key": "case-43"}


class Worker:
    """One process that creates a job, and its own way to the service with the halts on it."""

    def __init__(self, box: Middlebox, environment: dict[str, str], action: str, stdout: int) -> None:
        self.box = box
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"actions.{action}"],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONWARNINGS": "error",
                **environment,
                "CLOUDFLARE_BASE_URL": box.base_url,
                "CFES_LISTING_LAG_SECONDS": LAG_SECONDS,
            },
        )

    def given(self, params: dict[str, Any]) -> Worker:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(params).encode())
        self.process.stdin.close()
        self.process.stdin = None
        return self

    def killed(self) -> tuple[bytes, bytes]:
        """What it had written by then."""
        assert self.process.poll() is None, "it had ended before it could be killed"
        self.process.kill()
        written = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == -9
        return written

    def result(self) -> dict[str, Any]:
        out, log = self.process.communicate(timeout=WAIT_SECONDS)
        assert self.process.returncode == 0, (out, log)
        document: dict[str, Any] = json.loads(out)
        return document


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

    def kill(self, start: Start, params: dict[str, Any], action: str = "create_move_job") -> None:
        halt = Halt(self.operation, self.point)
        worker = start(halt, action=action).given(params)
        halt.wait()
        out, _ = worker.killed()
        assert out == b""
        if self.late:
            halt.go_on()
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
    "the look for twins is asked": Boundary(TWINS, "request"),
    "the look for twins is answered": Boundary(TWINS, "answer"),
}
