"""Exports: every row once, and `complete` only when the job's own counters agree."""

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

INLINE = {"inline_limit_bytes": 50_000_000}
TAKEN_AS_IT_IS = {**INLINE, "require_complete": False}

Connect = Callable[..., EmailSecurity]


def finished(api: EmailSecurity) -> str:
    """A job on the sandbox's campaign that has ended."""
    job_id = str(create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"])
    assert wait_for_job.run({"job_id": job_id}, api)["done"]
    return job_id


def rows(count: int) -> list[dict[str, Any]]:
    return [{"message_id": f"row-{number:05}", "status": "COMPLETED", "retry_count": 0} for number in range(count)]


class Listing(httpx.BaseTransport):
    """A job whose rows are listed as told: `page` gets the page number and gives its rows. looks: at the job itself."""

    def __init__(self, total: int, page: Callable[[int], list[dict[str, Any]]], **counters: Any) -> None:
        self.page = page
        ended = {"status": "COMPLETED", "total_messages_discovered": total, "messages_successful": total}
        self.job: dict[str, Any] = job(**{**ended, **counters})
        self.asked: list[int] = []
        self.looks = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/messages"):
            self.looks += 1
            return httpx.Response(200, json=envelope(self.job))
        number = int(request.url.params["page"])
        self.asked.append(number)
        info = {"page": 0, "total_count": 0, "per_page": 1000, "count": len(self.page(number))}
        return httpx.Response(200, json=envelope(self.page(number), result_info=info))


def listed(total: int, hole: int | None = None) -> Callable[[int], list[dict[str, Any]]]:
    """Pages of 1,000; page `hole` comes back empty, with its rows on the page behind it."""
    everything = rows(total)

    def page(number: int) -> list[dict[str, Any]]:
        if number == hole:
            return []
        index = number - (2 if hole is not None and number > hole else 1)
        return everything[index * 1000 : (index + 1) * 1000]

    return page


@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 2500])
def test_exactly_the_rows_that_there_are(total: int) -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(Listing(total, listed(total))))
    assert [row["message_id"] for row in result["messages"]] == [row["message_id"] for row in rows(total)]
    assert (result["written"], result["expected"], result["missing"], result["complete"]) == (total, total, 0, True)


@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 2500])
def test_exactly_the_rows_that_there_are_over_real_http(
    total: int, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=max(total, 1), transient_failures=0)
    api = connect(sandbox)
    search = CAMPAIGN if total else {**CAMPAIGN, "subject": "nothing-has-this-subject"}
    job_id = create_move_job.run({"search_params": search, "destination": "JunkEmail"}, api)["job_id"]
    waited = wait_for_job.run({"job_id": job_id, "timeout_seconds": 86_400}, api)
    # The campaign's few messages to several mailboxes have a row for each: at least `total`.
    discovered = waited["progress"]["discovered"]
    path = tmp_path / "rows.ndjson"
    result = export_job_messages.run({"job_id": job_id, "destination": str(path)}, api)
    assert result["complete"]
    assert result["written"] == discovered >= total
    ids = [json.loads(line)["message_id"] for line in path.read_text().splitlines()]
    assert len(ids) == len(set(ids)) == discovered


def test_an_empty_page_in_the_middle_loses_no_row() -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(Listing(2500, listed(2500, hole=2))))
    assert (result["written"], result["complete"]) == (2500, True)


def test_an_empty_page_in_the_middle_loses_no_row_over_real_http(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=1200)
    api = connect(sandbox)
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "empty_page", page=2)
    assert export_job_messages.run({"job_id": job_id, **INLINE}, api)["complete"]


def test_a_cursor_is_followed(start_sandbox: Callable[..., RunningSandbox], connect: Connect) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=2100)
    api = connect(sandbox)
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "cursor")
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["complete"]
    assert len({row["message_id"] for row in result["messages"]}) == result["written"]


@pytest.mark.parametrize("by", [1, 7, -1, -7])
def test_rows_that_shift_between_pages_come_once_each_and_none_is_lost(
    by: int, start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=2100)
    api = connect(sandbox)
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "shift_rows", by=by, times=2)
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["complete"]
    ids = [row["message_id"] for row in result["messages"]]
    assert len(ids) == len(set(ids)) == result["expected"]


