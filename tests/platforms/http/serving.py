"""Run the HTTP service in a thread, for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from platforms.http.server import server_of
from platforms.http.service import Service
from sandbox.server import RunningSandbox


@dataclass
class RunningService:
    """A service on loopback. url: without a slash at the end."""

    service: Service
    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the service did not stop"


@dataclass
class SharedService:
    """A service for several tests. client: of a caller with every scope. state: the state directory."""

    running: RunningService
    sandbox: RunningSandbox
    client: httpx.Client
    state: Path

    @property
    def files(self) -> Path:
        """The folder of all workspaces."""
        return self.running.service.files.root


def start_service(environment: Mapping[str, str]) -> RunningService:
    """Start a service for the settings in `environment`."""
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    service = Service(environment, open_to_all=True)
    server = server_of(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        threading.Event().wait(0.01)
    return RunningService(service, f"http://127.0.0.1:{bound.getsockname()[1]}", server, thread)


def wait_for_run(
    client: httpx.Client, run_id: str, *statuses: str, seconds: float = 20, pause: float = 0.05
) -> dict[str, Any]:
    """Return a run once it has one of these statuses; by default once it has ended. pause: between two looks."""
    wanted = statuses or ("completed", "refused", "incomplete", "failed", "cancelled")
    end = time.monotonic() + seconds
    while True:
        run: dict[str, Any] = client.get(f"/v1/runs/{run_id}").raise_for_status().json()
        if run["status"] in wanted:
            return run
        assert time.monotonic() < end, f"the run is {run['status']} at {run['at_step']}"
        threading.Event().wait(pause)
