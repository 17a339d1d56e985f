"""Fixtures for sandbox tests: a small tenant, a manual clock, and no failures by default."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.clock import parse_instant
from sandbox.server import RunningSandbox, start
from sandbox.settings import Pace, Settings
from tests.plain_http import PLAIN

NOW = "2026-11-20T16:02:35Z"

ALERT: dict[str, Any] = {
    "AlertID": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35",
    "AlertReasons": ["Malicious Domain: Suspicious link-behind-link domain"],
    "Attachments": [
        {
            "Md5": "91f073bd208689ddbd248e8989ecae90",
            "Sha1": "62b77e14e2c43049c45b5725018e78d0f9986930",
            "Sha256": "3b57505305e7162141fd898ed87d08f92fc42579b5047495859e56b3275a6c06",
            "Name": "invoice.gif",
            "ContentTypeComputed": "application/x-msi",
        }
    ],
    "DKIMResult": "fail",
    "DMARCResult": "fail",
    "FinalDisposition": "malicious",
    "From": "billing@invoice-portal.example",
    "FromName": "Invoice Portal",
    "Links": ["https://login.invoice-portal.example/open?u=1"],
    "MessageID": "<20261120153235.4WtWkr6nlBz9sNH@invoice-portal.example>",
    "ReplyTo": "pay@invoice-portal.example",
    "SMTPEnvelopeFrom": "bounce@invoice-portal.example",
    "SMTPEnvelopeTo": ["dana@corp.example", "lee@corp.example"],
    "SMTPHeloServerIP": "203.0.113.77",
    "SPFResult": "softfail",
    "Subject": "Overdue invoice {{ 7*7 }} for Dana",
    "ThreatCategories": ["CredentialHarvester", "Link"],
    "Timestamp": "2026-11-20T15:32:35Z",
    "To": ["dana@corp.example"],
    "ToName": ["Dana"],
}

# Fast enough to finish any job of these tests within one minute of the clock.
FAST = Pace(start_delay=1.0, discover_rate=1000.0, process_rate=500.0, retry_delay=2.0, max_retries=3)


@pytest.fixture
def alert() -> dict[str, Any]:
    return json.loads(json.dumps(ALERT))  # type: ignore[no-any-return]


@pytest.fixture
def alert_file(tmp_path: Path) -> Path:
    path = tmp_path / "alert.json"
    path.write_text(json.dumps(ALERT))
    return path


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Build settings with defaults for tests; any setting can be overridden."""

    def made(**changes: Any) -> Settings:
        usual: dict[str, Any] = {
            "messages": 0,
            "manual_clock": True,
            "at": parse_instant(NOW),
            "pace": FAST,
            "permanent_failures": 0.0,
            "transient_failures": 0.0,
            "quota": 100_000,
        }
        return Settings(**{**usual, **changes})

    return made


@pytest.fixture
def run(settings: Callable[..., Settings]) -> Iterator[Callable[..., RunningSandbox]]:
    """Start a sandbox with these settings; stop it when the test ends."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(start(settings(**changes)))


@pytest.fixture
def connect() -> Iterator[Callable[..., httpx.Client]]:
    """Open a client of a sandbox. Paths such as `investigate/bulk` are relative to the account's email-security."""
    with ExitStack() as stack:

        def made(
            sandbox: RunningSandbox, token: str | None = None, headers: dict[str, str] | None = None
        ) -> httpx.Client:
            sent = {"Authorization": f"Bearer {token or sandbox.token}"} if headers is None else headers
            base_url = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security"
            return stack.enter_context(httpx.Client(base_url=base_url, headers=sent, trust_env=False, verify=PLAIN))

        yield made


@pytest.fixture
def wire() -> Iterator[httpx.Client]:
    """A client without credentials and without a base URL."""
    with httpx.Client(trust_env=False, verify=PLAIN) as client:
        yield client


@pytest.fixture
def deliver() -> Callable[..., list[str]]:
    """Deliver mails from one sender, each to one recipient. Return their investigate IDs."""

    def made(sandbox: RunningSandbox, count: int, **fields: Any) -> list[str]:
        body = {"from": "sender@bad.test", "subject": "Mail", "disposition": "MALICIOUS", **fields}
        ids = []
        with httpx.Client(trust_env=False, verify=PLAIN) as client:
            for number in range(count):
                mail = {"to": [f"user{number:04d}@corp.example"], **body}
                answer = client.post(f"{sandbox.control_url}/mail", json=mail)
                assert answer.status_code == 201, answer.text
                ids += [message["id"] for message in answer.json()["messages"]]
        return ids

    return made
