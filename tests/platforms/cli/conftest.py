"""Run `cfes` in this process against the sandbox of the test, with a terminal or pipes as streams."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from platforms.cli.main import main
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.secrets_watch import see_streams


class Stream(io.TextIOWrapper):
    """A text stream in memory that claims to be a terminal or a pipe."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        see_streams("the output of cfes", self.out, self.err)

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document on standard output."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def error(self) -> dict[str, Any]:
        document: dict[str, Any] = self.document["error"]
        return document


Cfes = Callable[..., CommandResult]


@pytest.fixture
def cfes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cfes:
    """A function that runs a command. out, err, terminal: streams that are a terminal. typed: standard input."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")

    def run(
        *arguments: str, typed: bytes | str = b"", terminal: bool = False, out: bool = False, err: bool = False
    ) -> CommandResult:
        data = typed.encode() if isinstance(typed, str) else typed
        with monkeypatch.context() as patch:
            streams = {
                "stdin": Stream(data, terminal=terminal),
                "stdout": Stream(terminal=terminal or out),
                "stderr": Stream(terminal=terminal or err),
            }
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            code = main(arguments)
            return CommandResult(code, streams["stdout"].text(), streams["stderr"].text())

    return run


@pytest.fixture
def clock(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of the commands and of the sandbox: a sleep advances both."""
    fake = FakeClock(moved=sandbox.state.advance)
    monkeypatch.setattr("connectors.email_security.SystemClock", lambda: fake)
    monkeypatch.setattr("platforms.playbook_session.SystemClock", lambda: fake)
    return fake


@pytest.fixture
def connected(cfes: Cfes, environment: dict[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Cfes:
    """`cfes` connected to the sandbox."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CFES_LOG", "off")
    return cfes
