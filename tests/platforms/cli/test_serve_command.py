"""`cfes serve` as a process: where it may listen, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from platforms.callers.callers import Callers
from sandbox.server import RunningSandbox

ROOT = Path(__file__).parents[3]


@pytest.fixture
def environment(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings as a container has them: the token in a file, and no home directory that can be written."""
    secret = tmp_path / "token"
    secret.write_text(f"{sandbox.token}\n")
    yield {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": "/nonexistent",
        "CFES_STATE_DIR": str(tmp_path / "state"),
        "CLOUDFLARE_API_TOKEN_FILE": str(secret),
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_BASE_URL": sandbox.base_url,
    }
    secret.unlink()


@contextmanager
def serving(environment: dict[str, str], *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `cfes serve` on a free port. Yield the process and the line that names its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "cfes", "serve", "--port", "0", *flags],
        env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline()
        finally:
            process.kill()


def test_a_service_with_its_secret_in_a_file_and_without_a_home_serves_until_sigterm(
    environment: dict[str, str],
) -> None:
    with serving(environment) as (process, line):
        url = line.split()[2].rstrip(".")
        answer = httpx.post(f"{url}/v1/actions/list-jobs", json={}, trust_env=False, timeout=20)
        assert (answer.status_code, answer.json()["count"]) == (200, 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_an_address_that_others_can_reach_needs_a_caller(environment: dict[str, str]) -> None:
    with serving(environment, "--host", "0.0.0.0") as (process, line):  # noqa: S104 -- refused, or with a token
        output, rest = process.communicate(timeout=30)
        shown = output + line + rest
        assert process.returncode == 2
        assert "no caller has a token" in shown
        assert "cfes token create" in shown
        assert "run-the-http-service.md" in shown
    token = Callers(environment["CFES_STATE_DIR"]).create("tines", ("read",), expires_at=None)
    with serving(environment, "--host", "0.0.0.0") as (_, line):  # noqa: S104 -- with a token
        url = line.split()[2].rstrip(".").replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
            assert client.get("/v1/runs").status_code == 401
            assert client.get("/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_proxy_on_this_machine_passes_on_the_callers_address_and_scheme(environment: dict[str, str]) -> None:
    token = Callers(environment["CFES_STATE_DIR"]).create("tines", ("read",), expires_at=None)
    forwarded = {"Host": "soar.example", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with serving(environment) as (process, line):
        url = line.split()[2].rstrip(".")
        with httpx.Client(base_url=url, headers=forwarded, trust_env=False, timeout=20) as client:
            assert client.get("/openapi.json").json()["servers"] == [{"url": "https://soar.example"}]
            assert client.get("/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    lines = (Path(environment["CFES_STATE_DIR"]) / "audit.ndjson").read_text().splitlines()
    assert [json.loads(line)["client"] for line in lines] == ["203.0.113.9"] * 2