@pytest.mark.parametrize("size", [300, 1500, 12_000])
@pytest.mark.parametrize("take", [False, True])
def test_a_service_that_ignores_the_page_costs_few_calls(
    size: int, take: bool, start_sandbox: Callable[..., RunningSandbox], connect: Connect, tmp_path: Path
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=size)
    api = connect(sandbox)
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "repeat_page")
    params = {"job_id": job_id, "destination": str(tmp_path / "rows.ndjson"), "require_complete": not take}
    before = sum(sandbox.state.calls.values())
    if size < 1000:
        assert export_job_messages.run(params, api)["complete"]
    elif take:
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
    # The job, three pages of which two repeat the first, two that were on their way, and the job again.
    assert sum(sandbox.state.calls.values()) - before <= 7


@pytest.mark.parametrize("total", [0, 10, 1500])
def test_ever_new_rows_end_soon_behind_the_counters(total: int, tmp_path: Path) -> None:
    listing = Listing(total, lambda number: rows(1000 * number)[-1000:])
    with pytest.raises(ExportIncomplete, match=f"counts {total:,} rows?;"):
        export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}, connected(listing))
    assert len(listing.asked) <= total // 1000 + 2
    assert listing.looks == 2


def test_a_running_job_that_finds_more_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    class Growing(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            self.job["total_messages_discovered"] = self.job["messages_pending"] = 1000 * (1 + len(self.asked))
            return answer

    listing = Growing(10, listed(3500), status="PROCESSING", messages_successful=0, messages_pending=10)
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    assert export_job_messages.run(params, connected(listing))["written"] == 3500


def test_a_listing_of_exactly_as_many_pages_as_one_pass_may_cost_is_complete(tmp_path: Path) -> None:
    api = connected(Listing(3000, listed(3000)))
    api.bounds = Bounds(pages=3)
    result = export_job_messages.run({"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}, api)
    assert (result["done"], result["complete"], result["written"]) == (True, True, 3000)


def test_a_listing_longer_than_one_pass_may_cost_goes_on_with_a_resume(tmp_path: Path) -> None:
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


def test_rows_that_are_never_listed_are_said_to_be_missing() -> None:
    listing = Listing(1500, listed(1400))
    result = export_job_messages.run({"job_id": JOB_ID, **TAKEN_AS_IT_IS}, connected(listing))
    assert (result["written"], result["missing"], result["complete"]) == (1400, 100, False)
    assert result["duplicates_dropped"] == 2800
    assert any("1,500" in warning for warning in result["warnings"])
    assert len(listing.asked) < 20


def test_an_incomplete_export_is_an_error_that_goes_on_with_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    params = {"job_id": JOB_ID, "destination": str(path)}
    with pytest.raises(ExportIncomplete, match="counts 1,500 rows; the API returned 1,400") as caught:
        export_job_messages.run(params, connected(Listing(1500, listed(1400))))
    assert (caught.value.exit_code, caught.value.applied, caught.value.job_id) == (6, "no", JOB_ID)
    assert not path.exists()
    resume = caught.value.document()["error"]["resume"]
    assert resume["rows"] == 1400
    result = export_job_messages.run({**params, "resume": resume}, connected(Listing(1500, listed(1500))))
    assert (result["written"], result["missing"], result["complete"]) == (1500, 0, True)
    assert [json.loads(line)["message_id"] for line in path.read_text().splitlines()] == [
        row["message_id"] for row in rows(1500)
    ]


def test_an_incomplete_inline_export_says_how_to_keep_what_was_read() -> None:
    with pytest.raises(ExportIncomplete) as caught:
        export_job_messages.run({"job_id": JOB_ID}, connected(Listing(15, listed(14))))
    assert "file as destination" in caught.value.help
    assert caught.value.resume is None


def test_a_run_that_read_nothing_leaves_nothing(tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.csv"), "format": "csv"}
    with pytest.raises(NotFound):
        export_job_messages.run(params, connected(Scripted(refused(404, 10404, "no such job"))))
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_interrupted_leaves_only_what_a_resume_object_stands_for(tmp_path: Path) -> None:
    def interrupted(number: int) -> list[dict[str, Any]]:
        if number > 2:
            raise KeyboardInterrupt
        return listed(3500)(number)

    params: dict[str, Any] = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    with pytest.raises(KeyboardInterrupt):
        export_job_messages.run(params, connected(Listing(3500, interrupted)))
    assert list(tmp_path.iterdir()) == []
    brief = {**params, "time_budget_seconds": 0.001}
    begun = export_job_messages.run(brief, ticking(connected(Listing(3500, listed(3500)))))
    with pytest.raises(KeyboardInterrupt):
        export_job_messages.run({**params, "resume": begun["resume"]}, connected(Listing(3500, interrupted)))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.ndjson.partial"]
    again = {**params, "resume": begun["resume"]}
    assert export_job_messages.run(again, connected(Listing(3500, listed(3500))))["complete"]


def test_more_rows_than_the_counters_promise_are_no_complete_export() -> None:
    result = export_job_messages.run({"job_id": JOB_ID, **TAKEN_AS_IT_IS}, connected(Listing(10, listed(12))))
    assert (result["written"], result["expected"], result["complete"]) == (12, 10, False)


def test_rows_whose_statuses_contradict_the_counters_are_no_complete_export() -> None:
    listing = Listing(10, listed(10), messages_successful=8, messages_failed=2)
    result = export_job_messages.run({"job_id": JOB_ID, **TAKEN_AS_IT_IS}, connected(listing))
    assert (result["written"], result["missing"], result["complete"]) == (10, 0, False)


@pytest.mark.parametrize(
    ("counters", "looks"),
    [
        # Ended, nothing under way, and every row there: nothing can change any more.
        ({}, 1),
        ({"status": "CANCELLED"}, 1),
        # Messages that were under way when it was cancelled may still get through.
        ({"status": "CANCELLED", "messages_successful": 7, "messages_pending": 3}, 4),
        ({"status": "PROCESSING", "messages_successful": 7, "messages_pending": 3}, 2),
    ],
)
def test_the_job_is_looked_at_again_unless_nothing_can_have_changed(counters: dict[str, Any], looks: int) -> None:
    listing = Listing(10, listed(10), **counters)
    export_job_messages.run({"job_id": JOB_ID, **TAKEN_AS_IT_IS}, connected(listing))
    assert listing.looks == looks


def test_counters_of_the_older_reference_are_enough() -> None:
    listing = Listing(10, listed(10))
    del listing.job["messages_skipped"], listing.job["messages_cancelled"]
    assert export_job_messages.run({"job_id": JOB_ID}, connected(listing))["complete"]


def test_a_running_job_gives_a_snapshot_that_says_so(api: EmailSecurity) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    api.clock.sleep(2)
    result = export_job_messages.run({"job_id": job_id, **INLINE}, api)
    assert result["snapshot"]
    assert not result["job"]["completed_at"]


def test_rows_read_while_the_job_was_ending_are_read_again(
    start_sandbox: Callable[..., RunningSandbox], connect: Connect
) -> None:
    sandbox = start_sandbox(messages=0, campaign_size=2100)
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


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "SKIPPED"])
def test_a_status_can_be_asked_for_alone(status: str, start_sandbox: Any, connect: Connect) -> None:
    api = connect(start_sandbox(messages=0, campaign_size=400, permanent_failures=0.1))
    job_id = finished(api)
    result = export_job_messages.run({"job_id": job_id, "status": status, **INLINE}, api)
    assert set(result["counts_by_status"]) == {status}
    assert result["complete"]


def test_a_filter_that_the_service_ignores_is_applied_here() -> None:
    listing = Listing(10, lambda n: rows(10) if n == 1 else [], messages_failed=0)
    result = export_job_messages.run({"job_id": JOB_ID, "status": "FAILED"}, connected(listing))
    assert (result["written"], result["complete"]) == (0, True)


def test_inline_rows_over_the_limit_are_refused_and_never_cut() -> None:
    api = connected(Listing(100, listed(100)))
    size = len(json.dumps(rows(100)))
    with pytest.raises(InlineTooLarge):
        export_job_messages.run({"job_id": JOB_ID, "inline_limit_bytes": size - 1}, api)
    assert export_job_messages.run({"job_id": JOB_ID, "inline_limit_bytes": size}, api)["written"] == 100


@pytest.mark.parametrize("row_format", ["ndjson", "csv", "json"])
def test_a_file_holds_every_row_and_its_hash_is_true(row_format: str, api: EmailSecurity, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{row_format}"
    job_id = finished(api)
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


@pytest.mark.parametrize("row_format", ["ndjson", "csv", "json"])
def test_an_export_in_pieces_is_byte_for_byte_the_unbroken_one(row_format: str, tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    params = {"job_id": JOB_ID, "format": row_format}
    export_job_messages.run({**params, "destination": str(whole)}, connected(Listing(3500, listed(3500))))
    result = {"done": False, "resume": None}
    turns = 0
    while not result["done"]:
        more = {} if result["resume"] is None else {"resume": result["resume"]}
        step = {**params, "destination": str(pieces), "time_budget_seconds": 0.001, **more}
        result = export_job_messages.run(step, ticking(connected(Listing(3500, listed(3500)))))
        turns += 1
        assert turns < 10
        assert pieces.exists() == result["done"]
    assert turns > 2
    assert pieces.read_bytes() == whole.read_bytes()
    assert result["complete"]


def test_a_time_budget_is_kept_in_each_pass_where_the_rows_contradict_the_counters(tmp_path: Path) -> None:
    listing = Listing(4000, listed(4000), messages_successful=3990, messages_failed=10)
    result: dict[str, Any] = {"done": False, "resume": None}
    turns: list[int] = []
    while not result["done"]:
        asked = len(listing.asked)
        more = {} if result["resume"] is None else {"resume": result["resume"]}
        params = {"destination": str(tmp_path / "rows"), "time_budget_seconds": 0.001, "require_complete": False}
        result = export_job_messages.run({"job_id": JOB_ID, **params, **more}, ticking(connected(listing)))
        turns.append(len(listing.asked) - asked)
        assert len(turns) < 20
    # Three passes over four pages, ended a page after the last full one. Pages that were fetched ahead count here.
    assert len(turns) >= 10
    assert (result["complete"], result["written"], result["duplicates_dropped"]) == (False, 4000, 8000)


def test_an_inline_export_that_runs_out_of_time_is_an_error_not_a_part() -> None:
    with pytest.raises(DeadlineExceeded):
        api = ticking(connected(Listing(2500, listed(2500))))
        export_job_messages.run({"job_id": JOB_ID, "time_budget_seconds": 1, **INLINE}, api)


def ticking(api: EmailSecurity) -> EmailSecurity:
    """A connector on whose clock each call takes a second."""
    original = api._transport.call

    def slowly(*args: Any, **options: Any) -> Any:
        api.clock.sleep(1)
        return original(*args, **options)

    api._transport.call = slowly  # type: ignore[method-assign]
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
            {"job_id": JOB_ID, "destination": str(tmp_path / "x"), "resume": resume}, connected(Listing(1, listed(1)))
        )


def test_a_failure_in_the_middle_leaves_no_file_that_looks_finished(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished(api)
    sandbox.state.faults.add("listBulkJobMessages", "status", status=502, times=None)
    with pytest.raises(ServiceUnavailable):
        export_job_messages.run({"job_id": job_id, "destination": str(tmp_path / "rows.csv")}, api)
    assert not (tmp_path / "rows.csv").exists()


class Settling(httpx.BaseTransport):
    """A cancelled job whose message B is still under way; it gets through, and A with it, behind the first page."""

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
        wanted = request.url.params.get("status")
        found = [dict(row) for row in self.rows if wanted in (None, row["status"])]
        first = (int(request.url.params["page"]) - 1) * 1000
        answer = httpx.Response(200, json=envelope(found[first : first + 1000]))
        self.settle()
        return answer


@pytest.mark.parametrize("status", [None, "FAILED"])
def test_what_was_under_way_when_a_job_was_cancelled_is_read_again_once_it_is_through(
    status: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "rows.ndjson"
    chosen = {} if status is None else {"status": status}
    result = export_job_messages.run({"job_id": JOB_ID, "destination": str(path), **chosen}, connected(Settling()))
    read = {row["message_id"]: row["status"] for row in map(json.loads, path.read_text().splitlines())}
    assert (result["complete"], result["snapshot"], read["B"]) == (True, False, "FAILED")
    assert read.get("A") == (None if status else "COMPLETED")


def test_rows_of_another_time_are_read_again_when_an_export_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.ndjson")
    service = Settling()
    api = ticking(connected(service, pages_ahead=0))
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


def test_rows_whose_statuses_disagree_are_given_up_when_the_export_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "rows.ndjson")
    listing = Listing(10, listed(10), messages_successful=9, messages_failed=1)
    with pytest.raises(ExportIncomplete, match="statuses") as failed:
        export_job_messages.run({"job_id": JOB_ID, "destination": path}, connected(listing))
    right = [*rows(9), {**rows(10)[9], "status": "FAILED"}]
    listing.page = lambda number: right if number == 1 else []
    again = export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "resume": failed.value.resume}, connected(listing)
    )
    assert again["complete"]


def test_a_page_that_could_not_be_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, path = tmp_path / "whole", tmp_path / "rows.ndjson"
    export_job_messages.run({"job_id": JOB_ID, "destination": str(whole)}, connected(Listing(3500, listed(3500))))
    written: list[int] = []

    def full(descriptor: int, data: Any, place: int) -> int:
        written.append(place)
        # In the middle of the second page.
        if len(written) > 15:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data, place)

    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OutputError) as failed:
            export_job_messages.run(
                {"job_id": JOB_ID, "destination": str(path)}, connected(Listing(3500, listed(3500)))
            )
    assert failed.value.resume is not None
    assert (failed.value.resume["rows"], failed.value.resume["page"]) == (1000, 2)
    resumed = {"job_id": JOB_ID, "destination": str(path), "resume": failed.value.resume}
    assert export_job_messages.run(resumed, connected(Listing(3500, listed(3500))))["complete"]
    assert path.read_bytes() == whole.read_bytes()


