"""An export file appears only when it is complete, and rows are never lost after a checkpoint."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import json
import os
import resource
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutputError, ParameterError
from remediation.exports.destinations.place import Place
from remediation.exports.formats import parquet_table
from remediation.exports.formats.ndjson import lines_of
from remediation.exports.row_file import RowFile, RowFormat
from tests.exhaustive import exhaustive_unless
from tests.remediation.reports.sample_job import HOSTILE, json_text, row

FORMATS: tuple[RowFormat, ...] = ("ndjson", "csv", "json", "parquet")


def write_rows(path: Path, numbers: range, row_format: RowFormat = "ndjson") -> Any:
    with RowFile.create(path) as file:
        for number in numbers:
            file.append([json_text(row(number))])
        return file.finish(row_format)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def pointer_of(error: ParameterError) -> str:
    return error.problems[0]["pointer"]


@pytest.mark.parametrize("row_format", FORMATS)
def test_the_record_describes_the_written_file(tmp_path: Path, row_format: RowFormat) -> None:
    path = tmp_path / "rows"
    record = write_rows(path, range(30), row_format)
    data = path.read_bytes()
    assert record == {
        "path": str(path),
        "format": row_format,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "rows": 30,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["rows"]


@pytest.mark.parametrize("row_format", FORMATS)
def test_an_export_without_rows_is_a_valid_file(tmp_path: Path, row_format: RowFormat) -> None:
    path = tmp_path / "rows"
    assert write_rows(path, range(0), row_format)["rows"] == 0
    if row_format == "json":
        assert json.loads(path.read_bytes()) == []


def test_hostile_rows_are_kept_exactly(tmp_path: Path) -> None:
    rows = [row(number, status_message=text) for number, text in enumerate(HOSTILE)]
    for row_format in ("ndjson", "json"):
        with RowFile.create(tmp_path / row_format) as file:
            for item in rows:
                file.append([json_text(item)])
            file.finish(row_format)
    assert [json.loads(line) for line in (tmp_path / "ndjson").read_bytes().splitlines()] == rows
    assert json.loads((tmp_path / "json").read_bytes()) == rows


def test_a_page_gives_the_same_bytes_as_its_rows_one_by_one(tmp_path: Path) -> None:
    page = [json_text(row(number, status_message=HOSTILE[number % len(HOSTILE)])) for number in range(1_050)]
    with RowFile.create(tmp_path / "page") as file:
        file.append(page)
        record = file.finish("ndjson")
    with RowFile.create(tmp_path / "rows") as file:
        for text in page:
            file.append([text])
        assert file.finish("ndjson")["sha256"] == record["sha256"]
    assert (tmp_path / "page").read_bytes() == (tmp_path / "rows").read_bytes()


def test_no_row_of_a_page_that_cannot_be_written_is_kept(tmp_path: Path) -> None:
    page = [json_text(row(number)) for number in range(1_000)]
    with RowFile.create(tmp_path / "rows") as file:
        file.append(page[:10])
        before = file.kept
        with pytest.raises(ValueError, match="utf-8"):
            file.append([*page[10:], b"\xff"])
        assert file.kept == before
        file.append(page[10:])
        file.finish("ndjson")
    assert (tmp_path / "rows").read_bytes() == lines_of(page)


def test_a_reader_sees_the_previous_file_until_the_export_finishes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("before")
    with RowFile.create(path) as file:
        file.append([json_text(row(1))])
        file.checkpoint()
        assert path.read_text() == "before"
        file.finish("csv")
    with path.open(newline="") as done:
        assert len(list(csv.reader(done))) == 2


def test_an_abandoned_export_leaves_nothing(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as file:
        file.append([json_text(row(1))])
        file.checkpoint()
        file.abandon()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("row_format", FORMATS)
def test_a_resumed_export_gives_the_bytes_of_an_uninterrupted_one(tmp_path: Path, row_format: RowFormat) -> None:
    write_rows(tmp_path / "unbroken", range(50), row_format)
    path = tmp_path / "broken"
    with RowFile.create(path) as file:
        for number in range(20):
            file.append([json_text(row(number))])
        checkpoint = file.checkpoint()
        for number in range(20, 25):
            file.append([json_text(row(number))])
        file.checkpoint()
    with (tmp_path / "broken.partial").open("ab") as crashed:
        crashed.write(b'{"half a ro')

    with RowFile.reopen(path, checkpoint["rows"], checkpoint["sha256"]) as file:
        seen = [json.loads(kept)["message_id"] for kept in file.kept_lines()]
        assert seen == [row(number)["message_id"] for number in range(20)]
        assert file.kept == checkpoint
        for number in range(20, 50):
            file.append([json_text(row(number))])
        assert file.rows == file.checkpoint()["rows"] == 50
        file.finish(row_format)
    assert path.read_bytes() == (tmp_path / "unbroken").read_bytes()


def test_kept_rows_can_be_read_while_rows_are_added(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as file:
        file.append([json_text(row(0))])
        kept = file.kept_lines()
        first = next(kept)
        file.append([json_text(row(1))])
        assert list(map(json.loads, [first, *kept])) == [row(0)]
        assert len(list(file.kept_lines())) == 2


def test_discarded_rows_leave_no_trace(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as file:
        for number in range(300):
            file.append([json_text(row(number))])
        file.checkpoint()
        file.append([json_text(row(300))])
        file.clear()
        assert (file.rows, file.kept["bytes"], list(file.kept_lines())) == (0, 0, [])
        file.append([json_text(row(7))])
        file.finish("ndjson")
    assert (tmp_path / "rows").read_bytes() == lines_of([json_text(row(7))])


@pytest.mark.parametrize("damage", ["missing", "other rows", "fewer rows", "wrong hash", "half a row"])
def test_an_unexpected_partial_file_is_refused_and_unchanged(tmp_path: Path, damage: str) -> None:
    path, partial = tmp_path / "rows", tmp_path / "rows.partial"
    with RowFile.create(path) as file:
        for number in range(5):
            file.append([json_text(row(number))])
        checkpoint = file.checkpoint()
    data = partial.read_bytes()
    changed = {
        "missing": None,
        "other rows": data.replace(b"user1@", b"user9@"),
        "fewer rows": b"".join(data.splitlines(keepends=True)[:3]),
        "wrong hash": data,
        "half a row": data[:-1],
    }[damage]
    if changed is None:
        partial.unlink()
    else:
        partial.write_bytes(changed)
    with pytest.raises(ParameterError) as caught:
        RowFile.reopen(path, checkpoint["rows"], "0" * 64 if damage == "wrong hash" else checkpoint["sha256"])
    assert pointer_of(caught.value) == "/resume"
    assert changed is None or partial.read_bytes() == changed


def test_a_new_export_discards_the_rows_of_an_interrupted_one(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as file:
        for number in range(9):
            file.append([json_text(row(number))])
        file.checkpoint()
    assert write_rows(tmp_path / "rows", range(1))["rows"] == 1
    assert (tmp_path / "rows").read_bytes().count(b"\n") == 1


def test_two_exports_cannot_write_to_one_destination(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as first:
        first.append([json_text(row(1))])
        checkpoint = first.checkpoint()
        with pytest.raises(ParameterError, match="another export"):
            RowFile.create(tmp_path / "rows")
        with pytest.raises(ParameterError, match="another export"):
            RowFile.reopen(tmp_path / "rows", checkpoint["rows"], checkpoint["sha256"])
        assert first.finish("ndjson")["rows"] == 1


def test_a_destination_finished_during_another_exports_start_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    first = RowFile.create(path)
    first.append([json_text(row(1))])
    flock = fcntl.flock

    def finish_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        first.finish("ndjson")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with RowFile.create(path):
        assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("missing/rows.csv", "no such directory"),
        ("file/rows.csv", "not a directory"),
        ("directory", "is a directory"),
        ("directory/", "names a directory"),
        ("fifo", "device, pipe or socket"),
        ("n" * 250, "too long"),
        ("linked", "symbolic link"),
        ("hard", "not a regular file of this user"),
        ("piped", "not a regular file of this user"),
    ],
)
def test_an_unwritable_destination_is_refused_before_any_row(
    tmp_path: Path, destination: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("directory").mkdir()
    os.mkfifo("fifo")
    Path("linked.partial").symlink_to("file")
    Path("hard.partial").hardlink_to("file")
    os.mkfifo("piped.partial")
    with pytest.raises(ParameterError, match=why) as caught:
        RowFile.create(destination)
    assert pointer_of(caught.value) == "/destination"
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize("refusal", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_an_unwritable_directory_is_refused_before_any_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(refusal, os.strerror(refusal))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(ParameterError, match="can't be written") as caught:
            RowFile.create(tmp_path / "rows")
    assert pointer_of(caught.value) == "/destination"


def test_discarded_rows_can_be_resumed_until_other_rows_are_added(tmp_path: Path) -> None:
    with RowFile.create(tmp_path / "rows") as file:
        file.append([b'{"message_id":"1"}'])
        kept = file.checkpoint()
        file.clear()
    with RowFile.reopen(tmp_path / "rows", kept["rows"], kept["sha256"]) as file:
        file.clear()
        file.append([b"{}"])
        file.finish("ndjson")
    assert (tmp_path / "rows").read_bytes() == b"{}\n"


def test_a_run_that_ended_with_both_file_names_does_not_block_the_next(tmp_path: Path) -> None:
    (tmp_path / "rows.partial").write_bytes(b"evidence\n")
    (tmp_path / "rows").hardlink_to(tmp_path / "rows.partial")
    with RowFile.create(tmp_path / "rows") as file:
        assert (tmp_path / "rows").read_bytes() == b"evidence\n"
        file.append([b"{}"])
        file.finish("ndjson")
    assert (tmp_path / "rows").read_bytes() == b"{}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limit files to 64 KiB, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_keeps_the_saved_rows_and_is_reported(tmp_path: Path, small_disk: None) -> None:
    path = tmp_path / "rows"
    with RowFile.create(path) as file:
        for number in range(50):
            file.append([json_text(row(number))])
        checkpoint = file.checkpoint()
        with pytest.raises(OutputError, match="50 rows are kept") as caught:
            file.append([json_text(row(number)) for number in range(50, 200)])
        assert file.kept == checkpoint
    assert caught.value.path == str(path)
    assert caught.value.applied == "no"
    assert not path.exists()
    with RowFile.reopen(path, checkpoint["rows"], checkpoint["sha256"]) as file:
        assert (tmp_path / "rows.partial").stat().st_size == checkpoint["bytes"]
        assert file.finish("ndjson")["rows"] == 50


def test_a_full_disk_is_reported_and_can_recover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def raise_no_space(descriptor: int, data: bytes, place: int) -> int:
        if place > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:100], place)

    with RowFile.create(tmp_path / "rows") as file:
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", raise_no_space)
            with pytest.raises(OutputError, match=r"no space is left.*[.] No rows are kept[.]$"):
                file.append([json_text(row(1))])
        assert (tmp_path / "rows.partial").stat().st_size == 0
        file.append([json_text(row(1))])
        assert file.finish("json")["rows"] == 1
    assert json.loads((tmp_path / "rows").read_bytes()) == [row(1)]


@pytest.mark.parametrize("row_format", ["csv", "json", "parquet"])
def test_a_disk_that_fills_up_during_conversion_keeps_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_format: RowFormat
) -> None:
    def raise_no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "rows"
    with RowFile.create(path) as file:
        for number in range(5):
            file.append([json_text(row(number))])
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", raise_no_space)
            with pytest.raises(OutputError, match=r"no space is left.*5 rows are kept"):
                file.finish(row_format)
        assert names_in(tmp_path) == ["rows.partial"]
        assert file.finish(row_format)["rows"] == 5
    assert names_in(tmp_path) == ["rows"]


@pytest.mark.parametrize("row_format", ["ndjson", "csv"])
def test_a_directory_that_refuses_deletion_gets_the_file(
    row_format: RowFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_unlink(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "unlink", fail_to_unlink)
    path = tmp_path / "rows"
    with RowFile.create(Place(path, overwrite=False)) as file:
        file.append([b'{"message_id":"a"}'])
        record = file.finish(row_format)
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_leftover_file_that_cannot_be_emptied_is_reported_and_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_truncate(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "rows.ndjson"
    with RowFile.create(path) as file:
        file.append([b"{}"])
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="reports an error"):
        patch.setattr(os, "ftruncate", fail_to_truncate)
        RowFile.create(path)
    # The error is not "another export is writing it".
    RowFile.create(path).abandon()


@pytest.mark.parametrize("row_format", FORMATS)
def test_a_partial_file_changed_by_another_program_is_refused(tmp_path: Path, row_format: RowFormat) -> None:
    path, partial = tmp_path / "rows", tmp_path / "rows.partial"
    with RowFile.create(path) as file:
        file.append([json_text(row(1))])
        file.checkpoint()
        if row_format == "ndjson":
            partial.unlink()
            partial.write_text("{}\n")
        else:
            partial.write_bytes(
                partial.read_bytes().replace(b"user1@", b"user2@" if row_format == "csv" else b'"}\n{x')
            )
        with pytest.raises(OutputError, match="changed or replaced"):
            file.finish(row_format)
    assert not path.exists()


def test_a_closed_file_refuses_rows(tmp_path: Path) -> None:
    file = RowFile.create(tmp_path / "rows")
    file.close()
    file.abandon()
    with pytest.raises(ValueError, match="closed"):
        file.checkpoint()


@pytest.mark.parametrize("row_format", exhaustive_unless({"parquet"}, FORMATS))
def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, row_format: RowFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parquet builds a group of rows in memory.
    monkeypatch.setattr(parquet_table, "ROWS_IN_A_GROUP", 200)

    def growth(rows: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with RowFile.create(tmp_path / "rows") as file:
            for number in range(rows):
                file.append([json_text(row(number, status_message="x" * 2000))])
            file.finish(row_format)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        growth(10)
        # The rows have 4 MB.
        assert growth(1500) < 2_500_000
    finally:
        tracemalloc.stop()


def test_30_mb_of_rows_need_less_than_10_mb(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    page = [json_text(row(number)) for number in range(1000)]
    with RowFile.create(tmp_path / "rows") as file:
        for _ in range(30):
            file.append(page)
        assert file.finish("json")["rows"] == 30_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
