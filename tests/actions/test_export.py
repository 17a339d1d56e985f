"""An export writes every row once, and is complete only if the job's counters agree."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actions import create_move_job, export_job_messages, wait_for_job
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from connectors.paging.pages import Bounds
from core.errors import (
    DeadlineExceeded,
    ExportIncomplete,
    InlineTooLarge,
    ListingRepeats,
    ListingTooLong,
    NotFound,
    OutputError,
    PackError,
    ParameterError,
    PermissionDenied,
    ServiceUnavailable,
    UnusableAnswer,
)
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY, Scripted, connected, envelope, job, refused
from tests.exhaustive import exhaustive_unless

INLINE = {"inline_limit_bytes": 50_000_000}
ALLOW_INCOMPLETE = {**INLINE, "require_complete": False}

Connect = Callable[..., EmailSecurity]


def finished_job(api: EmailSecurity) -> str:
    """Run a job on the sandbox's campaign until it has ended, and return its ID."""
    job_id = str(create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"])
    assert wait_for_job.run({"job_id": job_id}, api)["done"]
    return job_id


def rows(count: int) -> list[dict[str, Any]]:
    return [{"message_id": f"row-{number:05}", "status": "COMPLETED", "retry_count": 0} for number in range(count)]


class Listing(httpx.BaseTransport):
    """A job whose rows come from `page(number)`. It counts the requested pages and the reads of the job."""

    def __init__(self, total: int, page: Callable[[int], list[dict[str, Any]]], **counters: Any) -> None:
        self.page = page
        ended = {"status": "COMPLETED", "total_messages_discovered": total, "messages_successful": total}
        self.job: dict[str, Any] = job(**{**ended, **counters})
        self.requested_pages: list[int] = []
        self.job_reads = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/messages"):
            self.job_reads += 1
            return httpx.Response(200, json=envelope(self.job))
        number = int(request.url.params["page"])
        self.requested_pages.append(number)
        found = self.page(number)
        info = {"page": 0, "total_count": 0, "per_page": 1000, "count": len(found)}
        return httpx.Response(200, content=msgspec.json.encode(envelope(found, result_info=info)))


def pages_of(total: int, hole: int | None = None) -> Callable[[int], list[dict[str, Any]]]:
    """Return a function that gives pages of 1,000 rows. Page `hole` is empty, and its rows are on the next page."""
    everything = rows(total)

    def page(number: int) -> list[dict[str, Any]]:
        if number == hole:
            return []
        index = number - (2 if hole is not None and number > hole else 1)
        return everything[index * 1000 : (index + 1) * 1000]

    return page


@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 2500])
def test_every_row_is_exported_once(total: int) -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(Listing(total, pages_of(total))))
    assert [row["message_id"] for row in result["messages"]] == [row["message_id"] for row in rows(total)]
    assert (result["written"], result["expected"], result["missing"], result["complete"]) == (total, total, 0, True)


@pytest.mark.parametrize("total", exhaustive_unless({1001}, [0, 1000, 1001]))
def test_every_row_is_exported_once_over_real_http(
    total: int, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=max(total, 1), transient_failures=0)
    api = connect(sandbox)
    search = CAMPAIGN if total else {**CAMPAIGN, "subject": "nothing-has-this-subject"}
    job_id = create_move_job.run({"search_params": search, "destination": "JunkEmail"}, api)["job_id"]
    waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 86_400}, api)
    # A message to several mailboxes has a row for each, so there are at least `total` rows.
    discovered = waited["progress"]["discovered"]
    path = tmp_path / "rows.ndjson"
    result = export_job_messages.run({"job_id": job_id, "destination": str(path)}, api)
    assert result["complete"]
    assert result["written"] == discovered >= total
    ids = [json.loads(line)["message_id"] for line in path.read_text().splitlines()]
    assert len(ids) == len(set(ids)) == discovered


def test_an_empty_page_in_the_middle_loses_no_row() -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(Listing(2500, pages_of(2500, hole=2))))
    assert (result["written"], result["complete"]) == (2500, True)


def test_an_empty_page_in_the_middle_loses_no_row_over_real_http(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1010)
    api = connect(sandbox)
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "empty_page", page=2)
    assert export_job_messages.run({"job_id": job_id, **INLINE}, api)["complete"]


def test_a_cursor_is_followed(start_sandbox: Callable[..., RunningSandbox], connect: Connect) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1100)
    api = connect(sandbox)
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "cursor")
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["complete"]
    assert len({row["message_id"] for row in result["messages"]}) == result["written"]