class Refusing(Listing):
    """A listing that at one call, counted from 1, answers otherwise."""

    def __init__(self, at: int, answer: Callable[[], httpx.Response], total: int = 2500, **counters: Any) -> None:
        super().__init__(total, listed(total), **counters)
        self.left, self.answer = at, answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        return self.answer() if self.left in (0, -1, -2, -3, -4, -5) else super().handle_request(request)


@pytest.mark.parametrize(
    ("at", "answer", "expected"),
    [
        # The last look at the job, behind all pages; and a page in the middle.
        (5, lambda: refused(503), ServiceUnavailable),
        (4, lambda: refused(403), PermissionDenied),
    ],
)
def test_no_error_loses_what_was_read(at: int, answer: Any, expected: type[PackError], tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    # Pending for good, as a cancelled job of the older reference has it: so it is looked at again.
    counters: dict[str, Any] = {"status": "CANCELLED", "messages_successful": 0, "messages_pending": 2500}
    service = Refusing(at, answer, **counters)
    params = {"job_id": JOB_ID, "destination": str(path), "require_complete": False}
    with pytest.raises(expected) as failed:
        export_job_messages.run(params, connected(service, pages_ahead=0))
    assert failed.value.resume is not None
    assert "with `resume` of this error" in failed.value.help
    service.left = -10
    again = export_job_messages.run({**params, "resume": failed.value.resume}, connected(service, pages_ahead=0))
    assert (again["done"], again["written"]) == (True, 2500)


@pytest.mark.parametrize("row_format", ["csv", "json", "ndjson"])
def test_a_file_that_came_to_be_there_meanwhile_is_not_replaced(row_format: str, tmp_path: Path) -> None:
    path = tmp_path / "rows"

    def page(number: int) -> list[dict[str, Any]]:
        path.write_text("evidence of another case")
        return listed(10)(number)

    params = {"job_id": JOB_ID, "destination": str(path), "format": row_format}
    with pytest.raises(ParameterError, match="already exists") as failed:
        export_job_messages.run(params, connected(Listing(10, page)))
    assert path.read_text() == "evidence of another case"
    with pytest.raises(ParameterError, match="already exists"):
        export_job_messages.run({**params, "resume": failed.value.resume}, connected(Listing(10, listed(10))))
    path.unlink()
    again = export_job_messages.run({**params, "resume": failed.value.resume}, connected(Listing(10, listed(10))))
    assert (again["complete"], [found.name for found in tmp_path.iterdir()]) == (True, ["rows"])


@pytest.mark.parametrize("row_format", ["csv", "parquet"])
def test_a_format_that_the_result_cant_hold_needs_a_destination(row_format: str) -> None:
    with pytest.raises(ParameterError, match="/format"):
        export_job_messages.run({"job_id": JOB_ID, "format": row_format}, connected(Listing(1, listed(1))))


@pytest.mark.parametrize("more", [{}, {"format": "json"}, {"format": "parquet"}, {"evidence": "bundle"}])
def test_a_csv_dialect_is_for_csv_alone(more: dict[str, Any], tmp_path: Path) -> None:
    listing = Listing(1, listed(1))
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    with pytest.raises(ParameterError) as refused:
        export_job_messages.run({**params, "csv_dialect": "excel"}, connected(listing))
    assert [problem["pointer"] for problem in refused.value.problems] == ["/csv_dialect"]
    assert listing.asked == []
    assert export_job_messages.run({**params, "csv_dialect": "plain"}, connected(listing))["complete"]


def test_an_export_for_a_spreadsheet_keeps_ids_as_text_and_warns_of_cells_that_excel_cuts(tmp_path: Path) -> None:
    def page(number: int) -> list[dict[str, Any]]:
        return [{**row, "postfix_id": "317078247e1198", "status_message": "x" * 40_000} for row in listed(2)(number)]

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


def test_an_export_goes_on_in_another_dialect(tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "format": "csv"}
    excel = {**params, "csv_dialect": "excel"}
    begun = export_job_messages.run(
        {**params, "destination": str(tmp_path / "pieces"), "time_budget_seconds": 0.001},
        ticking(connected(Listing(3500, listed(3500)))),
    )
    for destination, more in (("pieces", {"resume": begun["resume"]}), ("whole", {})):
        given = {**excel, "destination": str(tmp_path / destination), **more}
        assert export_job_messages.run(given, connected(Listing(3500, listed(3500))))["complete"]
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("more", [{"format": "csv"}, {"evidence": "bundle"}, {"pseudonymize": True}])
def test_a_number_that_no_reader_takes_is_named_and_loses_nothing(more: dict[str, Any], tmp_path: Path) -> None:
    class Huge(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            text = answer.read().replace(b'"row-00003","status":"COMPLETED","retry_count":0', HUGE)
            return httpx.Response(200, content=text)

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    with pytest.raises(UnusableAnswer, match="thousands of digits") as failed:
        export_job_messages.run(params, connected(Huge(10, listed(10)), pseudonym_key=PSEUDONYM_KEY))
    assert "changed or replaced" not in failed.value.message
    assert failed.value.message.startswith("row 4 of ")
    assert not (tmp_path / "rows").exists()


class Flawed(Listing):
    """A listing of 2,500 rows; the text of row 4 of page 2 is exchanged as told, while `broken`."""

    def __init__(self, written: bytes) -> None:
        super().__init__(2500, listed(2500))
        self.written, self.broken, self.calls = written, True, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        text = super().handle_request(request).read()
        if self.broken:
            text = text.replace(b'{"message_id":"row-01003","status":"COMPLETED","retry_count":0}', self.written)
        return httpx.Response(200, content=text)


ROW = b'{"message_id":"row-01003","status":"COMPLETED","message":{"subject":%s}}'
# What the service gives again however often it is asked, and how the error names it.
FLAWS: dict[str, tuple[bytes, str]] = {
    "invalid UTF-8": (ROW % b'"caf\xe9"', "page 2: .*row 4: field message.subject: is not UTF-8"),
    "half of a character": (ROW % b'"\xf0\x9f\x98"', "page 2: .*row 4: field message.subject: is not UTF-8"),
    "a name that is not UTF-8": (ROW % b'{"\xff":1}', "page 2: .*row 4: a name in message.subject: is not UTF-8"),
    "NaN": (ROW % b"NaN", "page 2: .*row 4: field message.subject: is NaN or Infinity"),
    "Infinity": (ROW % b"[1,-Infinity]", "page 2: .*row 4: field message.subject.1: is NaN or Infinity"),
    "a row that is no object": (b"[1,2]", "page 2: row 4: field "),
    "a row that is null": (b"null", "page 2: row 4: field "),
    "a row without ID": (b'{"status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row with an empty ID": (b'{"message_id":"","status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row with a number as ID": (b'{"message_id":7,"status":"COMPLETED"}', "page 2: row 4: field message_id"),
    "a row without status": (b'{"message_id":"row-01003"}', "page 2: row 4: field status"),
    "nesting without end": (ROW % (b"[" * 200_000 + b"]" * 200_000), "page 2: .*nested too deeply"),
}


@pytest.mark.parametrize("ahead", [0, 8])
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_row_that_is_the_same_twice_and_cant_be_read_is_named_and_not_tried_again(
    flaw: str, ahead: int, tmp_path: Path
) -> None:
    written, words = FLAWS[flaw]
    listing = Flawed(written)
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    api = connected(listing, pages_ahead=ahead)
    with pytest.raises(UnusableAnswer, match=words) as failed:
        export_job_messages.run(params, api)
    assert (failed.value.exit_code, failed.value.retryable, failed.value.applied) == (5, False, "no")
    assert failed.value.resume is not None
    assert failed.value.resume["rows"] == 1000
    assert listing.calls <= 7
    listing.broken = False
    again = export_job_messages.run({**params, "resume": failed.value.resume}, api)
    assert (again["complete"], again["written"]) == (True, 2500)


def test_a_body_that_was_damaged_on_the_way_is_asked_for_again(tmp_path: Path) -> None:
    class Once(Flawed):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            self.broken = self.broken and request.url.params.get("page") != "2"
            return answer

    listing = Once(FLAWS["invalid UTF-8"][0])
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows.ndjson")}
    assert export_job_messages.run(params, connected(listing, pages_ahead=0))["complete"]


@pytest.mark.parametrize(
    "written",
    [
        ROW % rb'"\ud83d"',
        # The same, as bytes: no UTF-8, and every JSON reader here takes it.
        ROW % b'"\xed\xa0\xbd"',
        ROW % rb'"a\udc00b \ud83d\ud83d"',
        b'{"message_id":"row-01003","message_id":"row-01003","status":"COMPLETED","status":"COMPLETED"}',
        ROW % b"1e999",
        ROW % (b"[" * 300 + b"]" * 300),
    ],
)
@pytest.mark.parametrize(
    "more",
    [{}, {"format": "csv"}, {"format": "json"}, {"format": "parquet"}, {"evidence": "bundle"}, {"pseudonymize": True}],
)
def test_a_row_that_json_allows_is_carried_through(more: dict[str, Any], written: bytes, tmp_path: Path) -> None:
    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    result = export_job_messages.run(params, connected(Flawed(written), pseudonym_key=PSEUDONYM_KEY))
    assert (result["complete"], result["written"]) == (True, 2500)
    for path in [tmp_path / "rows"] if (tmp_path / "rows").is_file() else list((tmp_path / "rows").iterdir()):
        if more.get("format") != "parquet":
            path.read_text(encoding="utf-8")


def test_a_page_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    class Marked(Listing):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=b"\xef\xbb\xbf" + super().handle_request(request).read())

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows")}
    assert export_job_messages.run(params, connected(Marked(10, listed(10))))["complete"]


@pytest.mark.parametrize("written", [ROW % b"1e999", ROW % (b"7" * 5000), ROW % (b"[" * 20_000 + b"]" * 20_000)])
def test_a_number_that_no_result_can_hold_is_named(written: bytes) -> None:
    with pytest.raises(UnusableAnswer, match=r"row 1,004|nested too deeply") as failed:
        export_job_messages.run({"job_id": JOB_ID, **INLINE}, connected(Flawed(written)))
    assert failed.value.exit_code == 5


HUGE = b'"row-00003","status":"COMPLETED","retry_count":' + b"7" * 5000


@pytest.mark.parametrize("more", [{"format": "csv"}, {"evidence": "bundle"}])
def test_lists_in_lists_without_end_are_written_all_the_same(more: dict[str, Any], tmp_path: Path) -> None:
    deep: Any = "=1+1"
    for _ in range(300):
        deep = [deep]

    def page(number: int) -> list[dict[str, Any]]:
        return [{**row, "message": {"subject": deep}} for row in listed(3)(number)]

    params = {"job_id": JOB_ID, "destination": str(tmp_path / "rows"), **more}
    assert export_job_messages.run(params, connected(Listing(3, page)))["complete"]
    table = tmp_path / "rows" if "format" in more else tmp_path / "rows" / "rows.csv"
    assert not [cell for row in csv.reader(table.read_text().splitlines()) for cell in row if cell.startswith("=")]
