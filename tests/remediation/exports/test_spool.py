"""Temporary files of an upload are removed after every signal, and kept rows are removed after some days."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from actions.contract.ending import ENDING
from remediation.exports.files.spool import KEPT_DAYS, open_spool
from tests.exhaustive import exhaustive_unless
from tests.middlebox import WAIT_SECONDS
from tests.object_stores import Answer, Door, Request, refusal

ROOT = Path(__file__).parents[3]

UPLOAD = """
import sys
from pathlib import Path
from actions.contract.ending import ended_by_signals
from remediation.exports.destinations.place import open_place
with ended_by_signals(), open_place("s3://bucket/rows", overwrite=True) as place:
    Path(place.path).write_bytes(b"rows")
    place.deliver()
"""
FUNCTION = """
from remediation.exports.files.spool import open_spool
from platforms import aws_lambda
def waits(*_):
    with open_spool():
        print("here", flush=True)
        input()
aws_lambda.run = waits
aws_lambda.handler({}, None)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start_process(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 -- tests may run under nohup
    )


@pytest.mark.parametrize("number", exhaustive_unless({signal.SIGTERM, signal.SIGHUP}, ENDING))
def test_a_signal_ends_an_upload_at_once_and_leaves_no_file(
    number: signal.Signals, folder: Path, door: Callable[..., Door]
) -> None:
    uploads, released = threading.Event(), threading.Event()

    def hang(request: Request) -> Answer:
        if request.method != "PUT":
            return refusal(404, "NoSuchKey")
        uploads.set()
        released.wait(WAIT_SECONDS)
        return Answer(503)

    door(hang)
    with start_process(UPLOAD) as process:
        assert uploads.wait(WAIT_SECONDS)
        assert list(folder.iterdir())
        process.send_signal(number)
        try:
            # The store still has the request and does not answer.
            assert process.wait(WAIT_SECONDS / 2) == 128 + number
        finally:
            released.set()
    assert list(folder.iterdir()) == []


def test_a_terminated_function_leaves_no_file(folder: Path) -> None:
    with start_process(FUNCTION) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert list(folder.iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_kept_rows_are_removed_when_they_are_fetched_and_stored_or_too_old(folder: Path) -> None:
    for name in ("a", "b"):
        with open_spool() as first:
            (first.path / "file.partial").write_text(name)
            kept = first.keep(name * 64, ["file.partial.calls", "file.partial"])
            assert kept is not None
    assert len(list(folder.iterdir())) == 2
    with open_spool() as second:
        assert second.fetch("a" * 64)
        assert (second.path / "file.partial").read_text() == "a"
        assert (second.path / "file.partial").stat().st_mode & 0o777 == 0o600
        assert not second.fetch("c" * 64)
        assert len(list(folder.iterdir())) == 3
        second.forget()
    [kept_directory] = folder.iterdir()
    days_ago = kept_directory.stat().st_mtime - KEPT_DAYS * 86_400
    os.utime(kept_directory, (days_ago + 3600, days_ago + 3600))
    with open_spool():
        assert kept_directory.exists()
    os.utime(kept_directory, (days_ago - 3600, days_ago - 3600))
    with open_spool():
        assert not kept_directory.exists()


def test_a_directory_of_another_program_is_neither_fetched_nor_removed(folder: Path) -> None:
    open_to_all = folder / f"cfes-kept-{'a' * 32}"
    open_to_all.mkdir(mode=0o755)
    (open_to_all / "file.partial").write_text("planted")
    linked = folder / f"cfes-kept-{'b' * 32}"
    linked.symlink_to(open_to_all)
    for path in (open_to_all, linked):
        os.utime(path, (0, 0), follow_symlinks=False)
    with open_spool() as opened:
        assert not opened.fetch("a" * 64)
        assert not opened.fetch("b" * 64)
        assert opened.keep("a" * 64, []) is None
    assert {path.name for path in folder.iterdir()} == {open_to_all.name, linked.name}
