"""If output is lost, the exit code stays right and the job ID is written to the remaining stream."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actions.contract import catalog, process, streams
from actions.contract.action import Action
from actions.contract.ending import ended_by_signals
from actions.contract.streams import CUT_OFF, STUCK, Channel, kept_streams, record
from core.errors import NotFound, OutcomeUnknown, PackError, PlanRefused, RateLimited
from platforms.cli.command_list import OWN, entries
from platforms.cli.main import main
from platforms.published import manifest
from platforms.published.manifest import ROOT
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.test_playbook_commands import PURGE
from tests.remediation.evidence.test_bundle import make_bundle
from tests.slow import some_of

ACTIONS = list(catalog.available().values())

# Kinds of standard output that accept no data.
LOST = ("full", "closed", "gone", "read-only")

# Every combination of streams for one writing and one reading action; a few for the others.
EVERY_STREAM_SET = ("create-move-job", "list-jobs")

HOSTILE = "\U0001f600 \ud83d \u540d\u524d \u202e caf\u00e9 \u0645\u0631\u062d\u0628\u0627"


@dataclass
class CommandOutcome:
    """The outcome of a command. err: None if standard error accepts no data either."""

    code: int
    out: bytes
    err: str | None


class BrokenStreams:
    """Run an entry point in this process with real file descriptors, broken as the test needs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self._folder = folder

    def run(
        self,
        entry: Callable[[], int],
        out: str = "fine",
        err: str = "fine",
        encoding: str = "utf-8",
        given: bytes = b"",
    ) -> CommandOutcome:
        with ExitStack() as stack, self._monkeypatch.context() as patch:
            paths = {name: self._folder / name for name in ("out", "err")}
            for name, kind in (("out", out), ("err", err)):
                stream = _open_stream(kind, paths[name], encoding)
                if stream is not None:
                    stack.callback(stream.close)
                patch.setattr(sys, f"std{name}", stream)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
            code = entry()
            # Nothing remains that would fail when the interpreter exits.
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            wrote = {name: path.read_bytes() if path.exists() else b"" for name, path in paths.items()}
        stderr_text = wrote["err"].decode(encoding) if err == "fine" else None
        assert "Traceback" not in (stderr_text or "")
        return CommandOutcome(code, wrote["out"], stderr_text)

    def cfes(self, *arguments: str, **streams: Any) -> CommandOutcome:
        return self.run(lambda: main(arguments), **streams)

    def process(self, action: Action[Any, Any], params: Mapping[str, Any], **streams: Any) -> CommandOutcome:
        def entry() -> int:
            with pytest.raises(SystemExit) as ended:
                process.main(action, [])
            assert isinstance(ended.value.code, int)
            return ended.value.code

        return self.run(entry, given=json.dumps(params).encode(), **streams)


def _open_stream(kind: str, path: Path, encoding: str) -> Any:
    match kind:
        case "closed":
            return None
        case "full":
            descriptor = os.open("/dev/full", os.O_WRONLY)
        case "gone":
            our_end, descriptor = os.pipe()
            os.close(our_end)
        case "read-only":
            descriptor = os.open(os.devnull, os.O_RDONLY)
        case _:
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    # A text wrapper around bytes: a text file would call tell() on the pipe.
    return io.TextIOWrapper(io.FileIO(descriptor, "w"), encoding=encoding, errors="strict")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BrokenStreams:
    folder = tmp_path / "streams"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CFES_LOG", "off")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return BrokenStreams(monkeypatch, folder)


