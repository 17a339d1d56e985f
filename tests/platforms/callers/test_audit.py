"""The audit log: one line for each request, whole, private and without secrets."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutputError
from platforms.callers.audit import LONGEST_VALUE, AuditLog, Request
from platforms.callers.tokens import new_token
from tests.clock import FakeClock

DONE = Request("POST", "/v1/actions/{id}", 200, 17, "tines", "create-move-job", applied="yes", client="192.0.2.7")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    log = AuditLog(path, FakeClock())
    yield log
    log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_says_who_did_what_when_and_how_it_ended(log: AuditLog, path: Path) -> None:
    log.write(DONE)
    assert path.read_text() == (
        '{"time":"2026-11-20T16:02:35.000000Z","caller":"tines","method":"POST","route":"/v1/actions/{id}",'
        '"subject":"create-move-job","run_id":null,"status":200,"error_type":null,"applied":"yes","duration_ms":17,'
        '"client":"192.0.2.7","idempotency_key_sha256":null}\n'
    )


def test_a_key_is_written_as_its_digest(log: AuditLog, path: Path) -> None:
    log.write(Request("POST", "/v1/playbooks/{id}/runs", 202, 1, idempotency_key="case-4711"))
    [line] = lines(path)
    assert line["idempotency_key_sha256"] == hashlib.sha256(b"case-4711").hexdigest()
    assert "case-4711" not in path.read_text()


def test_a_token_in_a_path_or_key_does_not_show(log: AuditLog, path: Path) -> None:
    token = new_token(os.urandom)
    for subject in (token, f"x{token}", token[:-9], "y" * 200 + token, "z" * 4090 + token, token * 80):
        log.write(Request("GET", "/v1/runs/{run_id}", 404, 1, token, subject, token, client=token))
    text = path.read_text()
    assert token[16:28] not in text
    assert token[:15] in text


@pytest.mark.parametrize(
    "hostile", ["a\nb", "\r\n", "\x1b[2J", "\x7f", "\x9b", "\u2028", "\u202e", "\0", "\udc80", '"}']
)
def test_no_text_breaks_a_line_or_steers_a_terminal(hostile: str, log: AuditLog, path: Path) -> None:
    log.write(Request("GET", "/v1/runs/{run_id}", 404, 1, subject=hostile, client=hostile, idempotency_key=hostile))
    data = path.read_bytes()
    assert data.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    assert lines(path)[0]["subject"] == hostile


def test_a_long_text_is_cut(log: AuditLog, path: Path) -> None:
    log.write(Request("X" * 2**20, "/", 405, 1, subject="y" * 2**20))
    [line] = lines(path)
    assert line["subject"] == "y" * LONGEST_VALUE
    assert path.stat().st_size < 4096


def test_the_file_is_private_under_any_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        AuditLog(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_log_is_continued(log: AuditLog, path: Path) -> None:
    log.write(DONE)
    again = AuditLog(path)
    again.write(DONE)
    again.close()
    assert len(lines(path)) == 2


def test_a_line_that_a_killed_process_left_stays_apart(path: Path) -> None:
    path.write_text('{"time":"2026-')
    path.chmod(0o600)
    log = AuditLog(path)
    log.write(DONE)
    log.write(DONE)
    log.close()
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"time":"2026-'
    assert [json.loads(line)["caller"] for line in whole] == ["tines", "tines"]


class TestUnusableFile:
    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
    def test_a_file_that_others_can_open_is_refused_with_the_command(self, mode: int, path: Path) -> None:
        path.touch()
        path.chmod(mode)
        with pytest.raises(OutputError, match="accessible to other users") as refused:
            AuditLog(path)
        assert f"chmod 600 {path}" in refused.value.help

    def test_a_link_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutputError, match="symbolic links"):
            AuditLog(path)
        assert not (tmp_path / "elsewhere").exists()

    def test_a_second_hard_link_is_refused(self, path: Path, tmp_path: Path) -> None:
        AuditLog(path).close()
        os.link(path, tmp_path / "other")
        with pytest.raises(OutputError, match="2 hard links"):
            AuditLog(path)

    def test_a_pipe_is_refused_without_a_wait(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        with pytest.raises(OutputError, match="not a regular file"):
            AuditLog(path)

    @pytest.mark.parametrize("name", ["missing/audit", ".", "a\0b", "x" * 300])
    def test_a_path_that_cannot_be_opened_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="can't be used") as refused:
            AuditLog(tmp_path / name)
        assert refused.value.help.startswith("Nothing was changed.")


class TestFailedWrites:
    @pytest.fixture(autouse=True)
    def _full(self, path: Path, log: AuditLog) -> Iterator[None]:
        """The file has room for one line and a half."""
        log.write(DONE)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size * 3 // 2, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    def test_a_full_disk_is_an_error_that_says_what_happened(self, log: AuditLog) -> None:
        assert log.problem is None
        with pytest.raises(OutputError, match=r"can't be written: File too large") as failed:
            log.write(DONE)
        assert failed.value.applied == "yes"
        assert not failed.value.retryable
        assert log.problem == "File too large"

    def test_after_a_full_disk_the_next_line_is_whole(self, log: AuditLog, path: Path) -> None:
        for _ in range(3):
            with pytest.raises(OutputError):
                log.write(DONE)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit[1], limit[1]))
        log.write(DONE)
        assert log.problem is None
        first, torn, last = path.read_text().splitlines()
        assert json.loads(first) == json.loads(last)
        assert first.startswith(torn)

    def test_a_closed_log_is_an_error(self, log: AuditLog) -> None:
        log.close()
        log.close()
        with pytest.raises(OutputError, match="it is closed"):
            log.write(DONE)


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    log = AuditLog(None)
    log.write(DONE)
    log.close()
    assert log.problem is None
    assert list(tmp_path.iterdir()) == []


def test_the_lines_of_many_threads_stay_whole(log: AuditLog, path: Path) -> None:
    other = AuditLog(path)

    def write(to: AuditLog, number: int) -> None:
        for _ in range(200):
            to.write(Request("GET", "/v1/runs", 200, number, subject="s" * number))

    threads = [threading.Thread(target=write, args=(to, n)) for n, to in enumerate([log, other] * 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len(lines(path)) == 1600