@pytest.mark.parametrize("by", exhaustive_unless({-7}, [1, -7]))
def test_rows_that_move_between_pages_are_exported_once(
    by: int, start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1100)
    api = connect(sandbox)
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "shift_rows", by=by, times=2)
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["complete"]
    ids = [row["message_id"] for row in result["messages"]]
    assert len(ids) == len(set(ids)) == result["expected"]


@pytest.mark.parametrize(
    ("size", "allow_incomplete"),
    exhaustive_unless({(300, True)}, [(300, False), (300, True), (1500, False), (1500, True), (5000, True)]),
)
def test_a_service_that_ignores_the_page_costs_few_calls(
    size: int, allow_incomplete: bool, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=size)
    api = connect(sandbox)
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "repeat_page")
    params = {"job_id": job_id, "destination": str(tmp_path / "rows.ndjson"), "require_complete": not allow_incomplete}
    before = sum(sandbox.state.calls.values())
    if size < 1000:
        assert export_job_messages.run(params, api)["complete"]
    elif allow_incomplete:
        result = export_job_messages.run(params, api)
        assert (result["complete"], result["written"]) == (False, 1000)
    else:
        with pytest.raises(ListingRepeats, match="the API returned 1,000") as caught:
            export_job_messages.run(params, api)
        assert (caught.value.exit_code, caught.value.retryable) == (5, False)
        assert caught.value.resume is not None
        sandbox.state.faults.clear()
        assert export_job_messages.run({**params, "resume": caught.value.resume}, api)["complete"]
        return
    # The job, three pages of which two repeat the first, two pages requested ahead, and the job again.
    assert sum(sandbox.state.calls.values()) - before <= 7


@pytest.mark.parametrize("total", [0, 10, 1500])
def test_a_listing_with_endless_new_rows_ends_soon_after_the_counter(total: int, tmp_path: Path) -> None:
    listing = Listing(total, lambda number: rows(1000 * number)[-1000:])
    with pytest.raises(ExportIncomplete, match=f"counts {total:,} rows?;"):
        export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}, connected(listing))
    assert len(listing.requested_pages) <= total // 1000 + 2
    assert listing.job_reads == 2


def test_a_running_job_that_discovers_more_messages_is_read_completely(tmp_path: Path) -> None:
    class Growing(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            self.job["total_messages_discovered"] = self.job["messages_pending"] = 1000 * (
                1 + len(self.requested_pages)
            )
            return answer

    listing = Growing(10, pages_of(3500), status="PROCESSING", messages_successful=0, messages_pending=10)
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    assert export_job_messages.run(params, connected(listing))["written"] == 3500


def test_a_listing_with_the_most_pages_of_one_pass_is_complete(tmp_path: Path) -> None:
    api = connected(Listing(3000, pages_of(3000)))
    api.bounds = Bounds(pages=3)
    result = export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}, api)
    assert (result["done"], result["complete"], result["written"]) == (True, True, 3000)


def test_a_listing_longer_than_one_pass_is_resumed(tmp_path: Path) -> None:
    listing = Listing(230, lambda number: rows(230)[(number - 1) * 20 : number * 20])
    api = connected(listing)
    api.bounds = Bounds(pages=5)
    params: dict[str, Any] = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    result = export_job_messages.run(params, api)
    assert (result["done"], result["written"]) == (False, 100)
    while not result["done"]:
        result = export_job_messages.run({**params, "resume": result["resume"]}, api)
    assert (result["complete"], result["written"]) == (True, 230)
    with pytest.raises(ListingTooLong):
        export_job_messages.run({"job_id": JOB_ID, **INLINE}, api)


def test_rows_that_are_never_listed_are_reported_as_missing() -> None:
    listing = Listing(1500, pages_of(1400))
    result = export_job_messages.run({"job_id": JOB_ID, **ALLOW_INCOMPLETE}, connected(listing))
    assert (result["written"], result["missing"], result["complete"]) == (1400, 100, False)
    assert result["duplicates_dropped"] == 2800
    assert any("1,500" in warning for warning in result["warnings"])
    assert len(listing.requested_pages) < 20


