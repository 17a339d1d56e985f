"""An export with a time limit: its end is part of the time, and what one call can't do is said by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from actions import export_job_messages
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.errors import TimeLimitTooShort
from remediation.exports.destinations import object_store
from remediation.exports.formats import csv_table
from tests.actions.test_export import Listing, listed, ticking
from tests.connectors.scripted import JOB_ID, connected, envelope
from tests.object_stores import Bucket

ROWS = 3500
# Five calls of a second each read them; to write them as CSV takes this long.
SECONDS_TO_WRITE = 3.5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are many blocks: between two of them the time is looked at."""
    monkeypatch.setattr("remediation.exports.row_file._BLOCK", 4096)


@pytest.fixture
def slowly_written(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EmailSecurity]:
    """Connects with a clock on which a row takes a millisecond to be written as CSV, after so many of them longer."""
    write_csv = csv_table.write_csv

    def connect(*, after: int = ROWS, milliseconds: float = 1) -> EmailSecurity:
        api = ticking(connected(Listing(ROWS, listed(ROWS)), pages_ahead=0))

        def slow(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
            def timed() -> Iterable[bytes]:
                for number, line in enumerate(lines):
                    api.clock.sleep(0.001 if number < after else milliseconds / 1000)
                    yield line

            write_csv(timed(), write)

        monkeypatch.setattr(csv_table, "write_csv", slow)
        return api

    return connect


def export(api: EmailSecurity, destination: str, seconds: float, **params: Any) -> tuple[dict[str, Any], float]:
    """The result, and how long it took on the clock."""
    began = api.clock.monotonic()
    given = {"job_id": JOB_ID, "destination": destination, "time_budget_seconds": seconds, **params}
    result = export_job_messages.run(given, api)
    return result, api.clock.monotonic() - began


AS_CSV = {"format": "csv"}
AS_BUNDLE = {"evidence": "bundle"}


@pytest.mark.parametrize(("params", "name"), [(AS_CSV, "rows.csv"), (AS_BUNDLE, "case.zip"), (AS_BUNDLE, "case")])
def test_the_end_of_an_export_is_part_of_its_time(
    params: dict[str, Any], name: str, slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    path = tmp_path / name
    first, took = export(slowly_written(), str(path), 8, **params)
    assert (first["done"], first["written"], took <= 8) == (False, ROWS, True)
    assert not path.exists()
    last, took = export(slowly_written(), str(path), 8, **params, resume=first["resume"])
    assert (last["done"], last["complete"], last["files"][0]["rows"], took <= 8) == (True, True, ROWS, True)
    assert path.exists()


def test_an_export_that_was_put_off_writes_what_an_unbroken_one_writes(
    slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    first, _ = export(slowly_written(), str(tmp_path / "pieces"), 8, **AS_CSV)
    export(slowly_written(), str(tmp_path / "pieces"), 8, **AS_CSV, resume=first["resume"])
    export(slowly_written(), str(tmp_path / "whole"), 3600, **AS_CSV)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("params", [AS_CSV, AS_BUNDLE])
def test_an_end_that_no_call_has_the_time_for_is_refused_after_the_first_page(
    params: dict[str, Any], slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = slowly_written()
    with pytest.raises(TimeLimitTooShort, match=r"of 3,500 rows takes about 3\.5 s to write, and one call has 2\.0 s"):
        export(api, str(tmp_path / "rows.zip"), 2, **params)
    # The trial of a thousand rows is the most that was spent.
    assert api.clock.monotonic() <= 2 + 1.5


def test_an_end_that_does_not_fit_into_a_whole_call_is_refused_instead_of_put_off_for_ever(
    slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    """Not certain after the first page, certain once all rows are there: the rows are kept for a longer call."""
    path = tmp_path / "rows.csv"
    resume: dict[str, Any] | None = None
    turns = 0
    with pytest.raises(TimeLimitTooShort) as caught:
        while turns < 10:
            more = {} if resume is None else {"resume": resume}
            resume = export(slowly_written(), str(path), 3.2, **AS_CSV, **more)[0]["resume"]
            turns += 1
    assert caught.value.resume is not None
    assert caught.value.exit_code == 3
    result, _ = export(slowly_written(), str(path), 10, **AS_CSV, resume=caught.value.resume)
    assert (result["complete"], path.exists()) == (True, True)


def test_rows_that_take_longer_than_the_first_interrupt_the_end_and_are_kept(
    slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    first, took = export(slowly_written(after=1000, milliseconds=20), str(path), 12, **AS_CSV)
    assert (first["done"], first["written"]) == (False, ROWS)
    assert took <= 13
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv.partial"]
    with pytest.raises(TimeLimitTooShort):
        export(slowly_written(after=1000, milliseconds=20), str(path), 12, **AS_CSV, resume=first["resume"])
    assert export(slowly_written(), str(path), 12, **AS_CSV, resume=first["resume"])[0]["complete"]


@pytest.mark.parametrize("refused", [False, True])
def test_a_store_that_takes_long_is_part_of_the_time(
    refused: bool, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row takes a millisecond to be sent, and as long to be fetched; a page may be refused for now."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url, put, fetch = bucket.url("rows"), object_store.ObjectStore.put, object_store.ObjectStore.fetch
    export_job_messages.run({"job_id": JOB_ID, "destination": url}, connected(Listing(ROWS, listed(ROWS))))
    row_bytes = len(bucket.get("rows") or b"") / ROWS
    bucket.delete("rows")
    apis: list[EmailSecurity] = []

    def slow_put(store: Any, source: Path, **options: Any) -> Any:
        apis[-1].clock.sleep(source.stat().st_size / row_bytes / 1000)
        return put(store, source, **options)

    def slow_fetch(store: Any, path: Path) -> Any:
        found = fetch(store, path)
        apis[-1].clock.sleep(path.read_bytes().count(b"\n") / 1000)
        return found

    monkeypatch.setattr(object_store.ObjectStore, "put", slow_put)
    monkeypatch.setattr(object_store.ObjectStore, "fetch", slow_fetch)

    class Refusing(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if refused and turns == 0 and request.url.params.get("page") == "3":
                return httpx.Response(429, headers={"retry-after": "4"}, json=envelope(None, success=False))
            return super().handle_request(request)

    resume: dict[str, Any] | None = None
    turns, done = 0, False
    while not done:
        apis.append(ticking(connected(Refusing(ROWS, listed(ROWS)), pages_ahead=0)))
        more = {} if resume is None else {"resume": resume}
        result, took = export(apis[-1], url, 10, **more)
        assert took <= 10
        resume, done, turns = result["resume"], result["done"], turns + 1
        assert turns < 5
    assert turns == 2
    assert bucket.objects() == ["rows"]


def test_without_a_limit_nothing_is_tried_beforehand(
    slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = slowly_written()
    export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.csv"), **AS_CSV}, api)
    assert api.clock.monotonic() == pytest.approx(5 + SECONDS_TO_WRITE)


@pytest.mark.parametrize("seconds", [3.0, 3.2, 3.6, 4.0, 4.5, 5.0, 5.4, 5.6, 6.5, 8.0])
def test_no_export_is_put_off_for_ever(
    seconds: float, slowly_written: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    resume: dict[str, Any] | None = None
    for _ in range(6):
        more = {} if resume is None else {"resume": resume}
        try:
            result, _ = export(slowly_written(), str(tmp_path / "rows.csv"), seconds, **AS_CSV, **more)
        except TimeLimitTooShort:
            assert seconds < 4.6
            return
        resume = result["resume"]
        if result["done"]:
            assert seconds > 4.4
            return
    raise AssertionError("still put off")


def test_without_room_for_a_trial_the_end_is_tried_itself(
    slowly_written: Callable[..., EmailSecurity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    result, _ = export(slowly_written(), str(tmp_path / "rows.csv"), 100, **AS_CSV)
    assert result["complete"]
