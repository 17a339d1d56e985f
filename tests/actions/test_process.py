"""An action as a process: one JSON object in, one JSON document out, and the exit code."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job
from actions.contract import catalog, process
from connectors.email_security import EmailSecurity
from sandbox.server import RunningSandbox
from tests.actions.test_export import finished_job
from tests.conftest import CAMPAIGN
from tests.exhaustive import exhaustive_unless

ROOT = Path(__file__).parent.parent.parent
BASE_ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}

MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}
JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"

# Nothing listens on this base URL: an unexpected call would fail with another exit code.
UNREACHABLE = {
    "CLOUDFLARE_API_TOKEN": "token-of-this-test",
    "CLOUDFLARE_ACCOUNT_ID": "023e105f4ecef8ad9ca31a8372d0c353",
    "CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/client/v4",
    "CFES_CALL_ALLOWANCE_SECONDS": "0.01",
}


def run_main(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    action_id: str,
    parameters: object,
    environment: dict[str, str],
    arguments: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any]]:
    """Run the main function of an action in this process with this standard input and environment."""
    data = parameters if isinstance(parameters, bytes) else json.dumps(parameters).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        process.main(catalog.find(action_id), arguments)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "token-of-this-test" not in shown.out + shown.err
    assert shown.out.count("\n") == 1
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(shown.out)


BAD_PARAMETERS: dict[str, tuple[str, object, str, str]] = {
    "a misspelled search field": (
        "create-move-job", {"search_params": {"sendr": "x"}, "destination": "JunkEmail"},
        "/search_params/sendr", "did you mean 'sender'?"),
    "MOVE without destination": ("create-move-job", {"search_params": CAMPAIGN}, "/destination", "required"),
    "an unknown destination": (
        "create-move-job", {"search_params": CAMPAIGN, "destination": "Trash"}, "/destination", "JunkEmail"),
    "start after end": (
        "create-move-job", {**MOVE, "search_params": {**CAMPAIGN, "end": "2026-11-01T00:00:00Z"}},
        "/search_params", "start is after end"),
    "a date without a zone": (
        "create-move-job", {**MOVE, "search_params": {**CAMPAIGN, "start": "2026-11-13T15:32:35"}},
        "/search_params/start", "zone"),
    "a job ID that is not a UUID": ("get-job", {"job_id": "../../zones"}, "/job_id", "is not a valid UUID"),
    "no search_params": ("create-move-job", {"destination": "JunkEmail"}, "/search_params", "required"),
    "an empty criterion": ("release-job", {"search_params": {"sender": " "}}, "/search_params/sender", "is empty"),
    "a parameter of another action": ("release-job", MOVE, "/destination", "unknown parameter"),
    "parameters that are a list": ("get-job", [], "", "a JSON object"),
    "a negative time": ("wait-for-job", {"job_id": JOB_ID, "timeout_seconds": -1}, "/timeout_seconds", "at least"),
    "a minimum interval above the maximum": (
        "wait-for-job", {"job_id": JOB_ID, "min_interval_seconds": 9, "max_interval_seconds": 2},
        "/min_interval_seconds", "max_interval_seconds"),
    "a path that cannot be written": (
        "export-job-messages", {"job_id": JOB_ID, "destination": "/nowhere/rows.ndjson"}, "/destination", "directory"),
    "a path that is a directory": ("export-job-messages", {"job_id": JOB_ID, "destination": "/"}, "/destination", ""),
    "a path with a NUL": ("export-job-messages", {"job_id": JOB_ID, "destination": "a\0b"}, "/destination", "NUL"),
    "a resume of an inline export": (
        "export-job-messages",
        {"job_id": JOB_ID, "resume": {"job_id": JOB_ID, "status": None, "page": 2, "rows": 0, "sha256": "0" * 64,
                                      "passes": 0, "job_was": None}},
        "/resume", "inline"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters_exit_2_and_name_every_problem(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    action_id, parameters, pointer, words = BAD_PARAMETERS[case]
    code, document = run_main(monkeypatch, capsys, action_id, parameters, UNREACHABLE)
    error = document["error"]
    assert (code, error["type"], error["applied"], error["retryable"]) == (2, "ParameterError", "no", False)
    problems = error.get("problems", [{"pointer": "", "message": error["message"]}])
    assert any(p["pointer"] == pointer and words in p["message"] for p in problems), problems


INVALID_INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "invalid JSON": b"sender=x",
    "a truncated document": b'{"job_id": ',
    "two documents": b"{} {}",
    "bytes that are not text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "a string": b'"x"',
    "NaN": b'{"timeout_seconds": NaN}',
    "a key twice": b'{"job_id": "a", "job_id": "b"}',
    "too deep": b"[" * 100_000,
    "too deep inside a value": b'{"job_id": ' + b'{"a": ' * 50_000,
    "a very long number": b'{"timeout_seconds": ' + b"9" * 5_000 + b"}",
    "5 MB": b'{"job_id": "' + b"x" * 5_000_000 + b'"}',
}


@pytest.mark.parametrize("case", INVALID_INPUTS)
def test_invalid_standard_input_exits_2(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run_main(monkeypatch, capsys, "wait-for-job", INVALID_INPUTS[case], UNREACHABLE)
    assert (code, document["error"]["type"]) == (2, "ParameterError")
    assert len(document["error"]["message"]) < 1000


BAD_SETTINGS: dict[str, tuple[dict[str, str], int, str]] = {
    "no token": ({"CLOUDFLARE_API_TOKEN": ""}, 4, "CLOUDFLARE_API_TOKEN"),
    "no account": ({"CLOUDFLARE_ACCOUNT_ID": ""}, 2, "CLOUDFLARE_ACCOUNT_ID"),
    "an account ID too long": ({"CLOUDFLARE_ACCOUNT_ID": "0" * 33}, 2, "CLOUDFLARE_ACCOUNT_ID"),
    "http to another host": ({"CLOUDFLARE_BASE_URL": "http://api.example/client/v4"}, 2, "https"),
    "an unknown log mode": ({"CFES_LOG": "yaml"}, 2, "CFES_LOG"),
    "an unreachable service": ({}, 6, "could not be reached"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_named(case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    changes, expected, words = BAD_SETTINGS[case]
    code, document = run_main(monkeypatch, capsys, "get-job", {"job_id": JOB_ID}, {**UNREACHABLE, **changes})
    assert code == expected
    assert words in document["error"]["message"] + document["error"]["help"]


def test_empty_search_params_are_refused_with_exit_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run_main(
        monkeypatch, capsys, "create-move-job", {"search_params": {}, "destination": "Inbox"}, UNREACHABLE
    )
    assert (code, document["error"]["type"]) == (3, "BroadSearchRefused")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "status", "status": 400}, 5),
        ({"kind": "status", "status": 409}, 5),
        ({"kind": "address_denied"}, 4),
        ({"kind": "rate_limit", "retry_after": 300}, 6),
        ({"kind": "drop_after"}, 7),
    ],
)
def test_the_exit_code_matches_the_outcome_of_a_create(
    fault: dict[str, Any],
    code: int,
    sandbox: RunningSandbox,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox.state.faults.add("createBulkJob", **fault)
    sandbox.state.faults.add("listBulkJobs", "status", status=404, times=None)
    got, document = run_main(monkeypatch, capsys, "create-move-job", MOVE, environment)
    assert got == code
    made = len(sandbox.state.truth()["jobs"])
    assert document["error"]["applied"] == ("unknown" if code == 7 else "no")
    assert made == (1 if code == 7 else 0)


def spawn(
    module: str, parameters: object, environment: dict[str, str], *arguments: str, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        input=json.dumps(parameters),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**BASE_ENVIRONMENT, **environment},
        check=False,
    )


def test_a_process_writes_its_result_to_stdout_and_its_log_to_stderr(
    environment: dict[str, str], sandbox: RunningSandbox
) -> None:
    ended = spawn("actions.create_move_job", MOVE, environment)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["created"]
    line = ended.stderr.strip()
    assert re.fullmatch(r"\S+Z POST /accounts/\w+/email-security/investigate/bulk 201 ray=\S+ \d+ms attempt=1", line), (
        line
    )
    assert sandbox.token not in ended.stdout + ended.stderr


def test_the_log_can_be_json_lines_or_off(environment: dict[str, str]) -> None:
    lines = spawn("actions.list_jobs", {}, {**environment, "CFES_LOG": "json"}).stderr.splitlines()
    assert {json.loads(line)["status"] for line in lines} == {200}
    assert {"method", "path", "ray_id", "milliseconds", "attempt"} <= set(json.loads(lines[0]))
    assert spawn("actions.list_jobs", {}, {**environment, "CFES_LOG": "off"}).stderr == ""


def test_exit_status_returns_6_for_a_job_that_has_not_ended(environment: dict[str, str], api: EmailSecurity) -> None:
    params = {"job_id": create_move_job.run(MOVE, api)["job_id"], "timeout_seconds": 0}
    assert spawn("actions.wait_for_job", params, environment).returncode == 0
    asked = spawn("actions.wait_for_job", params, environment, "--exit-status")
    assert (asked.returncode, json.loads(asked.stdout)["done"]) == (6, False)


def test_a_full_disk_is_reported_and_leaves_no_file(
    environment: dict[str, str], tmp_path: Path, api: EmailSecurity
) -> None:
    job_id = finished_job(api)
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "import runpy; runpy.run_module('actions.export_job_messages', run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps({"job_id": job_id, "destination": str(tmp_path / "rows.ndjson")}),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**BASE_ENVIRONMENT, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert ended.returncode == 6, ended.stderr
    assert json.loads(ended.stdout)["error"]["type"] == "OutputError"
    assert not (tmp_path / "rows.ndjson").exists()


def test_help_names_the_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        process.main(catalog.find("wait-for-job"), ["--help"])
    assert ended.value.code == 0
    assert "timeout_seconds" in capsys.readouterr().out


def test_an_unknown_argument_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = run_main(monkeypatch, capsys, "get-job", {}, UNREACHABLE, ("--job-id", JOB_ID))
    assert code == 2
    assert "standard input" in document["error"]["help"]


def test_importing_an_action_loads_nothing_heavy() -> None:
    heavy = ("jinja2", "typer", "rich", "click", "pygments", "fastapi", "yaml", "obstore", "pyarrow")
    script = f"""
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    loaded = [name for name in {heavy} if name in sys.modules]
    if loaded:
        sys.exit(f"{{module}} loads {{loaded}}")