def test_an_incomplete_export_is_an_error_and_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    params = {"job_id": JOB_ID, "destination": str(path)}
    with pytest.raises(ExportIncomplete, match="counts 1,500 rows; the API returned 1,400") as caught:
        export_job_messages.run(params, connected(Listing(1500, pages_of(1400))))
    assert (caught.value.exit_code, caught.value.applied, caught.value.job_id) == (6, "no", JOB_ID)
    assert not path.exists()
    resume = caught.value.document()["error"]["resume"]
    assert resume["rows"] == 1400
    result = export_job_messages.run({**params, "resume": resume}, connected(Listing(1500, pages_of(1500))))
    assert (result["written"], result["missing"], result["complete"]) == (1500, 0, True)
    assert [json.loads(line)["message_id"] for line in path.read_text().splitlines()] == [
        row["message_id"] for row in rows(1500)
    ]


def test_an_incomplete_inline_export_names_the_fix() -> None:
    with pytest.raises(ExportIncomplete) as caught:
        export_job_messages.run({"job_id": JOB_ID}, connected(Listing(15, pages_of(14))))
    assert "file as destination" in caught.value.help
    assert caught.value.resume is None


def test_a_run_that_read_no_row_leaves_no_file(tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.csv"), "format": "csv"}
    with pytest.raises(NotFound):
        export_job_messages.run(params, connected(Scripted(refused(404, 10404, "no such job"))))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_only_the_rows_of_its_resume_object(tmp_path: Path) -> None:
    def interrupt_after_page_2(number: int) -> list[dict[str, Any]]:
        if number > 2:
            raise KeyboardInterrupt
        return pages_of(3500)(number)

    params: dict[str, Any] = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    with pytest.raises(KeyboardInterrupt):
        export_job_messages.run(params, connected(Listing(3500, interrupt_after_page_2)))
    assert list(tmp_path.iterdir()) == []
    brief = {**params, "time_budget_seconds": 0.001}
    first = export_job_messages.run(brief, one_second_per_call(connected(Listing(3500, pages_of(3500)))))
    with pytest.raises(KeyboardInterrupt):
        export_job_messages.run({**params, "resume": first["resume"]}, connected(Listing(3500, interrupt_after_page_2)))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.ndjson.partial"]
    again = {**params, "resume": first["resume"]}
    assert export_job_messages.run(again, connected(Listing(3500, pages_of(3500))))["complete"]


def test_an_export_with_more_rows_than_the_counters_is_not_complete() -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **ALLOW_INCOMPLETE}, connected(Listing(10, pages_of(12))))
    assert (result["written"], result["expected"], result["complete"]) == (12, 10, False)


def test_an_export_whose_statuses_contradict_the_counters_is_not_complete() -> None:
    listing = Listing(10, pages_of(10), messages_successful=8, messages_failed=2)
    result = export_job_messages.run({"job_id": JOB_ID, **ALLOW_INCOMPLETE}, connected(listing))
    assert (result["written"], result["missing"], result["complete"]) == (10, 0, False)


@pytest.mark.parametrize(
    ("counters", "job_reads"),
    [
        # The job has ended, no message is in progress, and every row is read: nothing can change.
        ({}, 1),
        ({"status": "CANCELLED"}, 1),
        # Messages that were in progress at the cancellation may still be moved.
        ({"status": "CANCELLED", "messages_successful": 7, "messages_pending": 3}, 4),
        ({"status": "PROCESSING", "messages_successful": 7, "messages_pending": 3}, 2),
    ],
)
def test_the_job_is_read_again_unless_it_cannot_have_changed(counters: dict[str, Any], job_reads: int) -> None:
    listing = Listing(10, pages_of(10), **counters)
    export_job_messages.run({"job_id": JOB_ID, **ALLOW_INCOMPLETE}, connected(listing))
    assert listing.job_reads == job_reads


def test_counters_of_an_earlier_api_reference_suffice() -> None:
    listing = Listing(10, pages_of(10))
    del listing.job["messages_skipped"], listing.job["messages_cancelled"]
    assert export_job_messages.run({"job_id": JOB_ID}, connected(listing))["complete"]


def test_an_export_of_a_running_job_is_marked_as_a_snapshot(api: EmailSecurity) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    api.clock.sleep(2)
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["snapshot"]
    assert not result["job"]["completed_at"]


def test_rows_read_while_the_job_was_ending_are_read_again(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1100)
    api = connect(sandbox)
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    api.clock.sleep(30)

    class Hurrying(type(api)):  # type: ignore[misc]
        def job_message_pages(self, *args: Any, **options: Any) -> Any:
            for page in super().job_message_pages(*args, **options):
                yield page
                sandbox.state.advance(40)

    api.__class__ = Hurrying
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["complete"]
    assert not result["snapshot"]
    assert Counter(row["status"] for row in result["messages"]) == result["counts_by_status"]
    assert "PENDING" not in result["counts_by_status"]


