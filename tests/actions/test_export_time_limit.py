"""A time budget covers the final write of an export, and a budget that is too short is refused."""

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
from remediation.evidence import contents
from remediation.exports.destinations import object_store
from remediation.exports.formats import csv_table
from tests.actions.test_export import Listing, one_second_per_call, pages_of
from tests.connectors.scripted import JOB_ID, connected, envelope
from tests.exhaustive import exhaustive_unless
from tests.object_stores import Bucket

ROWS = 3500
# Five calls of a second each read the rows. Writing them as CSV takes this long.
SECONDS_TO_WRITE = 3.5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small blocks, because the time is checked between two blocks."""
    monkeypatch.setattr("remediation.exports.row_file._BLOCK", 4096)


@pytest.fixture
def slow_csv_writer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EmailSecurity]:
    """Return a function that connects with a clock on which a CSV row takes 1 ms, or longer after some rows."""
    write_csv = csv_table.write_csv

    def connect(*, after: int = ROWS, milliseconds: float = 1) -> EmailSecurity:
        api = one_second_per_call(connected(Listing(ROWS, pages_of(ROWS)), pages_ahead=0))

        def write_slowly(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
            def sleep_per_line() -> Iterable[bytes]:
                for number, line in enumerate(lines):
                    api.clock.sleep(0.001 if number < after else milliseconds / 1000)
                    yield line

            write_csv(sleep_per_line(), write)

        monkeypatch.setattr(csv_table, "write_csv", write_slowly)
        monkeypatch.setattr(contents, "write_csv", write_slowly)
        return api

    return connect


def export(api: EmailSecurity, destination: str, seconds: float, **params: Any) -> tuple[dict[str, Any], float]:
    """Run an export, and return its result and its seconds on the clock."""
    started = api.clock.monotonic()
    given = {"job_id": JOB_ID, "destination": destination, "time_budget_seconds": seconds, **params}
    result = export_job_messages.run(given, api)
    return result, api.clock.monotonic() - started


AS_CSV = {"format": "csv"}
AS_BUNDLE = {"evidence": "bundle"}


@pytest.mark.parametrize(
    ("params", "name"),
    exhaustive_unless(
        lambda case: case[1] == "rows.csv", [(AS_CSV, "rows.csv"), (AS_BUNDLE, "case.zip"), (AS_BUNDLE, "case")]
    ),
)
def test_the_final_write_counts_toward_the_time_budget(
    params: dict[str, Any], name: str, slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    path = tmp_path / name
    first, seconds_taken = export(slow_csv_writer(), str(path), 8, **params)
    assert (first["done"], first["written"], seconds_taken <= 8) == (False, ROWS, True)
    assert not path.exists()
    last, seconds_taken = export(slow_csv_writer(), str(path), 8, **params, resume=first["resume"])
    assert (last["done"], last["complete"], last["files"][0]["rows"], seconds_taken <= 8) == (True, True, ROWS, True)
    assert path.exists()


def test_a_postponed_export_gives_the_bytes_of_an_uninterrupted_one(
    slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    first, _ = export(slow_csv_writer(), str(tmp_path / "pieces"), 8, **AS_CSV)
    export(slow_csv_writer(), str(tmp_path / "pieces"), 8, **AS_CSV, resume=first["resume"])
    export(slow_csv_writer(), str(tmp_path / "whole"), 3600, **AS_CSV)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("params", [AS_CSV, AS_BUNDLE])
def test_a_time_budget_too_short_for_the_final_write_is_refused_after_one_page(
    params: dict[str, Any], slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = slow_csv_writer()
    with pytest.raises(TimeLimitTooShort, match=r"of 3,500 rows takes about 3\.5 s to write, and one call has 2\.0 s"):
        export(api, str(tmp_path / "rows.zip"), 2, **params)
    # At most the trial of a thousand rows was spent.
    assert api.clock.monotonic() <= 2 + 1.5


def test_a_final_write_longer_than_a_call_is_refused_when_all_rows_are_read(
    slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    """The first page does not prove it, but all rows do. The rows are kept for a longer call."""
    path = tmp_path / "rows.csv"
    resume: dict[str, Any] | None = None
    turns = 0
    with pytest.raises(TimeLimitTooShort) as caught:
        while turns < 10:
            more = {} if resume is None else {"resume": resume}
            resume = export(slow_csv_writer(), str(path), 3.2, **AS_CSV, **more)[0]["resume"]
            turns += 1
    assert caught.value.resume is not None
    assert caught.value.exit_code == 3
    result, _ = export(slow_csv_writer(), str(path), 10, **AS_CSV, resume=caught.value.resume)
    assert (result["complete"], path.exists()) == (True, True)


def test_a_final_write_that_becomes_slow_is_interrupted_and_keeps_the_rows(
    slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    first, seconds_taken = export(slow_csv_writer(after=1000, milliseconds=20), str(path), 12, **AS_CSV)
    assert (first["done"], first["written"]) == (False, ROWS)
    assert seconds_taken <= 13
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv.partial"]
    with pytest.raises(TimeLimitTooShort):
        export(slow_csv_writer(after=1000, milliseconds=20), str(path), 12, **AS_CSV, resume=first["resume"])
    assert export(slow_csv_writer(), str(path), 12, **AS_CSV, resume=first["resume"])[0]["complete"]


@pytest.mark.parametrize("rate_limited", [False, True])
def test_the_upload_counts_toward_the_time_budget(
    rate_limited: bool, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row takes 1 ms to upload and 1 ms to fetch. A page may be rate limited."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url, put, fetch = bucket.url("rows"), object_store.ObjectStore.put, object_store.ObjectStore.fetch
    export_job_messages.run({"job_id": JOB_ID, "destination": url}, connected(Listing(ROWS, pages_of(ROWS))))
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

    class RateLimitedListing(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if rate_limited and turns == 0 and request.url.params.get("page") == "3":
                return httpx.Response(429, headers={"retry-after": "4"}, json=envelope(None, success=False))
            return super().handle_request(request)

    resume: dict[str, Any] | None = None
    turns, done = 0, False
    while not done:
        apis.append(one_second_per_call(connected(RateLimitedListing(ROWS, pages_of(ROWS)), pages_ahead=0)))
        more = {} if resume is None else {"resume": resume}
        result, seconds_taken = export(apis[-1], url, 10, **more)
        assert seconds_taken <= 10
        resume, done, turns = result["resume"], result["done"], turns + 1
        assert turns < 5
    assert turns == 2
    assert bucket.objects() == ["rows"]


def test_an_export_without_a_time_budget_makes_no_trial(
    slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    api = slow_csv_writer()
    export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.csv"), **AS_CSV}, api)
    assert api.clock.monotonic() == pytest.approx(5 + SECONDS_TO_WRITE)


@pytest.mark.parametrize(
    "seconds", exhaustive_unless({3.0, 4.5, 5.0, 8.0}, [3.0, 3.2, 3.6, 4.0, 4.5, 5.0, 5.4, 5.6, 6.5, 8.0])
)
def test_an_export_is_not_postponed_forever(
    seconds: float, slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    resume: dict[str, Any] | None = None
    for _ in range(6):
        more = {} if resume is None else {"resume": resume}
        try:
            result, _ = export(slow_csv_writer(), str(tmp_path / "rows.csv"), seconds, **AS_CSV, **more)
        except TimeLimitTooShort:
            assert seconds < 4.6
            return
        resume = result["resume"]
        if result["done"]:
            assert seconds > 4.4
            return
    raise AssertionError("the export is still postponed")


def test_the_final_write_is_made_if_a_trial_is_impossible(
    slow_csv_writer: Callable[..., EmailSecurity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    result, _ = export(slow_csv_writer(), str(tmp_path / "rows.csv"), 100, **AS_CSV)
    assert result["complete"]
