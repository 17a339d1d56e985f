"""The help, version, completion, manifest, sandbox and demo commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.contract import catalog
from actions.contract.ending import ended_by_signals
from core.version import VERSION
from platforms.cli import playbook_run
from platforms.cli.command_list import entries
from platforms.cli.views.step_summary import summary
from platforms.published import manifest as pack_manifest
from tests.platforms.cli.conftest import Cfes
from tests.slow import some_of

ROOT = Path(__file__).resolve().parents[3]

SEARCH_PLAYBOOK = """\
playbook: 1
id: search
title: Count messages
inputs: {alert: {type: object, primary: true}}
steps:
  - id: find
    action: search-messages
    with: {search_params: {sender: "{{ inputs.alert.From }}", start: "2026-11-13T15:32:35Z"}}
outputs: {count: "{{ steps.find.count }}"}
"""


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_help_lists_every_command_in_its_group(cfes: Cfes) -> None:
    ended = cfes("--help")
    assert ended.code == 0
    for group in ("Jobs:", "Messages:", "Playbooks:", "Tools:"):
        assert group in ended.out
    for name, entry in entries().items():
        assert any(line.split()[:1] == [name] and entry.title in line for line in ended.out.splitlines())


@pytest.mark.parametrize(
    "name", [*entries(), *(f"playbook {name}" for name in ("run", "check", "show", "list", "test"))]
)
def test_every_command_has_help(name: str, cfes: Cfes, capfd: pytest.CaptureFixture[str]) -> None:
    ended = cfes(*name.split(), "--help")
    assert ended.code == 0
    assert "--help" in ended.out
    assert str(ROOT) not in ended.out


def test_no_arguments_show_the_help(cfes: Cfes) -> None:
    ended = cfes()
    assert ended.code == 2
    assert "Usage: cfes" in ended.err


def test_the_version(cfes: Cfes) -> None:
    assert cfes("--version").out == f"cfes {VERSION}\n"


def test_the_help_loads_no_heavy_modules() -> None:
    heavy = ("httpx", "pydantic", "rich", "jinja2", "yaml", "fastapi")
    code = (
        "import sys; from platforms.cli.main import main; main(['--help']); "
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    ended = process("-c", code)
    assert ended.returncode == 0, ended.stderr


def test_cfes_runs_as_a_module() -> None:
    ended = process("-m", "platforms.cli", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"cfes {VERSION}\n")


@pytest.mark.parametrize(("call", "frozen"), [("main()", True), ("main([])", False)])
def test_garbage_is_collected_while_a_command_runs(call: str, frozen: bool) -> None:
    """Only a process started for the command freezes the objects loaded before."""
    ended = process(
        "-c",
        "import gc; from platforms.cli import outcome; from platforms.cli.main import main; "
        "outcome.run = lambda _: print(gc.isenabled(), gc.get_freeze_count() > 1000) or 0; "
        f"{call}; print(gc.isenabled(), gc.get_freeze_count() > 1000)",
    )
    assert (ended.stderr, ended.stdout) == ("", f"True {frozen}\n" * 2)


def test_completion_offers_commands_flags_and_choices() -> None:
    def completions(words: str) -> list[str]:
        ended = process(
            "-m",
            "platforms.cli",
            _CFES_COMPLETE="complete_bash",
            COMP_WORDS=f"cfes {words}",
            COMP_CWORD=str(len(f"cfes {words}".split(" ")) - 1),
        )
        return ended.stdout.split()

    assert completions("create") == ["create-job", "create-move-job"]
    assert completions("create-move-job --destination Junk") == ["JunkEmail"]
    assert "phish-campaign-purge" in completions("playbook run phish")


def test_completion_can_be_shown_and_installed(cfes: Cfes) -> None:
    assert "--install-completion" in cfes("--help").out
    script = process("-m", "platforms.cli", _CFES_COMPLETE="source_bash").stdout
    assert "_CFES_COMPLETE=complete_bash" in script


def test_the_manifest_is_printed_written_and_checked(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"id": "pack"}
    monkeypatch.setattr(pack_manifest, "document", lambda: document)
    monkeypatch.setattr(pack_manifest, "render", lambda: json.dumps(document))
    assert cfes("manifest").document == document
    assert cfes("manifest", "--check", "--file", "m.json").error["type"] == "ManifestStale"
    assert cfes("manifest", "--write", "--file", "m.json").code == 0
    assert cfes("manifest", "--check", "--file", "m.json").document == {"file": "m.json", "status": "up to date"}
    document["id"] = "another"
    assert cfes("manifest", "--check", "--file", "m.json").code == 2
    assert cfes("manifest", "--write", "--check").code == 2
    assert cfes("manifest", "--write", "--file", "missing/m.json").code == 6


def test_the_sandbox_parses_its_own_flags(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    served_arguments: list[list[str]] = []

    def serve(arguments: list[str], *, program: str) -> int:
        assert program == "cfes sandbox"
        served_arguments.append(arguments)
        return 5

    monkeypatch.setattr("sandbox.cli.main", serve)
    assert cfes("sandbox", "--port", "0", "--mbox", "x", "--help").code == 5
    assert served_arguments == [["--port", "0", "--mbox", "x", "--help"]]


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_without_the_extra_of_the_sandbox_the_error_names_the_install_command(
    command: str, cfes: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    ended = cfes(command)
    assert (ended.code, ended.error["type"]) == (2, "ExtraMissing")
    assert "pip install -e '.[sandbox]'" in ended.error["help"]


@pytest.fixture
def demo_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that the demo has started."""
    processes: list[subprocess.Popen[bytes]] = []

    class RecordedPopen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", RecordedPopen)
    yield processes
    for running in processes:
        assert running.returncode is not None, "the sandbox outlived the demo"