@pytest.mark.parametrize("status", exhaustive_unless({"FAILED"}, ["COMPLETED", "FAILED", "SKIPPED"]))
def test_rows_can_be_filtered_by_status(status: str, start_sandbox: Any, connect: Connect) -> None:
    api = connect(start_sandbox(messages=0, campaign_size=400, permanent_failures=0.1))
    job_id = finished_job(api)
    result = export_job_messages.run({"job_id": job_id, "status": status, **INLINE}, api)
    assert set(result["counts_by_status"]) == {status}
    assert result["complete"]


def test_a_status_filter_that_the_service_ignores_is_applied_by_the_pack() -> None:
    listing = Listing(10, lambda n: rows(10) if n == 1 else [], messages_failed=0)
    result = export_job_messages.run({"job_id": JOB_ID, "status": "FAILED"}, connected(listing))
    assert (result["written"], result["complete"]) == (0, True)


def test_inline_rows_over_the_limit_are_refused() -> None:
    api = connected(Listing(100, pages_of(100)))
    size = len(json.dumps(rows(100)))
    with pytest.raises(InlineTooLarge):
        export_job_messages.run({"job_id": JOB_ID, "inline_limit_bytes": size - 1}, api)
    assert export_job_messages.run({"job_id": JOB_ID, "inline_limit_bytes": size}, api)["written"] == 100


