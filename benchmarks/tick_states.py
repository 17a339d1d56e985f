"""Measures the events and the results of advance-run in whole runs of phish-campaign-purge.

`python -m benchmarks.tick_states`. The runs have 10 approvals. The large alert has 1,000 recipients and 50 links of
2,000 characters. The sandbox and a simulated clock run in this process. Step Functions passes at most 262,144 bytes.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks.summary import Line, at_most, say, table
from benchmarks.waiting import SimulatedClock
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from core import instants
from platforms.advance_run import ACTION
from playbooks.drivers.tick import LARGEST_ANSWER_BYTES
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings

EXAMPLE_ALERT = Path(__file__).parents[1] / "examples" / "alert.json"
RECIPIENTS, LINKS, LINK_LENGTH, APPROVALS, NEEDED = 1000, 50, 2000, 10, 5


class Measured(NamedTuple):
    """The figures of a run. milliseconds: processor time of each call."""

    alert: str
    calls: int
    largest_event: int
    largest_result: int
    moved_states: int
    milliseconds: float


class SandboxClock(SimulatedClock):
    """A clock that starts with the sandbox's clock and advances it."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        super().__init__()
        self.seconds = (instants.parse_timestamp(sandbox.state.truth()["now"]) - self.now()).total_seconds()
        self._sandbox = sandbox

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._sandbox.state.advance(seconds)


class Approvers:
    """The approvers of a policy, each with a key."""

    def __init__(self) -> None:
        self._keys = {f"approver{number}": Ed25519PrivateKey.generate() for number in range(APPROVALS)}

    def policy(self) -> str:
        def pem(key: Ed25519PrivateKey) -> str:
            return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

        approvers = [{"name": name, "public_key": pem(key)} for name, key in self._keys.items()]
        return json.dumps({"policy": 1, "approvers": approvers, "approval_needed": [{"approvals": NEEDED}]})

    def tokens(self, plan: Mapping[str, Any], clock: SimulatedClock) -> list[str]:
        return [
            approve(
                Signing(
                    plan_hash=plan["plan_hash"],
                    account_id=plan["account_id"],
                    approver=name,
                    private_key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                    now=clock.now(),
                    lifetime_seconds=3600,
                    jti=secrets.token_hex(8),
                )
            ).token
            for name, key in self._keys.items()
        ]


def large(alert: Mapping[str, Any]) -> dict[str, Any]:
    links = [f"https://invoice-portal.example/{number}/".ljust(LINK_LENGTH, "x") for number in range(LINKS)]
    recipients = [f"person.number.{number:04d}@corp.example" for number in range(RECIPIENTS)]
    return {**alert, "SMTPEnvelopeTo": recipients, "Links": links}


def run_to_the_end(
    title: str, inputs: Mapping[str, Any], api: EmailSecurity, directory: Path
) -> tuple[Measured, dict[str, Any]]:
    """Return the figures of a run until it ends or waits for a signal, and its last answer."""
    params: dict[str, Any] = {
        "playbook": "phish-campaign-purge",
        "inputs": inputs,
        "run_id": directory.name,
        "directory": str(directory),
    }
    events, results, times = [], [], []
    while True:
        event = {"action": ACTION.id, "params": params, "execution": {"name": "0" * 36, "retries": 0}}
        events.append(len(json.dumps(event)))
        began = time.process_time()
        found = ACTION.run(params, api)
        times.append((time.process_time() - began) * 1000)
        results.append(len(json.dumps(found)))
        if found["next"] in ("done", "signal"):
            break
        if found["next"] == "sleep":
            api.clock.sleep(found["seconds"])
        params = json.loads(json.dumps(found["run"]))
    moved = len(list(directory.glob("state-*.json")))
    return Measured(title, len(events), max(events), max(results), moved, statistics.median(times)), found


def measure() -> Iterator[Measured]:
    """Measure the example alert, then the large one until it needs approvals, and with them."""
    key = secrets.token_hex(32)
    small = json.loads(EXAMPLE_ALERT.read_text())
    with tempfile.TemporaryDirectory() as temporary, mock.patch.dict(os.environ, {"CFES_PLAN_KEY": key}):
        folder = Path(temporary)
        approvers = Approvers()
        (folder / "policy.yaml").write_text(approvers.policy())
        (folder / "policy.yaml").chmod(0o600)
        for alert, title in ((small, "the example alert"), (large(small), "the large alert")):
            sandbox = start(Settings(messages=300, alert=EXAMPLE_ALERT, campaign_size=40, manual_clock=True))
            try:
                yield from _of_alert(alert, title, sandbox, approvers, folder, key)
            finally:
                sandbox.stop()


def _of_alert(
    alert: Mapping[str, Any], title: str, sandbox: RunningSandbox, approvers: Approvers, folder: Path, key: str
) -> Iterator[Measured]:
    clock = SandboxClock(sandbox)
    settings = {
        "account_id": sandbox.account_id,
        "api_token": sandbox.token,
        "base_url": sandbox.base_url,
        "plan_key": key,
        "policy_file": str(folder / "policy.yaml"),
        "requested_by": "soar",
        "state_directory": str(folder / "state"),
    }
    with EmailSecurity(Connection.checked(settings), clock=clock) as api:
        name = title.replace(" ", "-")
        _, waiting = run_to_the_end(title, {"alert": alert}, api, folder / f"{name}-waiting")
        plan = waiting["waits_for"][0]["about"]["plan"]
        inputs = {"alert": alert, "plan": plan, "approvals": approvers.tokens(plan, clock)}
        measured, ended = run_to_the_end(f"{title}, {APPROVALS} approvals", inputs, api, folder / name)
        if (ended["result"] or {}).get("status") != "completed":
            raise SystemExit(f"the run did not complete, so the figures are invalid: {ended['result']}")
        yield measured


def report(figures: Sequence[Measured]) -> str:
    rows = [
        f"| {one.alert} | {one.calls} | {one.largest_event:,} | {one.largest_result:,} | {one.moved_states} "
        f"| {one.milliseconds:.0f} |"
        for one in figures
    ]
    return table(
        "alert | calls | largest event, bytes | largest result, bytes | moved states | processor time of a call, ms",
        rows,
    )


def line(figures: Sequence[Measured]) -> Line:
    largest = max(max(one.largest_event, one.largest_result) for one in figures)
    measured = f"{largest:,} bytes in the largest event or result; {figures[-1].milliseconds:.0f} ms a call"
    return Line("advance-run, a large alert", measured, (at_most(LARGEST_ANSWER_BYTES, "bytes", largest),))


if __name__ == "__main__":
    say(report(list(measure())))
