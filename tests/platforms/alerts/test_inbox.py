"""Batches are stored before they are accepted, whatever they contain."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConnectionSettingsError, PackError, ParameterError
from platforms.alerts.errors import BatchRefused, BatchTooLarge, EncodingUnsupported, InboxFull
from platforms.alerts.inbox import ALERTS, EVENTS, Inbox, InboxLimits, Receipt
from platforms.alerts.record_lines import LONGEST_LINE_BYTES, MOST_LINES, read_record, records_of
from tests.clock import FakeClock

TEST_RECORD = b'{"content":"tests"}\n'
TWO = b'{"AlertID":"1"}\n{"AlertID":"2"}\n'

# Without the time, so that each process of the tests gives the cases the same names.
zipped = partial(gzip.compress, mtime=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def inbox(folder: Path) -> Inbox:
    return Inbox(folder, FakeClock())


def send(inbox: Inbox, body: bytes, encoding: str | None = None, *, step: int = 65_536) -> Receipt:
    with inbox.begin(ALERTS, encoding) as writer:
        for start in range(0, len(body), step):
            writer.write(body[start : start + step])
        return writer.finish()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def stored(receipt: Receipt) -> list[Any]:
    assert receipt.batch is not None
    return [read_record(line) for _, line in records_of(receipt.batch.lines())]


@pytest.mark.parametrize("encoding", [None, "", "identity", "gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("body", [TWO, zipped(TWO), TWO[:-1], b"\n\n" + TWO.replace(b"\n", b"\r\n\r\n")])
def test_a_batch_is_read_by_its_first_bytes_whatever_the_header_says(
    inbox: Inbox, body: bytes, encoding: str | None
) -> None:
    receipt = send(inbox, body, encoding)
    assert receipt.received == 2
    assert stored(receipt) == [{"AlertID": "1"}, {"AlertID": "2"}]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 65_536])
def test_the_size_of_the_chunks_makes_no_difference(inbox: Inbox, step: int) -> None:
    body = gzip.compress(b'{"AlertID":"1"}\n{"Alert') + b"\0\0" + gzip.compress(b'ID":"2"}\n') + gzip.compress(b"")
    assert stored(send(inbox, body, "gzip", step=step)) == [{"AlertID": "1"}, {"AlertID": "2"}]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_another_encoding_is_refused(inbox: Inbox, folder: Path, encoding: str) -> None:
    with pytest.raises(EncodingUnsupported, match="is not supported"):
        send(inbox, TWO, encoding)
    assert files(folder) == []


def test_an_unknown_dataset_is_refused(inbox: Inbox) -> None:
    with pytest.raises(ParameterError, match="did you mean 'email_security_alerts'"):
        inbox.begin("email_security_alert")


@pytest.mark.parametrize("body", [TEST_RECORD, zipped(TEST_RECORD), b"test", b'"test"\n', TEST_RECORD * 3])
def test_the_test_upload_of_logpush_is_accepted_and_not_stored(inbox: Inbox, folder: Path, body: bytes) -> None:
    assert send(inbox, body) == Receipt(0, True, None)
    assert files(folder) == []


@pytest.mark.parametrize("body", [b"", b"\n\r\n ", zipped(b""), b"\xef\xbb\xbf"])
def test_an_empty_body_is_accepted_and_not_stored(inbox: Inbox, folder: Path, body: bytes) -> None:
    assert send(inbox, body) == Receipt(0, False, None)
    assert files(folder) == []


def test_a_test_record_among_alerts_is_no_alert(inbox: Inbox) -> None:
    receipt = send(inbox, TEST_RECORD + TWO)
    assert (receipt.received, receipt.test) == (2, False)
    assert stored(receipt) == [{"AlertID": "1"}, {"AlertID": "2"}]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'{"Subject":"\\ud800"}', {"Subject": "\ufffd"}),
        (b'{"Subject":"a\xffb"}', {"Subject": "a\ufffdb"}),
        (b'{"Subject":"\\u0000"}', {"Subject": "\0"}),
        (b'\xef\xbb\xbf{"Subject":"x"}', {"Subject": "x"}),
        (b'{"Subject":"${jndi}","From":"x{jndi}"}', {"Subject": "${jndi}", "From": "x{jndi}"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"n":' + b"9" * 400 + b"}", {"n": int("9" * 400)}),
        (b'{"n":1e999}', {"n": float("inf")}),
        ('{"Subject":"請求書 🎁 فاتورة"}'.encode(), {"Subject": "請求書 🎁 فاتورة"}),
    ],
)
def test_odd_text_that_a_sender_of_mail_can_choose_blocks_no_batch(
    inbox: Inbox, record: bytes, expected: dict[str, Any]
) -> None:
    assert stored(send(inbox, record + b"\n" + TWO)) == [expected, {"AlertID": "1"}, {"AlertID": "2"}]


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b'"text"',
        b"1",
        b"null",
        b"{",
        b'{"a":tru}',
        b'{"a":NaN}',
        b'{"a":"x\x00y"}',
        b'{"a":"\\x"}',
        b'{"a":1} {"b":2}',
        b'{"a":1}{"b":2}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"AlertID,From",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_a_malformed_line_refuses_the_batch_and_is_named(inbox: Inbox, folder: Path, line: bytes) -> None:
    with pytest.raises(BatchRefused, match="line 3 is not a record") as caught:
        send(inbox, TWO + line + b"\n" + TWO)
    assert caught.value.document()["error"]["message"].isprintable()
    assert files(folder) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (zipped(TWO)[:-9], "cut off"),
        (zipped(TWO)[:12], "cut off"),
        (zipped(TWO)[:10] + b"\xff" * 30, "damaged"),
        (zipped(TWO) + b"rest", "damaged"),
        (zipped(zipped(TWO)), "gzip twice"),
    ],
)
def test_damaged_compression_is_refused(inbox: Inbox, folder: Path, body: bytes, problem: str) -> None:
    for step in (1, 65_536):
        with pytest.raises(BatchRefused, match=problem):
            send(inbox, body, "gzip", step=step)
    assert files(folder) == []


def bomb(size: int) -> Iterable[bytes]:
    yield from (gzip.compress(b'{"a":"' + b" " * size),)


def test_a_gzip_bomb_is_refused_in_little_memory(inbox: Inbox, folder: Path) -> None:
    [body] = bomb(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BatchTooLarge, match=f"line 1 is longer than {LONGEST_LINE_BYTES} bytes"):
            send(inbox, body, "gzip")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert files(folder) == []


def test_a_line_without_end_is_refused_before_it_fills_the_memory(inbox: Inbox, folder: Path) -> None:
    with inbox.begin(ALERTS) as writer, pytest.raises(BatchTooLarge, match="line 1 is longer"):
        for _ in range(10_000):
            writer.write(b"x" * 100_000)
    assert files(folder) == []


def test_the_number_of_lines_is_limited(inbox: Inbox, folder: Path) -> None:
    with pytest.raises(BatchTooLarge, match="more than 1,000,000 lines"):
        send(inbox, b"\n" * (MOST_LINES + 1))
    assert files(folder) == []


def test_the_size_of_a_batch_is_limited(folder: Path) -> None:
    inbox = Inbox(folder, FakeClock(), InboxLimits(received_bytes=1000, unpacked_bytes=2000))
    with pytest.raises(BatchTooLarge, match="the body is larger than 1,000 bytes"):
        send(inbox, TWO * 100, step=100)
    with pytest.raises(BatchTooLarge, match="larger than 2,000 bytes when it is unpacked"):
        send(inbox, gzip.compress(TWO * 100), step=100)
    assert files(folder) == []


def test_a_full_inbox_asks_to_send_the_batch_again(folder: Path) -> None:
    inbox = Inbox(folder, FakeClock(), InboxLimits(waiting_bytes=40))
    first = send(inbox, TWO).batch
    send(inbox, TWO)
    with pytest.raises(InboxFull) as caught:
        send(inbox, TWO)
    assert caught.value.retryable
    assert first is not None
    inbox.remove(first)
    assert send(inbox, TWO).received == 2


def test_batches_keep_the_order_of_arrival_even_if_the_clock_is_set_back(folder: Path) -> None:
    clock = FakeClock()
    inbox = Inbox(folder, clock)
    sent = [send(inbox, TWO).batch]
    clock.set_forward(days=-1)
    sent += [send(inbox, TWO).batch, inbox.put(EVENTS, {"Operation": "move"}).batch]
    again = Inbox(folder, clock)
    sent.append(send(again, TWO).batch)
    assert again.batches() == sent
    assert sent[0] is not None
    assert sent[0].stored_at == FakeClock().now()


def test_stored_batches_are_private_to_this_user(inbox: Inbox, folder: Path) -> None:
    send(inbox, TWO)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}


def test_a_directory_that_others_can_open_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with pytest.raises(ConnectionSettingsError, match="accessible to other users"):
        Inbox(folder, FakeClock())


def test_a_batch_that_is_aborted_leaves_nothing(inbox: Inbox, folder: Path) -> None:
    writer = inbox.begin(ALERTS)
    writer.write(TWO)
    writer.abort()
    writer.abort()
    assert files(folder) == []
    with pytest.raises(ValueError, match="already accepted or discarded"):
        writer.finish()


KILLED = """
import os, signal, sys
from pathlib import Path
from core.clock import SystemClock
from platforms.alerts.inbox import Inbox
inbox = Inbox(Path(sys.argv[1]), SystemClock())
with inbox.begin("email_security_alerts") as writer:
    writer.write(b'{"AlertID":"1"}\\n')
    writer.finish()
    writer = inbox.begin("email_security_alerts")
    writer.write(b'{"AlertID":"2"}\\n')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_accepted_batch_and_leaves_no_other(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files(folder)) == 2
    inbox = Inbox(folder, FakeClock())
    [batch] = inbox.batches()
    assert [line for _, line in records_of(batch.lines())] == [b'{"AlertID":"1"}']
    assert files(folder) == [batch.path]


def test_a_batch_that_another_process_receives_is_not_a_leftover(inbox: Inbox, folder: Path) -> None:
    with inbox.begin(ALERTS) as writer:
        writer.write(TWO)
        Inbox(folder, FakeClock())
        assert writer.finish().received == 2


def test_a_batch_that_can_not_be_read_is_kept_aside(inbox: Inbox, folder: Path) -> None:
    batch = send(inbox, TWO).batch
    assert batch is not None
    assert inbox.set_aside(batch).read_bytes() == TWO
    assert (inbox.batches(), inbox.waiting_bytes) == ([], 0)


def test_a_full_disk_is_a_temporary_failure(inbox: Inbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, inbox.begin(ALERTS) as writer:
        patched.setattr(os, "write", full)
        with pytest.raises(InboxFull, match="No space left"):
            writer.write(TWO)
    assert files(folder) == []


def test_the_errors_have_documents() -> None:
    error: PackError = BatchRefused("x")
    assert json.loads(json.dumps(error.document()))["error"]["applied"] == "no"