"""
    modules = [action.module for action in catalog.available().values()]
    ended = subprocess.run(
        [sys.executable, "-c", script, *modules], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("by", exhaustive_unless({"cfes"}, ["action", "cfes"]))
def test_sigterm_leaves_no_file(by: str, environment: dict[str, str], api: EmailSecurity, tmp_path: Path) -> None:
    code = """
import os, signal, sys
import remediation.exports.formats.csv_table
from actions import export_job_messages
from actions.contract import process
from platforms.cli import main
def write_half_and_stop(lines, write):
    write(b"half")
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
remediation.exports.formats.csv_table.write_csv = write_half_and_stop
if sys.argv[1] == "cfes":
    sys.exit(main.main(["export-job-messages", "--params", "-"]))
process.main(export_job_messages.ACTION, [])
"""
    params = {"job_id": finished_job(api), "format": "csv", "destination": str(tmp_path / "rows.csv")}
    ended = subprocess.run(
        [sys.executable, "-c", code, by],
        input=json.dumps(params),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (143, "")
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_garbage_collection_is_on_after_import_and_during_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An action process loads its modules without garbage collection."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import actions, gc; print(gc.isenabled())"], capture_output=True, check=True, cwd=ROOT
    )
    assert loaded.stdout == b"True\n"
    collected: list[bool] = []
    monkeypatch.setattr("connectors.call_log.configure", lambda _: collected.append(gc.isenabled()))
    monkeypatch.setattr(sys, "stdin", None)
    gc.disable()
    try:
        with pytest.raises(SystemExit):
            process.main(catalog.find("get-job"), [])
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
    assert collected == [True]