@pytest.mark.parametrize("row_format", ["ndjson", "csv", "json"])
def test_a_file_holds_every_row_and_has_the_reported_hash(row_format: str, api: EmailSecurity, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{row_format}"
    job_id = finished_job(api)
    result = export_job_messages.run({"job_id": job_id, "format": row_format, "destination": str(path)}, api)
    [file] = result["files"]
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file["bytes"] == path.stat().st_size
    text = path.read_bytes().decode()
    if row_format == "ndjson":
        read = [json.loads(line) for line in text.splitlines()]
    elif row_format == "json":
        read = json.loads(text)
    else:
        read = list(csv.DictReader(text.splitlines(keepends=True)))
    assert len(read) == result["written"] == result["expected"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("row_format", exhaustive_unless({"csv"}, ["ndjson", "csv", "json"]))
def test_a_resumed_export_gives_the_bytes_of_an_uninterrupted_one(row_format: str, tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    params = {"job_id": JOB_ID, "format": row_format}
    export_job_messages.run({**params, "destination": str(whole)}, connected(Listing(3500, pages_of(3500))))
    result = {"done": False, "resume": None}
    turns = 0
    while not result["done"]:
        more = {} if result["resume"] is None else {"resume": result["resume"]}
        step = {**params, "destination": str(pieces), "time_budget_seconds": 0.001, **more}
        result = export_job_messages.run(step, one_second_per_call(connected(Listing(3500, pages_of(3500)))))
        turns += 1
        assert turns < 10
        assert pieces.exists() == result["done"]
    assert turns > 2
    assert pieces.read_bytes() == whole.read_bytes()
    assert result["complete"]


def test_each_pass_keeps_the_time_budget_if_rows_contradict_the_counters(tmp_path: Path) -> None:
    listing = Listing(4000, pages_of(4000), messages_successful=3990, messages_failed=10)
    result: dict[str, Any] = {"done": False, "resume": None}
    turns: list[int] = []
    while not result["done"]:
        requested_before = len(listing.requested_pages)
        more = {} if result["resume"] is None else {"resume": result["resume"]}
        params = {"destination": str(tmp_path / "rows"), "time_budget_seconds": 0.001, "require_complete": False}
        result = export_job_messages.run({"job_id": JOB_ID, **params, **more}, one_second_per_call(connected(listing)))
        turns.append(len(listing.requested_pages) - requested_before)
        assert len(turns) < 20
    # Three passes over four pages, each with one page after the last full one. Pages requested ahead count.
    assert len(turns) >= 10
    assert (result["complete"], result["written"], result["duplicates_dropped"]) == (False, 4000, 8000)


def test_an_inline_export_that_runs_out_of_time_is_an_error() -> None:
    with pytest.raises(DeadlineExceeded):
        api = one_second_per_call(connected(Listing(2500, pages_of(2500))))
        export_job_messages.run({"job_id": JOB_ID, "time_budget_seconds": 1, **INLINE}, api)


def one_second_per_call(api: EmailSecurity) -> EmailSecurity:
    """Make each call take a second on the connector's clock, and return the connector."""
    original = api._transport.call

    def call_slowly(*args: Any, **options: Any) -> Any:
        api.clock.sleep(1)
        return original(*args, **options)

    api._transport.call = call_slowly  # type: ignore[method-assign]
    return api


def test_a_resume_object_without_its_partial_file_is_refused(tmp_path: Path) -> None:
    resume = {
        "job_id": JOB_ID,
        "status": None,
        "page": 2,
        "rows": 1000,
        "sha256": "0" * 64,
        "passes": 0,
        "job_was": None,
    }
    with pytest.raises(ParameterError, match="/resume"):
        export_job_messages.run(
            {"job_id": JOB_ID, "destination": str(tmp_path / "x"), "resume": resume}, connected(Listing(1, pages_of(1)))
        )


def test_a_failure_midway_leaves_no_destination_file(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished_job(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=None)
    with pytest.raises(ServiceUnavailable):
        export_job_messages.run({"job_id": job_id, "destination": str(tmp_path / "rows.csv")}, api)
    assert not (tmp_path / "rows.csv").exists()


class CancelledJob(httpx.BaseTransport):
    """A cancelled job whose message B is in progress. After the first page, B ends, and A changes its status."""

    def __init__(self) -> None:
        self.rows = [{"message_id": f"{number:03}", "status": "COMPLETED"} for number in range(1000)]
        self.rows += [{"message_id": "A", "status": "FAILED"}, {"message_id": "B", "status": "PROCESSING"}]
        self.job = job(status="CANCELLED", total_messages_discovered=1002, messages_successful=1000)
        self.job |= {"messages_failed": 1, "messages_pending": 1}
        self.moved = False

    def settle(self) -> None:
        self.rows[1000]["status"], self.rows[1001]["status"] = "COMPLETED", "FAILED"
        self.job |= {"messages_successful": 1001, "messages_failed": 1, "messages_pending": 0}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/messages"):
            return httpx.Response(200, json=envelope(self.job))
        wanted_status = request.url.params.get("status")
        found = [dict(row) for row in self.rows if wanted_status in (None, row["status"])]
        first = (int(request.url.params["page"]) - 1) * 1000
        answer = httpx.Response(200, json=envelope(found[first : first + 1000]))
        self.settle()
        return answer


@pytest.mark.parametrize("status", [None, "FAILED"])
def test_rows_in_progress_at_a_cancellation_are_read_again_when_they_end(status: str | None, tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    chosen = {} if status is None else {"status": status}
    result = export_job_messages.run({"job_id": JOB_ID, "destination": str(path), **chosen}, connected(CancelledJob()))
    read = {row["message_id"]: row["status"] for row in map(json.loads, path.read_text().splitlines())}
    assert (result["complete"], result["snapshot"], read["B"]) == (True, False, "FAILED")
    assert read.get("A") == (None if status else "COMPLETED")


def test_rows_that_changed_since_are_read_again_by_a_resumed_export(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.ndjson")
    service = CancelledJob()
    api = one_second_per_call(connected(service, pages_ahead=0))
    first = export_job_messages.run({"job_id": JOB_ID, "destination": path, "time_budget_seconds": 0.001}, api)
    service.rows.reverse()
    service.settle = lambda: None  # type: ignore[method-assign]
    service.job |= {"messages_successful": 1000, "messages_failed": 2}
    service.rows[0]["status"] = service.rows[1]["status"] = "FAILED"
    again = export_job_messages.run({"job_id": JOB_ID, "destination": path, "resume": first["resume"]}, api)
    assert (first["done"], again["complete"], again["counts_by_status"]) == (
        False,
        True,
        {"COMPLETED": 1000, "FAILED": 2},
    )


def test_rows_with_contradictory_statuses_are_discarded_by_a_resumed_export(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.ndjson")
    listing = Listing(10, pages_of(10), messages_successful=9, messages_failed=1)
    with pytest.raises(ExportIncomplete, match="statuses") as failed:
        export_job_messages.run({"job_id": JOB_ID, "destination": path}, connected(listing))
    right = [*rows(9), {**rows(10)[9], "status": "FAILED"}]
    listing.page = lambda number: right if number == 1 else []
    again = export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "resume": failed.value.resume}, connected(listing)
    )
    assert again["complete"]


def test_a_page_that_could_not_be_written_is_read_again_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "rows.ndjson"
    export_job_messages.run({"job_id": JOB_ID, "destination": str(whole)}, connected(Listing(3500, pages_of(3500))))
    written: list[int] = []

    def raise_no_space(descriptor: int, data: Any, place: int) -> int:
        written.append(place)
        # In the middle of the second page.
        if len(written) > 15:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data, place)

    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", raise_no_space)
        with pytest.raises(OutputError) as failed:
            export_job_messages.run(
                {"job_id": JOB_ID, "destination": str(path)}, connected(Listing(3500, pages_of(3500)))
            )
    assert failed.value.resume is not None
    assert (failed.value.resume["rows"], failed.value.resume["page"]) == (1000, 2)
    resumed = {"job_id": JOB_ID, "destination": str(path), "resume": failed.value.resume}
    assert export_job_messages.run(resumed, connected(Listing(3500, pages_of(3500))))["complete"]
    assert path.read_bytes() == whole.read_bytes()


class FailingListing(Listing):
    """A listing that gives other responses from one call on, counted from 1."""

    def __init__(self, at: int, answer: Callable[[], httpx.Response], total: int = 2500, **counters: Any) -> None:
        super().__init__(total, pages_of(total), **counters)
        self.left, self.answer = at, answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        return self.answer() if self.left in (0, -1, -2, -3, -4, -5) else super().handle_request(request)


@pytest.mark.parametrize(
    ("at", "answer", "expected"),
    [
        # The last read of the job, after all pages, and a page in the middle.
        (5, lambda: refused(503), ServiceUnavailable),
        (4, lambda: refused(403), PermissionDenied),
    ],
)
def test_an_error_keeps_the_rows_that_were_read(
    at: int, answer: Any, expected: type[PackError], tmp_path: Path
) -> None:
    path = tmp_path / "rows.ndjson"
    # Permanently pending, as in a cancelled job of the earlier API reference, so the job is read again.
    counters: dict[str, Any] = {"status": "CANCELLED", "messages_successful": 0, "messages_pending": 2500}
    service = FailingListing(at, answer, **counters)
    params = {"job_id": JOB_ID, "destination": str(path), "require_complete": False}
    with pytest.raises(expected) as failed:
        export_job_messages.run(params, connected(service, pages_ahead=0))
    assert failed.value.resume is not None
    assert "with `resume` of this error" in failed.value.help
    service.left = -10
    again = export_job_messages.run({**params, "resume": failed.value.resume}, connected(service, pages_ahead=0))
    assert (again["done"], again["written"]) == (True, 2500)


@pytest.mark.parametrize("row_format", ["csv", "json", "ndjson"])
def test_a_file_made_at_the_destination_in_the_meantime_is_not_replaced(row_format: str, tmp_path: Path) -> None:
    path = tmp_path / "rows"

    def page(number: int) -> list[dict[str, Any]]:
        path.write_text("evidence of another case")
        return pages_of(10)(number)

    params = {"job_id": JOB_ID, "destination": str(path), "format": row_format}
    with pytest.raises(ParameterError, match="already exists") as failed:
        export_job_messages.run(params, connected(Listing(10, page)))
    assert path.read_text() == "evidence of another case"
    with pytest.raises(ParameterError, match="already exists"):
        export_job_messages.run({**params, "resume": failed.value.resume}, connected(Listing(10, pages_of(10))))
    path.unlink()
    again = export_job_messages.run({**params, "resume": failed.value.resume}, connected(Listing(10, pages_of(10))))
    assert (again["complete"], [found.name for found in tmp_path.iterdir()]) == (True, ["rows"])


@pytest.mark.parametrize("row_format", ["csv", "parquet"])
def test_csv_and_parquet_need_a_destination(row_format: str) -> None:
    with pytest.raises(ParameterError, match="/format"):
        export_job_messages.run({"job_id": JOB_ID, "format": row_format}, connected(Listing(1, pages_of(1))))


@pytest.mark.parametrize(
    "more",
    exhaustive_unless(
        [{}, {"evidence": "bundle"}], [{}, {"format": "json"}, {"format": "parquet"}, {"evidence": "bundle"}]
    ),
)
def test_a_csv_dialect_is_refused_for_other_formats(more: dict[str, Any], tmp_path: Path) -> None:
    listing = Listing(1, pages_of(1))
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    with pytest.raises(ParameterError) as caught:
        export_job_messages.run({**params, "csv_dialect": "excel"}, connected(listing))
    assert [problem["pointer"] for problem in caught.value.problems] == ["/csv_dialect"]
    assert listing.requested_pages == []
    assert export_job_messages.run({**params, "csv_dialect": "plain"}, connected(listing))["complete"]


def test_an_excel_export_keeps_ids_as_text_and_warns_of_long_cells(tmp_path: Path) -> None:
    def page(number: int) -> list[dict[str, Any]]:
        return [{**row, "postfix_id": "317078247e1198", "status_message": "x" * 40_000} for row in pages_of(2)(number)]

    path = tmp_path / "rows.csv"
    params = {"job_id": JOB_ID, "format": "csv", "csv_dialect": "excel", "destination": str(path)}
    result = export_job_messages.run(params, connected(Listing(2, page)))
    assert (result["complete"], result["files"][0]["format"], result["files"][0]["rows"]) == (True, "csv", 2)
    assert result["files"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    table = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    assert {row["postfix_id"] for row in table} == {"'317078247e1198"}
    assert [len(row["status_message"]) for row in table] == [40_000, 40_000]
    [warning] = result["warnings"]
    assert "status_message in row 2 (40,000), status_message in row 3 (40,000)" in warning


def test_an_export_can_be_resumed_in_another_csv_dialect(tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "format": "csv"}
    excel = {**params, "csv_dialect": "excel"}
    first = export_job_messages.run(
        {**params, "destination": str(tmp_path / "pieces"), "time_budget_seconds": 0.001},
        one_second_per_call(connected(Listing(3500, pages_of(3500)))),
    )
    for destination, more in (("pieces", {"resume": first["resume"]}), ("whole", {})):
        given = {**excel, "destination": str(tmp_path / destination), **more}
        assert export_job_messages.run(given, connected(Listing(3500, pages_of(3500))))["complete"]
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("more", [{"format": "csv"}, {"evidence": "bundle"}, {"pseudonymize": True}])
def test_a_number_that_no_reader_accepts_is_reported_by_its_row(more: dict[str, Any], tmp_path: Path) -> None:
    class Huge(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            text = answer.read().replace(b'"row-00003","status":"COMPLETED","retry_count":0', HUGE)
            return httpx.Response(200, content=text)

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    with pytest.raises(UnusableAnswer, match="thousands of digits") as failed:
        export_job_messages.run(params, connected(Huge(10, pages_of(10)), pseudonym_key=PSEUDONYM_KEY))
    assert "changed or replaced" not in failed.value.message
    assert failed.value.message.startswith("row 4 of ")
    assert not (tmp_path / "rows").exists()


class ListingWithBadRow(Listing):
    """A listing of 2,500 rows. While `is_bad` is true, row 4 of page 2 has another text."""

    def __init__(self, written: bytes) -> None:
        super().__init__(2500, pages_of(2500))
        self.written, self.is_bad, self.calls = written, True, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        text = super().handle_request(request).read()
        if self.is_bad:
            text = text.replace(b'{"message_id":"row-01003","status":"COMPLETED","retry_count":0}', self.written)
        return httpx.Response(200, content=text)


ROW = b'{"message_id":"row-01003","status":"COMPLETED","message":{"subject":%s}}'
# Rows that the service returns at every request, and the error that names each.
BAD_ROWS: dict[str, tuple[bytes, str]] = {
    "invalid UTF-8": (ROW % b'"caf\xe9"', "page 2: .*row 4: field message.subject: is not UTF-8"),
    "half of a character": (ROW % b'"\xf0\x9f\x98"', "page 2: .*row 4: field message.subject: is not UTF-8"),
    "a name that is not UTF-8": (ROW % b'{"\xff":1}', "page 2: .*row 4: a name in message.subject: is not UTF-8"),
    "NaN": (ROW % b"NaN", "page 2: .*row 4: field message.subject: is NaN or Infinity"),
    "Infinity": (ROW % b"[1,-Infinity]", "page 2: .*row 4: field message.subject.1: is NaN or Infinity"),
    "a row that is not an object": (b"[1,2]", "page 2: row 4: field "),
    "a row that is null": (b"null", "page 2: row 4: field "),
    "a row without ID": (b'{"status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row with an empty ID": (b'{"message_id":"","status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row with a number as ID": (b'{"message_id":7,"status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row without status": (b'{"message_id":"row-01003"}', "page 2: row 4: field status"),
    "very deep nesting": (ROW % (b"[" * 200_000 + b"]" * 200_000), "page 2: .*nested too deeply"),
}


@pytest.mark.parametrize("ahead", exhaustive_unless({8}, [0, 8]))
@pytest.mark.parametrize("bad_row", exhaustive_unless(list(BAD_ROWS)[::3], BAD_ROWS))
def test_an_unreadable_row_is_reported_and_not_requested_again(bad_row: str, ahead: int, tmp_path: Path) -> None:
    written, expected = BAD_ROWS[bad_row]
    listing = ListingWithBadRow(written)
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    api = connected(listing, pages_ahead=ahead)
    with pytest.raises(UnusableAnswer, match=expected) as failed:
        export_job_messages.run(params, api)
    assert (failed.value.exit_code, failed.value.retryable, failed.value.applied) == (5, False, "no")
    assert failed.value.resume is not None
    assert failed.value.resume["rows"] == 1000
    assert listing.calls <= 7
    listing.is_bad = False
    again = export_job_messages.run({**params, "resume": failed.value.resume}, api)
    assert (again["complete"], again["written"]) == (True, 2500)


def test_a_body_damaged_in_transit_is_requested_again(tmp_path: Path) -> None:
    class Once(ListingWithBadRow):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            self.is_bad = self.is_bad and request.url.params.get("page") != "2"
            return answer

    listing = Once(BAD_ROWS["invalid UTF-8"][0])
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    assert export_job_messages.run(params, connected(listing, pages_ahead=0))["complete"]


@pytest.mark.parametrize(
    "written",
    [
        ROW % rb'"\ud83d"',
        # The same as bytes. It is not UTF-8, but every JSON reader here accepts it.
        ROW % b'"\xed\xa0\xbd"',
        ROW % rb'"a\udc00b \ud83d\ud83d"',
        b'{"message_id":"row-01003","message_id":"row-01003","status":"COMPLETED","status":"COMPLETED"}',
        ROW % b"1e999",
        ROW % (b"[" * 300 + b"]" * 300),
    ],
)
@pytest.mark.parametrize(
    "more",
    exhaustive_unless(
        [{"format": "parquet"}],
        [
            {},
            {"format": "csv"},
            {"format": "json"},
            {"format": "parquet"},
            {"evidence": "bundle"},
            {"pseudonymize": True},
        ],
    ),
)
def test_any_row_that_json_allows_is_exported(more: dict[str, Any], written: bytes, tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    result = export_job_messages.run(params, connected(ListingWithBadRow(written), pseudonym_key=PSEUDONYM_KEY))
    assert (result["complete"], result["written"]) == (True, 2500)
    for path in [tmp_path / "rows"] if (tmp_path / "rows").is_file() else list((tmp_path / "rows").iterdir()):
        if more.get("format") != "parquet":
            path.read_text(encoding="utf-8")


def test_a_page_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    class Marked(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=b"\xef\xbb\xbf" + super().handle_request(request).read())

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows")}
    assert export_job_messages.run(params, connected(Marked(10, pages_of(10))))["complete"]


@pytest.mark.parametrize("written", [ROW % b"1e999", ROW % (b"7" * 5000), ROW % (b"[" * 20_000 + b"]" * 20_000)])
def test_a_value_that_no_result_can_hold_is_reported_by_its_row(written: bytes) -> None:
    with pytest.raises(UnusableAnswer, match=r"row 1,004|nested too deeply") as failed:
        export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(ListingWithBadRow(written)))
    assert failed.value.exit_code == 5


HUGE = b'"row-00003","status":"COMPLETED","retry_count":' + b"7" * 5000


@pytest.mark.parametrize("more", [{"format": "csv"}, {"evidence": "bundle"}])
def test_deeply_nested_lists_are_exported(more: dict[str, Any], tmp_path: Path) -> None:
    deep: Any = "=1+1"
    for _ in range(300):
        deep = [deep]

    def page(number: int) -> list[dict[str, Any]]:
        return [{**row, "message": {"subject": deep}} for row in pages_of(3)(number)]

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    assert export_job_messages.run(params, connected(Listing(3, page)))["complete"]
    table = tmp_path / "rows" if "format" in more else tmp_path / "rows" / "rows.csv"
    assert not [cell for row in csv.reader(table.read_text().splitlines()) for cell in row if cell.startswith("=")]