@pytest.fixture
def set_result(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """A function that makes every action return this result or raise this error."""

    def set_action_result(result: Any) -> None:
        def run(*_: object) -> Any:
            if isinstance(result, PackError):
                raise result
            return result

        monkeypatch.setattr(Action, "_run", run)

    return set_action_result


def _expected(action: Action[Any, Any], out: str) -> int:
    result = action.example_result
    changed = action.may_change({}) and result.get("changed", result.get("created", True)) is not False
    if changed:
        return 7
    return 0 if out == "gone" else 6


def _job_ids(action: Action[Any, Any]) -> list[str]:
    job_id = action.example_result.get("job_id")
    return [job_id] if isinstance(job_id, str) else []


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_a_command_with_a_lost_result_reports_the_change(
    action: Action[Any, Any], broken: BrokenStreams, set_result: Callable[[Any], None]
) -> None:
    set_result(action.example_result)
    stream_sets = [("full", "json", "fine"), ("gone", "table", "fine"), ("read-only", "table", "full")]
    if action.id in EVERY_STREAM_SET:
        stream_sets = list(itertools.product(LOST, ("json", "table"), ("fine", "full")))
    for out, mode, err in stream_sets:
        ended = broken.cfes(action.id, "--output", mode, out=out, err=err)
        assert ended.code == _expected(action, out), (out, mode, err)
        if ended.err is None or ended.code == 0:
            continue
        assert "can't be written to standard output" in ended.err
        assert ("Something was changed" if ended.code == 7 else "Nothing was changed") in ended.err
        assert all(job_id in ended.err for job_id in _job_ids(action))
    for err in ("full", "closed", "gone") if action.id in EVERY_STREAM_SET else ("full",):
        assert broken.cfes(action.id, "--output", "json", err=err).code == 0


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_an_action_process_with_a_lost_result_reports_the_change(
    action: Action[Any, Any], broken: BrokenStreams, set_result: Callable[[Any], None]
) -> None:
    set_result(action.example_result)
    stream_sets = [("full", "fine"), ("gone", "closed")]
    if action.id in EVERY_STREAM_SET:
        stream_sets = list(itertools.product(LOST, ("fine", "full", "closed")))
    for out, err in stream_sets:
        # For a program, a result that it did not receive is no success, even if its reader left.
        code = _expected(action, out) or 6
        for ended in (
            broken.process(action, {}, out=out, err=err),
            broken.cfes("run", action.id, out=out, err=err, given=b"{}"),
        ):
            assert ended.code == code, (out, err)
            if ended.err is not None:
                assert all(job_id in ended.err for job_id in _job_ids(action))


FAILURES: list[tuple[PackError, int]] = [
    (PlanRefused("the plan is too old"), 3),
    (NotFound("there is no such job"), 5),
    (RateLimited("too many calls"), 6),
    (OutcomeUnknown("the answer was lost", job_id="3f2a51f0-9f8a-4f51-9d3f-0f3f7e1c2a11"), 7),
]


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("out", some_of(LOST, 0, 2))
def test_an_error_with_lost_output_keeps_its_code_and_is_shown_on_stderr(
    out: str, error: PackError, code: int, broken: BrokenStreams, set_result: Callable[[Any], None]
) -> None:
    set_result(error)
    create = catalog.find("create-move-job")
    for err in ("fine", "full", "closed"):
        for ended in (
            broken.cfes("create-move-job", "--output", "json", out=out, err=err),
            broken.cfes("run", "create-move-job", out=out, err=err, given=b"{}"),
            broken.process(create, {}, out=out, err=err),
        ):
            assert ended.code == code
            if ended.err is not None:
                assert f"{type(error).__name__}: {error.message}" in ended.err
                assert (error.job_id or "") in ended.err


def test_a_lost_result_of_a_reused_job_exits_6(broken: BrokenStreams, set_result: Callable[[Any], None]) -> None:
    result = {**catalog.find("create-move-job").example_result, "created": False}
    set_result(result)
    ended = broken.cfes("create-move-job", out="full")
    assert ended.code == 6
    assert result["job_id"] in str(ended.err)


def _with_hostile_texts(value: Any) -> Any:
    """Return an example in which every text is hostile, except field names."""
    if isinstance(value, dict):
        return {key: _with_hostile_texts(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_hostile_texts(one) for one in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_characters_outside_the_encoding_are_replaced(
    action: Action[Any, Any], broken: BrokenStreams, set_result: Callable[[Any], None]
) -> None:
    texts = {
        name: _with_hostile_texts(value)
        if name in ("messages", "jobs", "sample", "warnings", "job", "results")
        else value
        for name, value in action.example_result.items()
    }
    set_result(texts)
    every = ("ascii", "latin-1", "cp1252", "utf-8", "utf-16", "euc-jp")
    for encoding in every if action.id in EVERY_STREAM_SET else ("ascii", "utf-16"):
        for mode in ("json", "table"):
            ended = broken.cfes(action.id, "--output", mode, encoding=encoding)
            assert ended.code == 0, (encoding, mode)
            text = ended.out.decode(encoding)
            assert text if mode == "json" else text or ended.err


def test_characters_of_an_error_outside_the_encoding_are_replaced(broken: BrokenStreams) -> None:
    for encoding in ("ascii", "latin-1", "cp1252"):
        for output in ("json", "table"):
            ended = broken.cfes("get-job", "--job-id", HOSTILE, "--output", output, encoding=encoding)
            assert ended.code == 2
            assert broken.cfes(HOSTILE, encoding=encoding).code == 2


def _tool_calls(folder: Path) -> dict[str, list[tuple[list[str], int]]]:
    """Return calls of every command other than actions, with the exit code if the result is lost."""
    (folder / "purge.yaml").write_text(PURGE)
    (folder / "policy.yaml").write_text("policy: 1\nmax_messages: 10\n")
    (folder / "case").mkdir()
    (folder / "case" / "policy.yaml").touch()
    return {
        "playbook": [
            (["playbook", "list"], 6),
            (["playbook", "show", "purge.yaml"], 6),
            (["playbook", "check", "purge.yaml"], 6),
            (["playbook", "check", "missing.yaml"], 2),
            (["playbook", "run"], 2),
            (["playbook", "run", "--resume", "nowhere"], 2),
            (["playbook"], 2),
        ],
        "policy": [
            (["policy", "check", "policy.yaml"], 6),
            (["policy", "check", "missing.yaml"], 3),
            (["policy", "init", "made"], 7),
            (["policy", "init", "case"], 2),
        ],
        "verify": [(["verify", "bundle"], 6), (["verify", "missing"], 2)],
        "manifest": [
            (["manifest"], 6),
            (["manifest", "--write", "--file", "manifest.json"], 7),
            (["manifest", "--check", "--file", "manifest.json"], 6),
        ],
        "approve": [(["approve", "missing.json", "--key", "missing.pem"], 2), (["approve", "--help"], 6)],
        "run": [(["run", "list-jobs", "--params", "missing.json"], 2), (["run", "--help"], 6)],
        "demo": [(["demo", "--help"], 6), (["demo", "--alert", "missing.json"], 2)],
        "serve": [(["serve", "--help"], 6), (["serve", "--nonsense"], 2)],
        "mcp": [(["mcp", "--help"], 6), (["mcp", "--nonsense"], 2)],
        "worker": [(["worker", "--help"], 6), (["worker", "--nonsense"], 2)],
        "token": [
            (["token", "list"], 6),
            (["token", "create", "tines", "--scopes", "read"], 7),
            (["token", "create", "tines", "--scopes", "read"], 2),
            (["token", "rotate", "tines"], 7),
            (["token", "revoke", "tines"], 7),
            (["token", "revoke", "tines"], 6),
        ],
        "sandbox": [(["sandbox", "--messages", "0", "--manual-clock"], 6), (["sandbox", "--port", "many"], 2)],
    }


@pytest.mark.parametrize(
    ("command", "out"),
    [
        *((command, "full") for command in OWN),
        *((command, out) for command in ("policy", "sandbox") for out in LOST[1:]),
    ],
)
def test_a_tool_with_lost_output_exits_with_its_code(
    command: str, out: str, broken: BrokenStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "manifest":
        monkeypatch.setattr(manifest, "document", lambda: {"id": "pack"})
        monkeypatch.setattr(manifest, "render", lambda: "{}")
    if command == "verify":
        make_bundle(tmp_path / "bundle")
    for number, (arguments, code) in enumerate(_tool_calls(tmp_path)[command]):
        # If the reader leaves because it has enough, nothing was lost.
        expected = 0 if out == "gone" and code == 6 else code
        assert broken.cfes(*arguments, out=out).code == expected, arguments
        if number == 0 and code != 7 and out == "full":
            assert broken.cfes(*arguments, out=out, err="full").code == expected, arguments


@pytest.mark.parametrize("out", LOST)
def test_lost_help_and_version_exit_6(out: str, broken: BrokenStreams) -> None:
    names = entries() if out == "full" else ("list-jobs", "playbook", "sandbox")
    for arguments in (["--help"], ["--version"], *([name, "--help"] for name in names)):
        # The parser of the sandbox writes its help to standard error if standard output is closed.
        fine = out == "gone" or (out == "closed" and arguments[0] == "sandbox")
        assert broken.cfes(*arguments, out=out).code == (0 if fine else 6), arguments


@pytest.fixture
def purge(connected: Any, tmp_path: Path) -> list[str]:
    (tmp_path / "purge.yaml").write_text(PURGE)
    return ["playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--yes"]


@pytest.mark.parametrize(
    ("out", "err"),
    some_of([("full", "fine"), ("full", "full"), ("gone", "fine"), ("closed", "full")], 0, 3),
)
def test_a_playbook_run_with_lost_output_names_its_job(
    out: str, err: str, broken: BrokenStreams, sandbox: RunningSandbox, purge: list[str]
) -> None:
    ended = broken.cfes(*purge, "--directory", "case", out=out, err=err)
    [job] = sandbox.state.truth()["jobs"]
    assert ended.code == 7
    if ended.err is not None:
        assert job["job_id"] in ended.err.splitlines()[-1]
        assert str(Path("case").resolve()) in ended.err
    # The run had ended: resuming shows its result again and changes nothing.
    again = broken.cfes("playbook", "run", "--resume", "case", "--yes", out=out, err=err)
    assert again.code == (0 if out == "gone" else 6)
    assert broken.cfes("playbook", "run", "--resume", "case", "--yes").code == 0


@pytest.mark.parametrize("out", ["full", "gone"])
def test_a_run_with_a_job_and_a_lost_result_sets_the_exit_code_of_each(
    out: str, broken: BrokenStreams, sandbox: RunningSandbox, purge: list[str], tmp_path: Path
) -> None:
    alert = json.loads(EXAMPLE_ALERT.read_text())
    bad = {**alert, "AlertID": "bad", "From": 7}
    (tmp_path / "two.ndjson").write_text(f"{json.dumps(alert)}\n{json.dumps(bad)}\n")
    purge[purge.index("-i") + 1] = "two.ndjson"
    ended = broken.cfes(*purge, "--each", out=out)
    [job] = sandbox.state.truth()["jobs"]
    assert ended.code == 7
    assert f"Something was changed; job: {job['job_id']}" in (ended.err or "")
    # If nothing was lost, the refused run is the worst.
    assert broken.cfes(*purge, "--each").code == 2


@pytest.mark.parametrize("out", ["full", "gone"])
def test_a_plan_with_lost_output_changes_nothing(
    out: str, broken: BrokenStreams, sandbox: RunningSandbox, purge: list[str]
) -> None:
    ended = broken.cfes(*purge, "--plan-only", out=out)
    assert ended.code == (0 if out == "gone" else 6)
    assert sandbox.state.truth()["jobs"] == []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_playbook_run_works_with_a_small_encoding(encoding: str, broken: BrokenStreams, purge: list[str]) -> None:
    ended = broken.cfes(*purge, encoding=encoding)
    assert ended.code == 0
    assert json.loads(ended.out)["status"] == "completed"


@pytest.mark.parametrize(
    ("entry", "closing"),
    some_of(
        [
            *(("cfes", closing) for closing in (">&-", "2>&-", ">&- 2>&- <&-", "| head -c 0")),
            *(("action", closing) for closing in (">&-", "<&-", ">/dev/full 2>&-")),
        ],
        0,
        2,
        4,
    ),
)
def test_a_process_with_closed_streams_exits_with_the_right_code(
    entry: str, closing: str, sandbox: RunningSandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    """With real descriptors: the connection to the service must not become standard output."""
    params = {"search_params": {"sender": "billing@invoice-portal.example", "start": "2026-11-13T15:32:35Z"}}
    (tmp_path / "params.json").write_text(json.dumps({**params, "destination": "JunkEmail", "wait_follows": True}))
    if entry == "cfes":
        command = f'"{sys.executable}" -m platforms.cli create-move-job --params "{tmp_path}/params.json"'
    else:
        command = f'"{sys.executable}" -m actions.create_move_job'
    given = "" if entry == "cfes" or "<&-" in closing else f'<"{tmp_path}/params.json"'
    ended = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {command} {given} {closing}"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "CFES_LOG": "off", **environment},
    )  # fmt: skip
    jobs = sandbox.state.truth()["jobs"]
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    if entry == "action" and "<&-" in closing:
        assert (ended.returncode, jobs) == (2, [])
        return
    [job] = jobs
    if closing in ("2>&-", "<&-"):
        assert (ended.returncode, json.loads(ended.stdout)["job_id"]) == (0, job["job_id"])
        return
    assert ended.returncode == 7 or closing.startswith("|")
    if closing == ">&-":
        assert job["job_id"] in ended.stderr


@pytest.mark.parametrize("same_pipe", [False, True])
def test_a_signal_ends_a_process_that_blocks_on_its_output(
    same_pipe: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The handler ignores later signals, so another blocking write would hang the process."""
    reader, full = os.pipe()
    os.set_blocking(full, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(full, b"x" * 65_536)
    blocked_writes: list[int] = []

    def write(descriptor: int, data: bytes) -> int:
        if descriptor == full:
            blocked_writes.append(descriptor)
            # The signal that ends the process arrives while the write blocks.
            signal.raise_signal(signal.SIGTERM)
        return os_write(descriptor, data)

    os_write = os.write
    monkeypatch.setattr(streams, "LAST_PATIENCE_SECONDS", 0)
    with (tmp_path / "err").open("w+") as errors, os.fdopen(full, "w") as out, os.fdopen(reader, "rb"):
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", out if same_pipe else errors)
        with ended_by_signals(), kept_streams() as ledger, monkeypatch.context() as patched:
            patched.setattr(os, "write", write)
            record(changed=True, job_id="job-1")
            sys.stdout.write("{}\n")
            code = ledger.settle(0)
        stderr_text = (tmp_path / "err").read_text()
    assert code == 128 + signal.SIGTERM
    assert len(blocked_writes) == 1
    assert same_pipe or ("job-1" in stderr_text and CUT_OFF in stderr_text)


def _has_pending_signal(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return any(line.split()[1].strip("0") for line in status.splitlines() if line.startswith("ShdPnd:"))


def test_a_closed_terminal_ends_the_command_without_a_traceback(environment: dict[str, str], tmp_path: Path) -> None:
    our_end, their_end = pty.openpty()
    stderr_file = (tmp_path / "err").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "platforms.cli", "approve", "-", "--key", "missing.pem"],
        cwd=ROOT, stdin=their_end, stdout=their_end, stderr=stderr_file, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    os.close(their_end)
    deadline = time.monotonic() + 60
    try:
        # The process reads once it has written this line.
        while b"reading from the terminal" not in (tmp_path / "err").read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGHUP)
        # Without a terminal the read would fail first, and end the command otherwise.
        while _has_pending_signal(process.pid):
            assert time.monotonic() < deadline
        os.close(our_end)
        assert process.wait(60) == 128 + signal.SIGHUP
    finally:
        process.kill()
        process.wait()
        stderr_file.close()
    assert b"Traceback" not in (tmp_path / "err").read_bytes()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    our_end, their_end = os.pipe()
    os.set_blocking(their_end, False)
    yield our_end, their_end
    os.close(our_end)
    os.close(their_end)


def test_a_nonblocking_pipe_receives_everything(pipe: tuple[int, int]) -> None:
    our_end, their_end = pipe
    size = 1_000_000
    read = bytearray()

    def drain() -> None:
        while len(read) < size:
            read.extend(os.read(our_end, 65_536))

    reader = threading.Thread(target=drain)
    reader.start()
    channel = Channel(their_end, whole=True)
    assert channel.write(b"x" * size) == size
    reader.join(60)
    assert (len(read), channel.lost) == (size, None)


def test_a_full_pipe_without_a_reader_is_reported_as_stuck(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LAST_PATIENCE_SECONDS", 0.05)
    channel = Channel(pipe[1], whole=True, patience=0)
    channel.write(b"x" * 1_000_000)
    assert channel.lost == STUCK


def test_nothing_of_a_result_is_written_after_a_gap(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        channel = Channel(file.fileno(), whole=True)
        channel.lost = "No space left on device"
        channel.write(b"the rest")
        log = Channel(file.fileno(), whole=False)
        log.lost = "No space left on device"
        log.write(b"a line of the log")
    assert (tmp_path / "file").read_bytes() == b"a line of the log"


def test_ctrl_c_after_the_create_names_the_job(broken: BrokenStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = "3f2a51f0-9f8a-4f51-9d3f-0f3f7e1c2a11"

    def record_then_interrupt(*_: object) -> Any:
        record(changed=True, job_id=job_id)
        raise KeyboardInterrupt

    monkeypatch.setattr(Action, "_run", record_then_interrupt)
    for ended in (
        broken.cfes("create-move-job"),
        broken.cfes("run", "create-move-job", given=b"{}"),
        broken.process(catalog.find("create-move-job"), {}),
    ):
        assert ended.code == 130
        assert job_id in str(ended.err)
