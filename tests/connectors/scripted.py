"""A fake API with scripted responses, for responses that the sandbox does not give."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from tests.clock import FakeClock

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
TOKEN = "scripted-token-that-must-never-show"
PSEUDONYM_KEY = "pseudonym-key-that-must-never-show-0123456789"
JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def envelope(
    result: Any, *, success: bool = True, errors: Iterable[dict[str, Any]] = (), **extra: Any
) -> dict[str, Any]:
    return {"success": success, "errors": list(errors), "messages": [], "result": result, **extra}


def ok(result: Any, status: int = 200, headers: dict[str, str] | None = None, **extra: Any) -> httpx.Response:
    return httpx.Response(status, json=envelope(result, **extra), headers=headers)


def refused(
    status: int, code: int = 1000, message: str = "no", headers: dict[str, str] | None = None
) -> httpx.Response:
    body = envelope(None, success=False, errors=[{"code": code, "message": message}])
    return httpx.Response(status, json=body, headers=headers)


def job(**changes: Any) -> dict[str, Any]:
    return {
        "job_id": JOB_ID,
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail"},
        "search_params": {"sender": "a@phish.example"},
        "status": "PENDING",
        "created_at": "2026-11-20T16:02:35Z",
        "total_messages_discovered": 0,
        "messages_pending": 0,
        "messages_successful": 0,
        "messages_failed": 0,
        "messages_skipped": 0,
        "messages_cancelled": 0,
        **changes,
    }


class Scripted(httpx.BaseTransport):
    """Answers each request with the next step of the script and records the requests."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        assert self.steps, f"the script has ended; asked for {request.method} {request.url}"
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)

    def bodies(self, method: str = "POST") -> list[dict[str, Any]]:
        return [json.loads(r.content) for r in self.requests if r.method == method and r.content]

    def calls(self) -> list[str]:
        """Return the method and path of each request."""
        return [f"{r.method} {r.url.path.partition('/email-security/')[2]}" for r in self.requests]


class RepeatingScript(Scripted):
    """After the script has ended, repeats the last response for each page of the list of jobs."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(*steps)
        self._pages: dict[str, bytes] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_list = request.method == "GET" and request.url.path.endswith("/bulk")
        page = request.url.params.get("page", "")
        if is_list and not self.steps and page in self._pages:
            self.requests.append(request)
            return httpx.Response(200, content=self._pages[page])
        response = super().handle_request(request)
        if is_list and response.status_code == 200:
            self._pages[page] = response.read()
        return response


def connected(script: httpx.BaseTransport, clock: FakeClock | None = None, **settings: Any) -> EmailSecurity:
    """Return a connector to the script, with a fake clock and a fixed random seed."""
    return EmailSecurity(
        Connection.checked({"account_id": ACCOUNT, "api_token": TOKEN, **settings}),
        clock=clock or FakeClock(),
        rng=random.Random(7),
        http=script,
    )
