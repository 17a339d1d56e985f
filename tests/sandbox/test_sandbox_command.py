"""`python -m sandbox`, and rules that apply to the whole package."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import sandbox
from sandbox.account import Opened, open_account
from sandbox.cli import main
from sandbox.server import CannotListenError, RunningSandbox, start
from sandbox.settings import BadSettingsError, Settings
from tests.exhaustive import exhaustive_unless

PACKAGE = Path(sandbox.__file__).parent


def _serve(*flags: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", "0", *flags],
        cwd=PACKAGE.parent,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


@pytest.fixture
def hangup() -> Iterator[None]:
    """Restore the default SIGHUP handler, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", exhaustive_unless({signal.SIGTERM}, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_the_command_prints_one_line_and_serves_until_a_signal(
    number: signal.Signals, alert_file: Path, wire: httpx.Client, hangup: None
) -> None:
    with _serve("--messages", "100", "--alert", str(alert_file), "--campaign-size", "12") as process:
        assert process.stdout is not None
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        assert set(ready) == {"base_url", "account_id", "tokens", "control_url", "messages", "now"}
        assert set(ready["tokens"]) == {"full", "read", "revoked"}
        assert ready["base_url"].startswith("http://127.0.0.1:")
        assert ready["messages"] == 112
        assert ready["now"].startswith("2026-11-20T16:02:")
        health = wire.get(f"{ready['control_url']}/health").json()
        assert (health["ready"], health["base_url"], health["clock"]) == (True, ready["base_url"], "real")
        path = f"{ready['base_url']}/accounts/{ready['account_id']}/email-security/investigate"
        found = wire.get(path, headers={"Authorization": f"Bearer {ready['tokens']['full']}"})
        assert found.json()["result_info"]["count"] == 20
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_the_command_ends_with_standard_input_if_the_flag_is_set(wire: httpx.Client) -> None:
    with _serve("--messages", "0", "--until-stdin-closes", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.stdin.write("this input is ignored\n")
        process.stdin.flush()
        assert wire.get(f"{ready['control_url']}/health").json()["ready"] is True
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


@pytest.mark.exhaustive
def test_a_signal_ends_the_command_while_it_reads_standard_input() -> None:
    with _serve("--messages", "0", "--until-stdin-closes", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_parent_that_exits_early_causes_no_traceback() -> None:
    with _serve("--messages", "0", "--until-stdin-closes", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.shows_tokens("the sandbox prints its own tokens when it is ready")
def test_without_standard_input_the_command_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["--messages", "0", "--until-stdin-closes"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 0


def test_an_ignored_sighup_stays_ignored(monkeypatch: pytest.MonkeyPatch, hangup: None) -> None:
    seen = []

    def record_handler(_: Settings) -> RunningSandbox:
        seen.append(signal.getsignal(signal.SIGHUP))
        raise CannotListenError("not today")

    monkeypatch.setattr("sandbox.cli.start", record_handler)
    main([])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    main([])
    assert [handler == signal.SIG_IGN for handler in seen] == [False, True]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.shows_tokens("the sandbox prints its own tokens when it is ready")
def test_mail_with_a_future_date_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(b"From: a@b.test\nDate: Fri, 20 Nov 2026 16:02:36 +0000\n\n")
    monkeypatch.setattr(sys, "stdin", None)
    flags = ["--mbox", str(path), "--at", "2026-11-20T16:00:00Z", "--manual-clock", "--until-stdin-closes"]
    assert main(flags) == 0
    assert capsys.readouterr().err == (
        "sandbox: 1 mails have a date after 2026-11-20T16:00:00.000000Z (now), which was ignored\n"
    )


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--port", "70000"], "port"),
        (["--port", "x"], "--port"),
        (["--quota", "0"], "quota"),
        (["--discover-rate", "0"], "discover-rate"),
        (["--permanent-failures", "0.8", "--transient-failures", "0.8"], "in total"),
        (["--at", "2026-11-20"], "--at"),
        (["--account-id", "x" * 33], "account-id"),
        (["--alert", "no-such-file.json"], "no-such-file.json"),
        (["--mbox", "no-such-file.mbox"], "no-such-file.mbox"),
        (["--mes", "7"], "--mes"),
    ],
)
def test_invalid_flags_exit_with_2_and_the_reason(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("content", ["", "[]", "{", '{"AlertID": "x"}', "\udcff"])
def test_an_invalid_alert_file_exits_with_2(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alert.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert main(["--alert", str(path)]) == 2
    assert capsys.readouterr().err.startswith("sandbox: ")


def test_help_exits_with_0_and_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    captured = capsys.readouterr().out
    for flag in ("--seed", "--messages", "--alert", "--mbox", "--manual-clock", "--quota", "--late-copies", "--at"):
        assert flag in captured


def test_a_port_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        assert main(["--port", str(port), "--messages", "0"]) == 2
        with pytest.raises(CannotListenError):
            start(Settings(port=port, messages=0))
    assert str(port) in capsys.readouterr().err


def test_the_port_is_in_use_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refusals = []

    def open_while_another_starts(settings: Settings) -> Opened:
        with pytest.raises(CannotListenError) as refusal:
            start(settings)
        refusals.append(str(refusal.value))
        return open_account(settings)

    monkeypatch.setattr("sandbox.server.open_account", open_while_another_starts)
    with start(Settings(port=port, messages=0)) as running:
        assert running.origin.endswith(f":{port}")
    assert len(refusals) == 1


@pytest.mark.parametrize("problem", [OSError("no sockets left"), SystemExit(3)])
def test_a_server_that_fails_to_start_exits_with_2_and_one_line(
    problem: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def startup(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    assert main(["--messages", "0"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("sandbox: can't serve on http://127.0.0.1:")
    assert str(problem) in captured.err


def test_a_second_stop_does_nothing_and_the_port_is_free_again() -> None:
    with start(Settings(messages=0)) as running:
        port = int(running.origin.rpartition(":")[2])
        running.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_settings_are_checked() -> None:
    with pytest.raises(BadSettingsError, match="quota"):
        Settings(quota=0)


def test_a_silent_connection_does_not_delay_the_stop(run: Callable[..., RunningSandbox], wire: httpx.Client) -> None:
    running = run(messages=100)
    with socket.create_connection(("127.0.0.1", int(running.origin.rpartition(":")[2]))):
        assert wire.get(f"{running.control_url}/health").status_code == 200


def test_the_sandbox_imports_no_other_package_of_the_pack() -> None:
    rest = {"actions", "benchmarks", "connectors", "core", "platforms", "playbooks", "remediation", "tests"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & rest, file


def test_importing_the_sandbox_starts_no_thread() -> None:
    code = "import threading, sandbox.cli, sandbox.server; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