def test_the_demo_runs_a_playbook_against_its_own_sandbox(
    cfes: Cfes, demo_processes: list[subprocess.Popen[bytes]]
) -> None:
    Path("search.yaml").write_text(SEARCH_PLAYBOOK)
    ended = cfes("demo", "--messages", "50", "--playbook", "search.yaml", "--directory", "demo")
    assert ended.code == 0
    assert ended.document["outputs"]["count"] > 0
    assert [process.returncode for process in demo_processes] == [0]


@pytest.mark.parametrize(
    "cause",
    some_of(["sigterm", "failure", "ctrl-c", "sighup"], 0),
)
def test_the_demo_leaves_no_sandbox_behind(
    cause: str, cfes: Cfes, demo_processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_run(*_: object) -> int:
        if cause.startswith("sig"):
            os.kill(os.getpid(), getattr(signal, cause.upper()))
        raise {"failure": ZeroDivisionError}.get(cause, KeyboardInterrupt)

    monkeypatch.setattr(playbook_run, "begin", end_run)
    Path("search.yaml").write_text(SEARCH_PLAYBOOK)
    ended = cfes("demo", "--messages", "0", "--playbook", "search.yaml")
    assert ended.code == {"ctrl-c": 130, "sigterm": 143, "sighup": 129, "failure": 1}[cause]
    assert len(demo_processes) == 1


def test_a_sandbox_that_does_not_start_reports_the_reason(
    cfes: Cfes, demo_processes: list[subprocess.Popen[bytes]]
) -> None:
    Path("search.yaml").write_text(SEARCH_PLAYBOOK)
    Path("alert.json").write_text('{"From": "a@b.example"}')
    ended = cfes("demo", "--alert", "alert.json", "--playbook", "search.yaml")
    assert ended.code == 2
    assert "AlertID is missing" in ended.error["message"]
    missing = cfes("demo", "--alert", "missing.json", "--playbook", "search.yaml")
    assert (missing.code, len(demo_processes)) == (2, 1)


def test_the_sandbox_of_the_demo_ends_with_its_standard_input(
    cfes: Cfes, demo_processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def close_pipe(*_: object) -> int:
        """Close the pipe, as when the demo is killed."""
        [sandbox] = demo_processes
        assert sandbox.stdin is not None
        sandbox.stdin.close()
        return sandbox.wait(20)

    monkeypatch.setattr(playbook_run, "begin", close_pipe)
    Path("search.yaml").write_text(SEARCH_PLAYBOOK)
    assert cfes("demo", "--messages", "0", "--playbook", "search.yaml").code == 0


def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_demo_names_its_own_option_for_a_bad_alert(cfes: Cfes) -> None:
    Path("search.yaml").write_text(SEARCH_PLAYBOOK)
    Path("two-lines.ndjson").write_text('{"AlertID": "1"}\n{"AlertID": "2"}\n')
    error = cfes("demo", "--alert", "two-lines.ndjson", "--playbook", "search.yaml").error
    assert error["message"].startswith("--alert 'two-lines.ndjson' has 2 records")
    assert "--input" not in json.dumps(error)


def test_a_count_of_one_is_singular() -> None:
    assert summary("search-messages", {"count": 1, "mailbox_copies": 1}) == "1 message, 1 mailbox copy"
    assert summary("search-messages", {"count": 2, "limit_reached": True}) == "more than 2 messages"
    # The example of the action proves that its keys still have these names.
    assert summary("export-job-messages", catalog.find("export-job-messages").example_result).startswith(
        "420 rows, complete"
    )
    progress = {"processed": 1, "discovered": 1}
    assert summary("wait-for-job", {"outcome": "succeeded", "progress": progress}) == "succeeded, 1 of 1 message"
