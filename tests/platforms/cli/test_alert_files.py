"""Alert files from Logpush and people: compressed or not, one or several records, with test records."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from core.errors import ParameterError
from platforms.cli.inputs.alert_records import LARGEST_UNPACKED_BYTES, records_of
from platforms.cli.inputs.documents import LARGEST_BYTES
from platforms.cli.playbook_run import WORST_FIRST, worst_of
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_tools import SEARCH_PLAYBOOK

FIRST, SECOND = {"AlertID": "1", "Subject": "Größe 🧾"}, {"AlertID": "2"}
TEST = b'{"content":"tests"}'
LINES = b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in (FIRST, SECOND))

ACCEPTED: dict[str, tuple[bytes, list[dict[str, Any]]]] = {
    "an object": (json.dumps(FIRST).encode(), [FIRST]),
    "an object on several lines": (json.dumps(FIRST, indent=2).encode(), [FIRST]),
    "an array": (json.dumps([FIRST, SECOND], indent=1).encode(), [FIRST, SECOND]),
    "an array of one": (json.dumps([FIRST]).encode(), [FIRST]),
    "lines": (LINES, [FIRST, SECOND]),
    "Windows lines with a BOM": (b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"), [FIRST, SECOND]),
    "blank lines": (b"\n \n" + LINES.replace(b"\n", b"\n\n\t\n"), [FIRST, SECOND]),
    "lone carriage returns": (LINES.replace(b"\n", b"\r"), [FIRST, SECOND]),
    "a BOM before each line": (b"\xef\xbb\xbf" + LINES[:-1].replace(b"\n", b"\n\xef\xbb\xbf"), [FIRST, SECOND]),
    "a line separator in a text": ('{"a": "x\u2028y"}\n{"a": "x\u0085y"}'.encode(), [
        {"a": "x\u2028y"}, {"a": "x\u0085y"}
    ]),
    "no line break at the end": (LINES[:-1], [FIRST, SECOND]),
    "a test record first": (TEST + b"\n" + LINES, [FIRST, SECOND]),
    "test records with white space": (LINES + b'{ "content" : "tests" }\n' + TEST, [FIRST, SECOND]),
    "a test record in an array": (json.dumps([{"content": "tests"}, FIRST]).encode(), [FIRST]),
    "records similar to a test record": (b'{"content":"tests","AlertID":"1"}\n{"content":"test"}', [
        {"content": "tests", "AlertID": "1"}, {"content": "test"}
    ]),
    "a repeated alert": (LINES + LINES, [FIRST, SECOND]),
    "alerts without an ID": (b'{"a":1}\n{"a":1}\n{"AlertID":""}\n{"AlertID":""}', [
        {"a": 1}, {"a": 1}, {"AlertID": ""}, {"AlertID": ""}
    ]),
}  # fmt: skip


@pytest.mark.parametrize("compression", ["plain", "gzip", "gzip in parts"])
@pytest.mark.parametrize("case", ACCEPTED)
def test_every_file_format_is_read(case: str, compression: str) -> None:
    data, expected = ACCEPTED[case]
    if compression == "gzip":
        data = gzip.compress(data)
    elif compression == "gzip in parts":
        data = gzip.compress(data[:7]) + gzip.compress(data[7:])
    assert records_of(data, "FILE").found == expected


REFUSED = {
    "nothing": (b"", "is empty"),
    "blank lines": (b"\xef\xbb\xbf \r\n\n", "is empty"),
    "an empty array": (b"[]", "has no record"),
    "a test record alone": (TEST, "only Logpush's test record"),
    "an array item that is not an object": (b'[{"AlertID":"1"}, 2]', "item 2 is not a JSON object"),
    "a line that is not an object": (LINES + b"[1]\n", "line 3"),
    "a truncated line": (LINES + b'{"AlertID": ', "line 3"),
    "a truncated first line": (b'{"AlertID": \n' + LINES, "line 1"),
    "NUL bytes after the lines": (LINES + bytes(16), "line 3"),
    "gzip twice": (gzip.compress(gzip.compress(LINES)), "gzip twice"),
    "a text": (b'"alert"', "object"),
    "a duplicate key": (b'{"AlertID":"1","AlertID":"2"}', "twice"),
    "UTF-16": (json.dumps(FIRST).encode("utf-16"), "UTF-16"),
    "UTF-16 without a BOM": (json.dumps(FIRST).encode("utf-16-le"), "UTF-16"),
    "UTF-16 in gzip": (gzip.compress(json.dumps(FIRST).encode("utf-16-be")), "UTF-16"),
    "Latin-1": ('{"Subject": "Größe"}'.encode("latin-1"), "FILE"),
    "a truncated gzip file": (gzip.compress(LINES * 100)[:60], "the file is cut off"),
    "a damaged gzip file": (gzip.compress(LINES)[:12] + b"\xff" * 30, "can't be unpacked"),
    "bytes after a gzip file": (gzip.compress(LINES) + b"more", "can't be unpacked"),
    "deep nesting": (b"[" * 100_000, "FILE"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_without_a_usable_record_is_refused(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(ParameterError, match=message) as refused:
        records_of(data, "FILE")
    assert refused.value.message.startswith("FILE")


def test_a_gzip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b" " * (LARGEST_UNPACKED_BYTES * 4), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(ParameterError, match="unpacks to more than"):
        records_of(bomb, "FILE")
    assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_UNPACKED_BYTES
    tracemalloc.stop()


def test_many_empty_gzip_parts_are_read_in_linear_time() -> None:
    part = gzip.compress(b"")
    started = time.process_time()
    with pytest.raises(ParameterError, match="FILE"):
        records_of(part * (LARGEST_BYTES // 8 // len(part)), "FILE")
    assert time.process_time() - started < 5


GOOD = {"AlertID": "good", "From": "payments@invoice-portal.example"}
BAD = {"AlertID": "bad", "From": 7}


@pytest.fixture
def search_playbook(tmp_path: Path) -> str:
    (tmp_path / "search.yaml").write_text(SEARCH_PLAYBOOK)
    return str(tmp_path / "search.yaml")


def lines_file(tmp_path: Path, *records: Any) -> str:
    path = tmp_path / "alerts.log.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in records).encode()))
    return str(path)


def test_each_record_has_its_own_run_and_a_failure_stops_none(
    connected: Cfes, search_playbook: str, tmp_path: Path
) -> None:
    alerts = lines_file(tmp_path, {"content": "tests"}, BAD, GOOD, BAD)
    ended = connected("playbook", "run", search_playbook, "-i", alerts, "--each", "--directory", str(tmp_path / "runs"))
    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert [one["status"] for one in documents] == ["failed", "completed"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["0001", "0002"]
    assert ended.code == 2
    assert "Left out 1 Logpush test record." in ended.err
    assert "1 record with an AlertID that came before" in ended.err
    assert "Record 2 of 2 (AlertID good)" in ended.err
    assert "\n\n2 runs: 1 with exit 0, 1 with exit 2\n" in ended.err
    assert "\n\nRecord 2 of 2" in ended.err
    assert connected("playbook", "run", search_playbook, "-i", lines_file(tmp_path, GOOD), "--each").code == 0


def test_an_interrupt_lists_the_records_that_were_not_run(
    connected: Cfes, search_playbook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [{**GOOD, "AlertID": str(number)} for number in range(4)]
    run, calls = Action.run, []

    def interrupt_second_call(action: Action[Any, Any], *extra_input: Any) -> dict[str, Any]:
        calls.append(action.id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(action, *extra_input)

    monkeypatch.setattr(Action, "run", interrupt_second_call)
    ended = connected("playbook", "run", search_playbook, "-i", lines_file(tmp_path, *records), "--each")
    assert (ended.code, len(calls)) == (130, 2)
    assert "1 run: 1 with exit 0" in ended.err
    assert "Record 2 was interrupted. Not run: records 3 to 4." in ended.err


def test_record_selects_one_of_several_records(connected: Cfes, search_playbook: str, tmp_path: Path) -> None:
    alerts = lines_file(tmp_path, BAD, GOOD)
    ended = connected("playbook", "run", search_playbook, "--set", f"alert=@{alerts}", "--record", "2")
    assert ended.code == 0
    assert "Using record 2 of 2 (AlertID good)" in ended.err
    refused = connected("playbook", "run", search_playbook, "-i", alerts)
    assert refused.code == 2
    assert "has 2 records, and a run takes one" in refused.error["message"]
    assert "--record N (1 to 2)" in refused.error["help"]
    for number in ("0", "3", "-1"):
        assert connected("playbook", "run", search_playbook, "-i", alerts, "--record", number).code == 2


@pytest.mark.parametrize(
    "more", [("--each", "--plan-only"), ("--each", "--record", "1"), ("--each", "--resume", "x"), ("--record", "1")]
)
def test_conflicting_options_are_refused(
    more: tuple[str, ...], cfes: Cfes, search_playbook: str, tmp_path: Path
) -> None:
    extra_input = ("--set", 'alert={"From": "a@b.example"}') if more[0] == "--record" else ()
    ended = cfes("playbook", "run", search_playbook, *extra_input, *more)
    assert (ended.code, ended.error["type"]) == (2, "ParameterError")
    assert not (tmp_path / "cfes-runs").exists()


def test_too_many_records_are_refused(cfes: Cfes, search_playbook: str, tmp_path: Path) -> None:
    alerts = lines_file(tmp_path, *({"AlertID": str(number)} for number in range(101)))
    ended = cfes("playbook", "run", search_playbook, "-i", alerts, "--each")
    assert ended.code == 2
    assert "has 101 records, and --each runs at most 100" in ended.error["message"]


def test_the_exit_code_of_several_runs_is_the_worst() -> None:
    assert [worst_of(codes) for codes in ([], [0, 0], [0, 2], [2, 3], [3, 6, 0], [6, 8], [8, 1], [1, 7, 8])] == [
        0, 0, 2, 3, 6, 8, 1, 7
    ]  # fmt: skip
    assert sorted(WORST_FIRST) == list(range(1, 9))
