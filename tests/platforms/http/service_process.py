"""`cfes serve` as a process that can be killed and started again on the same port and state directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

import httpx


class ServiceProcess:
    """A process of the service. Starting it waits until it is ready."""

    def __init__(self, environment: Mapping[str, str], token: str) -> None:
        self._environment = {"PATH": os.environ["PATH"], "CFES_LOG": "off", **environment}
        self._token = token
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "platforms.cli", "serve", "--port", self._port],
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert line.startswith("Serving on"), line
        self._port = line.split(". Ctrl")[0].rpartition(":")[2]
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self._port}", headers=headers, timeout=30, trust_env=False)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End the process, and return its exit code."""
        assert self._process is not None
        assert self._process.stderr is not None
        self._process.send_signal(number)
        code = self._process.wait(timeout=60)
        self._process.stderr.close()
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.end()
