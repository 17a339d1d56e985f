"""Kills the HTTP service while it works through queued alerts, and checks that each alert has one run, and one job.

A Logpush batch of alerts is pushed to `cfes serve`. One in a hundred starts phish-campaign-purge against the sandbox,
the others a small playbook. The service is ended several times, by SIGKILL and by SIGTERM in turns, and started again.
`python -m benchmarks.service_kills [--alerts N] [--kills N] [--seed N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.summary import say, table
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from platforms.callers.callers import Callers
from sandbox.server import start as start_sandbox
from sandbox.settings import Pace, Settings

LONGEST_SECONDS = 3600
ALERTS, KILLS, PURGES = 10_000, 6, 100
READY_SECONDS = 60

NOTE = """
playbook: 1
id: note
title: Note an alert
key: "{{ inputs.alert_id }}"
inputs: {alert_id: {type: string, primary: true, description: The AlertID.}}
steps: [{id: kept, title: Keep the ID, set: {alert_id: "{{ inputs.alert_id }}"}}, {id: pause, title: Wait, sleep: 0}]
outputs: {alert_id: "{{ inputs.alert_id }}"}
"""
RULES = """
alert_rules: 1
rules:
  - id: purge
    when: "{{ alert.FinalDisposition == 'malicious' }}"
    playbook: phish-campaign-purge
    inputs: {alert: "{{ alert }}"}
  - id: note
    when: "{{ alert.FinalDisposition != 'malicious' }}"
    playbook: note.yaml
    inputs: {alert_id: "{{ alert.AlertID }}"}
"""


class Measured(NamedTuple):
    """runs: by status. jobs: in the sandbox. lost, double: alerts without a run, and with several."""

    alerts: int
    kills: int
    runs: dict[str, int]
    jobs: int
    lost: int
    double: int
    accepted_seconds: float
    seconds: float


class Service:
    """`cfes serve` as a process that can be ended and started again on the same port and state directory."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "platforms.cli", "serve", "--port", self._port]
        self._process = subprocess.Popen(  # noqa: S603 -- own program
            command, env=self._environment, stderr=subprocess.PIPE, text=True
        )
        if self._process.stderr is None:
            raise AssertionError("no standard error")
        line = self._process.stderr.readline()
        self._port = line.split(". Ctrl")[0].rpartition(":")[2]
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=READY_SECONDS)


def measure(alerts: int, kills: int, seed: int) -> Measured:
    chance = random.Random(seed)  # noqa: S311 -- reproducible, not secret
    example = json.loads((Path(__file__).parents[1] / "examples" / "alert.json").read_text())
    pace = Pace(start_delay=0.2, discover_rate=2000, process_rate=1000, retry_delay=0.1)
    world = Settings(messages=1000, alert=Path("examples/alert.json"), campaign_size=40, pace=pace, quota=1_000_000)
    sandbox = start_sandbox(world)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        (Path(folder) / "note.yaml").write_text(NOTE)
        (Path(folder) / "rules.yaml").write_text(RULES)
        settings = {
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
        }
        service = Service(
            {
                "PATH": os.environ["PATH"],
                **settings,
                "CFES_STATE_DIR": str(state),
                "CFES_ALERT_RULES": str(Path(folder) / "rules.yaml"),
                "CFES_LISTING_LAG_SECONDS": "0",
                "CFES_LOG": "off",
                "CFES_HTTP_REQUESTS": "1000000",
            }
        )
        token = Callers(str(state)).create("bench", ("read", "write", "alerts"), expires_at=None)
        service.start()
        batch = b"".join(json.dumps(_alert(example, number)).encode() + b"\n" for number in range(alerts))
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(headers=headers, timeout=120, trust_env=False) as client:
            began = time.monotonic()
            for _ in range(2):  # Logpush can send a batch twice.
                client.post(f"{service.url}/v1/logpush/email_security_alerts", content=batch).raise_for_status()
            accepted = time.monotonic() - began
            for number in range(kills):
                time.sleep(chance.uniform(0.5, 8))
                service.end(signal.SIGTERM if number % 2 else signal.SIGKILL)
                service.start()
            runs = _ended_runs(state, alerts)
        seconds = time.monotonic() - began
        service.end(signal.SIGTERM)
    with EmailSecurity(
        Connection.checked({"account_id": sandbox.account_id, "api_token": sandbox.token, "base_url": sandbox.base_url})
    ) as api:
        jobs = [job.comment for job in api.list_jobs()]
    sandbox.stop()
    by_alert = Counter(key for key, _ in runs)
    return Measured(
        alerts,
        kills,
        dict(Counter(status for _, status in runs)),
        len(jobs),
        alerts - len(by_alert),
        sum(1 for count in by_alert.values() if count > 1) + len(jobs) - len(set(jobs)),
        accepted,
        seconds,
    )


def _alert(example: dict[str, Any], number: int) -> dict[str, Any]:
    disposition = "malicious" if number % PURGES == 0 else "spam"
    return {**example, "AlertID": f"{example['AlertID']}-{number}", "FinalDisposition": disposition}


def _ended_runs(state: Path, alerts: int) -> list[tuple[str | None, str]]:
    """Return the key and the status of each run, once all have ended."""
    import sqlite3  # noqa: PLC0415 -- an independent reading of the run store

    ends = time.monotonic() + LONGEST_SECONDS / 2
    while True:
        with sqlite3.connect(f"file:{state / 'runs.db'}?mode=ro", uri=True) as database:
            runs = database.execute("SELECT key, status FROM run").fetchall()
        open_runs = [status for _, status in runs if status in ("running", "sleeping", "waiting")]
        if len(runs) >= alerts and not open_runs:
            return runs
        if time.monotonic() > ends:
            raise AssertionError(f"{len(runs)} runs, {len(open_runs)} of them open")
        time.sleep(1)


def report(found: Measured) -> str:
    runs = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.runs.items()))
    row = (
        f"| {found.alerts:,} | {found.kills} | {runs} | {found.jobs} | {found.lost} | {found.double} | "
        f"{found.accepted_seconds:.1f} | {found.seconds:.0f} |"
    )
    return table("alerts | kills | runs | jobs | lost | double | accepted (twice), s | all ended, s", [row])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--alerts", type=int, default=ALERTS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    say(report(measure(asked.alerts, asked.kills, asked.seed)))


if __name__ == "__main__":
    main()
