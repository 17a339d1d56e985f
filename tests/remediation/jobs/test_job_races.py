"""One request makes one job despite many old jobs, lists that change while they are read, and other workers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import OutcomeUnknown, UnexpectedAnswer
from remediation.jobs.creation import Clearance, CreatedJob, JobRequest, create_job_once
from remediation.jobs.job_list import JobList
from remediation.stamp import Stamp
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, connected, envelope, job
from tests.exhaustive import exhaustive_unless
from tests.remediation.jobs.jobs_service import JobsService, Row

REQUEST = BulkJobRequest(
    action="MOVE", destination="JunkEmail", comment="case 42", search_params=SearchParams(sender="a@phish.example")
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(clock: FakeClock) -> JobsService:
    return JobsService(clock)


@pytest.fixture
def api(service: JobsService, clock: FakeClock) -> EmailSecurity:
    return connected(service, clock)


def create(api: EmailSecurity, key: str | None = "case-42") -> CreatedJob:
    return create_job_once(api, JobRequest(REQUEST, key))


def stamped_job(**changes: Any) -> Row:
    body = {name: value for name, value in REQUEST.body().items() if name != "comment"}
    return job(comment=Stamp.of(ACCOUNT, "case-42", body).on("case 42"), **changes)


def is_list(request: httpx.Request) -> bool:
    return request.method == "GET" and request.url.path.endswith("/bulk")


# IDs


@pytest.mark.parametrize("spelling", [str.upper, str.title, lambda text: text[:8].upper() + text[8:]])
def test_a_listed_job_id_in_another_case_is_recognized(
    service: JobsService, api: EmailSecurity, spelling: Callable[[str], str]
) -> None:
    service.show_in_list = lambda one: {**one, "job_id": spelling(one["job_id"])}
    result = create(api)
    assert (result.created, result.duplicates, result.warnings) == (True, [], [])
    again = create(api)
    assert (again.created, again.job.job_id) == (False, result.job.job_id)
    assert [one["status"] for one in service.jobs] == ["PENDING"]


# A comment that the list changes or hides

CHANGED_COMMENTS: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "empty": lambda _: "",
    "truncated": lambda text: text[:40],
    "without the tag": lambda text: text.partition("] ")[2],
    "padded": lambda text: f"  {text}",
    "after a byte order mark": lambda text: f"\N{ZERO WIDTH NO-BREAK SPACE}{text}",
    "upper case": str.upper,
    "full width": lambda text: text.replace("[", "\N{FULLWIDTH LEFT SQUARE BRACKET}"),
    "a number": lambda _: 42,
}


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("comment_change", exhaustive_unless({"null", "truncated", "upper case"}, CHANGED_COMMENTS))
def test_a_job_listed_without_its_tag_gets_a_warning(
    service: JobsService, clock: FakeClock, comment_change: str, *, keyed: bool
) -> None:
    service.show_in_list = lambda one: {**one, "comment": CHANGED_COMMENTS[comment_change](one["comment"])}
    result = create(connected(service, clock, **({"plan_key": "k" * 32} if keyed else {})))
    [warning] = result.warnings
    assert result.created
    assert "does not show the tag of job" in warning
    assert result.job.job_id in warning
    assert "does not show the job" not in warning
    assert [one["status"] for one in service.jobs] == ["PENDING"]


def test_a_create_response_without_a_comment_gives_no_warning(service: JobsService, api: EmailSecurity) -> None:
    service.answer_create = lambda _, one: httpx.Response(201, json=envelope({**one, "comment": None}))
    assert create(api).warnings == []
    assert not create(api).created


def test_of_two_jobs_the_one_listed_with_its_tag_is_kept(service: JobsService, api: EmailSecurity) -> None:
    other = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:36Z")

    def before_request(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and not service.jobs:
            service.jobs.append(other)

    service.before_request = before_request
    service.show_in_list = lambda one: one if one is other else {**one, "comment": None}
    result = create(api)
    assert (result.created, result.job.job_id) == (False, other["job_id"])
    assert [one["status"] for one in service.jobs] == ["PENDING", "CANCELLED"]


def test_a_new_job_without_a_tag_prevents_a_second_post_after_a_lost_response(
    service: JobsService, api: EmailSecurity
) -> None:
    service.answer_create = lambda _answer, _one: httpx.Response(502)
    service.show_in_list = lambda one: {**one, "comment": None}
    with pytest.raises(OutcomeUnknown) as caught:
        create(api)
    assert (service.calls["POST"], caught.value.job_id) == (1, service.jobs[0]["job_id"])


@pytest.mark.parametrize("order", exhaustive_unless(callable, [None, lambda one: str(one["job_id"])]))
@pytest.mark.parametrize("old", [0, 300])
def test_a_new_job_without_a_tag_prevents_a_second_post_on_every_pass_over_the_list(
    service: JobsService, api: EmailSecurity, old: int, order: Callable[[Row], str] | None
) -> None:
    """Each pass over an unordered list shows the job again. It still counts as made after the POST."""
    service.answer_create = lambda _answer, _one: httpx.Response(200, json=envelope(None, success=False))
    service.page_size = 100
    service.add_old(old, comment=None)
    if order is not None:
        service.jobs.sort(key=order)
    service.before_request = lambda _request, _number: None if order is None else service.jobs.sort(key=order)
    service.show_in_list = lambda one: {**one, "comment": None}
    with pytest.raises(OutcomeUnknown, match="has no tag") as caught:
        create(api)
    assert (service.calls["POST"], caught.value.applied) == (1, "unknown")
    assert caught.value.job_id in {one["job_id"] for one in service.jobs if one.get("comment")}


@pytest.mark.parametrize("hours", [-22, 22])
def test_a_new_job_without_a_tag_prevents_a_second_post_despite_a_wrong_clock(hours: int) -> None:
    service = JobsService(FakeClock())
    api = connected(service, FakeClock((service.clock.now() + timedelta(hours=hours)).isoformat()))
    service.answer_create = lambda _answer, _one: httpx.Response(200, json=envelope(None, success=False))
    service.show_in_list = lambda one: {**one, "comment": None}
    with pytest.raises(OutcomeUnknown, match="has no tag"):
        create(api)
    assert service.calls["POST"] == 1


# A list that changes while it is read


def _delete(service: JobsService, index: int) -> None:
    del service.jobs[index]


def _replace(service: JobsService) -> None:
    _delete(service, 0)
    service.add_old(1)


CHANGES: dict[str, Callable[[JobsService], None]] = {
    "the newest is deleted": lambda service: _delete(service, -1),
    "the oldest is deleted": lambda service: _delete(service, 0),
    "one is added": lambda service: service.add_old(1),
    "one is deleted and one added": _replace,
    "the order changes": lambda service: service.jobs.sort(key=lambda one: str(one["job_id"])),
}


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(
    ("page_size", "reports_page_size"), exhaustive_unless({(100, True)}, [(1000, True), (100, True), (100, False)])
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_job_hidden_from_one_pass_by_a_list_change_is_reused(
    service: JobsService,
    api: EmailSecurity,
    change: str,
    page_size: int,
    *,
    newest_first: bool,
    reports_page_size: bool,
) -> None:
    service.page_size, service.newest_first, service.reports_page_size = page_size, newest_first, reports_page_size
    service.add_old(2 * page_size)
    # The first row of the second page, which a deletion moves up.
    position = len(service.jobs) - page_size if newest_first else page_size
    old = stamped_job(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(position, old)

    def before_request(request: httpx.Request, _: int) -> None:
        if is_list(request) and request.url.params["page"] == "2" and not changed:
            changed.append(True)
            CHANGES[change](service)

    changed: list[bool] = []
    service.before_request = before_request
    result = create(api)
    assert (result.created, result.job.job_id, service.calls["POST"]) == (False, old["job_id"], 0)


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_kept_job_is_found_although_its_cancelled_duplicate_is_listed(
    service: JobsService, api: EmailSecurity, *, newest_first: bool
) -> None:
    service.page_size, service.newest_first = 100, newest_first
    service.add_old(200)
    kept_job = stamped_job(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(100, kept_job)
    duplicate = {**kept_job, "job_id": service.new_id(), "created_at": "2026-10-20T16:02:37Z", "status": "CANCELLED"}
    service.jobs.insert(101, duplicate)
    if newest_first:
        # The row that a deletion moves to the first page is the kept job.
        service.jobs.insert(0, service.jobs.pop())

    def before_request(request: httpx.Request, _: int) -> None:
        if is_list(request) and request.url.params["page"] == "2" and not changed:
            changed.append(True)
            _delete(service, -1 if newest_first else 0)

    changed: list[bool] = []
    service.before_request = before_request
    result = create(api)
    assert (result.created, result.job.job_id, service.calls["POST"]) == (False, kept_job["job_id"], 0)


@pytest.mark.parametrize("page_size", exhaustive_unless({100}, [100, 1000]))
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("status", ["PENDING", "COMPLETED"])
def test_the_earlier_of_two_jobs_is_found_while_jobs_are_deleted(
    service: JobsService, api: EmailSecurity, status: str, page_size: int, *, newest_first: bool
) -> None:
    """Two workers were killed, and both jobs are left. Each pass moves the first job to the previous page."""
    service.page_size, service.newest_first = page_size, newest_first
    service.add_old(3 * page_size, comment=None)
    first = stamped_job(job_id=service.new_id(), created_at="2026-11-20T15:02:36Z", status=status)
    later = stamped_job(job_id=service.new_id(), created_at="2026-11-20T15:02:37Z", status=status)
    service.jobs += [first, later]

    def before_request(request: httpx.Request, _: int) -> None:
        if not is_list(request):
            return
        rows = service.jobs[::-1] if newest_first else service.jobs
        start = (int(request.url.params["page"]) - 1) * min(page_size, int(request.url.params["per_page"]))
        position = rows.index(first)
        removed = [row for row in rows[:start] if not row.get("comment")][: position - start + 1]
        if start <= position < start + 5 and len(removed) == position - start + 1 and len(deleted) < 20:
            deleted.extend(removed)
            service.jobs[:] = [row for row in service.jobs if row not in removed]

    deleted: list[Row] = []
    service.before_request = before_request
    result = create(api)
    assert (result.created, result.job.job_id) == (False, first["job_id"])
    # The one POST cancels the later job if it still runs.
    assert (later["status"], service.calls["POST"]) == (("CANCELLED", 1) if status == "PENDING" else ("COMPLETED", 0))


def test_a_list_that_grows_to_a_second_page_during_the_call_is_read_twice(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """Another worker's job leads the second page at each check, and moves to the first before that page is read."""
    service.page_size = 100
    service.add_old(99, comment=None)
    first = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:35Z")

    def add_newer() -> None:
        row = job(job_id=service.new_id(), created_at=clock.now().isoformat(), comment=None)
        service.jobs.insert(service.jobs.index(first) + 1, row)

    def before_request(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and first not in service.jobs:
            service.jobs.append(first)
        if first not in service.jobs or not is_list(request):
            return
        if checked_at[-1] != clock.monotonic():
            checked_at.append(clock.monotonic())
            while service.jobs[::-1].index(first) < 100:
                add_newer()
        elif request.url.params["page"] == "2" and service.jobs[::-1].index(first) == 100:
            del service.jobs[service.jobs.index(first) + 1]
            hidden.append(True)

    checked_at, hidden = [-1.0], list[bool]()
    service.before_request = before_request
    result = create(api)
    assert hidden
    assert (result.created, result.job.job_id) == (False, first["job_id"])


def test_a_check_that_fails_midway_uses_the_pages_it_read(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """The first page that is read shows another worker's earlier job. The next page is refused."""
    service.page_size = 100
    service.add_old(150, comment=None)
    # In the order of IDs, so that each check reads all pages. The last check begins at the end, where this job is.
    first = stamped_job(job_id="ffffffff-5b0a-4c55-9a57-0f6f3f0c9b1d", created_at="2026-11-20T16:02:34Z")
    service.newest_first = False
    service.before_request = lambda _request, _number: service.jobs.sort(key=lambda one: str(one["job_id"]))
    answer = service._answer

    def refuse_first_page_later(request: httpx.Request) -> httpx.Response:
        late = clock.monotonic() >= 3
        if late and first not in service.jobs:
            service.jobs.append(first)
        if late and is_list(request) and request.url.params["page"] == "1":
            error = {"code": 10429, "message": "Too many requests"}
            return httpx.Response(
                429, headers={"retry-after": "600"}, json=envelope(None, success=False, errors=[error])
            )
        return answer(request)

    service._answer = refuse_first_page_later  # type: ignore[method-assign]
    result = create(api)
    assert (result.created, result.job.job_id) == (False, first["job_id"])


def test_a_job_cancelled_by_another_worker_is_not_returned(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """The new job is cancelled as a later duplicate. The earlier job is hidden until the second check at one moment."""
    service.page_size, service.newest_first = 100, False
    service.add_old(250, comment=None)
    first = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:34Z")

    def before_request(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and first not in service.jobs:
            service.jobs.append(first)
        if clock.monotonic() >= 1:
            service.jobs[-1]["status"] = "CANCELLED"

    page_reads: list[str] = []

    def show_in_list(one: Row) -> Row | None:
        return None if one is first and clock.monotonic() != 4 else one

    def hide_from_first_check(request: httpx.Request) -> httpx.Response:
        if is_list(request) and clock.monotonic() == 4:
            page_reads.append(str(request.url.params["page"]))
        # The confirming check misses it. The checks that follow at once see it.
        service.show_in_list = show_in_list if len(page_reads) > 1 else lambda one: None if one is first else one
        return answer(request)

    answer = service._answer
    service._answer = hide_from_first_check  # type: ignore[method-assign]
    service.before_request = before_request
    result = create(api)
    assert (result.created, result.job.job_id) == (False, first["job_id"])


@pytest.mark.parametrize("position", exhaustive_unless({150}, [149, 150, 151]))
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_job_between_two_pages_is_reused_while_the_list_changes(
    service: JobsService, clock: FakeClock, api: EmailSecurity, position: int, *, newest_first: bool
) -> None:
    service.page_size, service.newest_first = 100, newest_first
    service.add_old(250)
    old = stamped_job(job_id=service.new_id(), created_at="2026-10-21T16:02:36Z", status="COMPLETED")
    service.jobs.insert(position if newest_first else 250 - position, old)

    def before_request(request: httpx.Request, number: int) -> None:
        if is_list(request) and request.url.params["page"] == "1" and number:
            new = job(job_id=service.new_id(), created_at=clock.now().isoformat())
            service.jobs.insert(len(service.jobs) if newest_first else 0, new)
        if is_list(request) and request.url.params["page"] == "2":
            del service.jobs[-5 if newest_first else 5]

    service.before_request = before_request
    result = create(api)
    assert (result.created, result.job.job_id, service.calls["POST"]) == (False, old["job_id"], 0)


def _return_an_empty_page(service: JobsService, number: str, times: int) -> None:
    answer, left = service._answer, [times]

    def answer_with_empty_page(request: httpx.Request) -> httpx.Response:
        if is_list(request) and request.url.params["page"] == number and left[0]:
            left[0] -= 1
            return httpx.Response(200, json=envelope([]))
        return answer(request)

    service._answer = answer_with_empty_page  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("number", "times"), exhaustive_unless({("2", 2)}, [("3", 1), ("2", 1), ("2", 2), ("2", 3), ("1", 2)])
)
@pytest.mark.parametrize("position", exhaustive_unless({1250}, [0, 1250, 2499]))
def test_a_temporarily_empty_page_hides_no_job(
    service: JobsService, api: EmailSecurity, number: str, times: int, position: int
) -> None:
    service.add_old(2500)
    old = stamped_job(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(position, old)
    _return_an_empty_page(service, number, times)
    result = create(api)
    assert (result.created, service.calls["POST"]) == (False, 0)


def test_a_permanently_empty_page_prevents_a_create(service: JobsService, api: EmailSecurity) -> None:
    service.add_old(2500)
    _return_an_empty_page(service, "2", 10_000)
    with pytest.raises(UnexpectedAnswer, match="an empty page in the middle") as caught:
        create(api)
    assert (caught.value.applied, service.calls["POST"]) == ("no", 0)


# The number of calls


@pytest.mark.parametrize("ignores_filters", exhaustive_unless({False}, [False, True]))
@pytest.mark.parametrize("newest_first", exhaustive_unless({True}, [True, False]))
@pytest.mark.parametrize(
    ("old", "most"), exhaustive_unless({(998, 5), (3000, 17)}, [(0, 5), (1, 5), (500, 5), (998, 5), (3000, 17)])
)
def test_a_create_reads_a_long_list_twice_and_needs_five_calls_for_one_page(
    service: JobsService, api: EmailSecurity, old: int, most: int, *, newest_first: bool, ignores_filters: bool
) -> None:
    service.newest_first, service.ignores_filters = newest_first, ignores_filters
    service.add_old(old, status="COMPLETED")
    assert create(api).created
    assert sum(service.calls.values()) <= most


@pytest.mark.parametrize("page_size", [4, 50])
def test_a_list_that_repeats_one_page_costs_few_calls_while_counters_change(
    service: JobsService, clock: FakeClock, api: EmailSecurity, page_size: int
) -> None:
    service.page_size = page_size
    service.add_old(2 * page_size, comment=None)
    answer = service._answer

    def same_page(request: httpx.Request) -> httpx.Response:
        if is_list(request):
            service.jobs[-1]["messages_pending"] += 1
            request.url = request.url.copy_set_param("page", "1")
        return answer(request)

    service._answer = same_page  # type: ignore[method-assign]
    job_list = JobList(api, Stamp.of(ACCOUNT, "case-42", {}), "MOVE")
    job_list.read_all()
    job_list.read_all(filtered=True, backwards=True)
    assert sum(service.calls.values()) <= 10


def test_a_one_page_list_without_page_size_costs_five_calls(service: JobsService, api: EmailSecurity) -> None:
    service.reports_page_size = False
    service.add_old(500)
    assert create(api).created
    assert sum(service.calls.values()) <= 5


def test_jobs_of_the_other_action_are_read_once(service: JobsService, api: EmailSecurity) -> None:
    service.add_old(8000, action_type="RELEASE")
    assert create(api).created
    assert sum(service.calls.values()) <= 18


def test_a_key_used_by_a_job_of_the_other_action_is_refused(service: JobsService, api: EmailSecurity) -> None:
    service.page_size = 100
    service.add_old(300)
    comment = Stamp.of(ACCOUNT, "case-42", {"action": "RELEASE"}).on("theirs")
    service.jobs.insert(7, job(job_id=service.new_id(), comment=comment, action_type="RELEASE"))
    with pytest.raises(Exception, match="was used for another request"):
        create(api)
    assert service.calls["POST"] == 0


# Two workers


@pytest.mark.parametrize("whole_seconds", [False, True])
@pytest.mark.parametrize("seed", exhaustive_unless({1}, [1, 2, 3, 4]))
@pytest.mark.parametrize("first_lag", [0.2, 1.0, 2.9])
@pytest.mark.parametrize("second_lag", [0.0, 0.4, 2.9])
def test_every_worker_returns_the_job_that_is_kept(
    clock: FakeClock, seed: int, first_lag: float, second_lag: float, *, whole_seconds: bool
) -> None:
    service = JobsService(clock, seed=seed)
    service.whole_seconds = whole_seconds
    service.add_old(30)
    lags, born, results = iter([first_lag, second_lag, 0.0]), dict[str, float](), list[CreatedJob]()

    def show_in_list(one: Row) -> Row | None:
        return one if clock.monotonic() >= born.get(one["job_id"], -1) else None

    def answer_create(answer: httpx.Response, one: Row) -> httpx.Response:
        born[one["job_id"]] = clock.monotonic() + next(lags)
        clock.advance(0.05)
        return answer

    def before_request(request: httpx.Request, _: int) -> None:
        # The second worker starts when the first has its response and has not checked the list yet.
        if service.calls["POST"] == 1 and not second_worker_started:
            second_worker_started.append(True)
            results.append(create(connected(service, clock)))

    second_worker_started: list[bool] = []
    service.show_in_list, service.answer_create, service.before_request = show_in_list, answer_create, before_request
    results.append(create(connected(service, clock)))
    [live] = service.live
    assert {result.job.job_id for result in results} == {live["job_id"]}
    assert sum(result.created for result in results) <= 1
    assert len(results) == 2


def test_a_call_that_finds_a_new_job_waits_for_earlier_duplicates(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    hidden = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:34.500000Z")
    seen = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:35.000000Z")
    service.jobs += [hidden, seen]
    service.show_in_list = lambda one: None if one is hidden and clock.monotonic() < 3 else one
    result = create(api)
    assert (result.created, result.job.job_id) == (False, hidden["job_id"])
    assert seen["status"] == "CANCELLED"


@pytest.mark.parametrize("behind", [60, 3600, 86_400])
def test_a_machine_with_a_slow_clock_waits_for_earlier_duplicates(service: JobsService, behind: int) -> None:
    """The listed job appears to be made in the future, so it may have been made a moment ago."""
    clock = FakeClock()
    api = connected(service, clock)
    moment = clock.now() + timedelta(seconds=behind)
    hidden = stamped_job(job_id=service.new_id(), created_at=(moment - timedelta(seconds=1)).isoformat())
    seen = stamped_job(job_id=service.new_id(), created_at=moment.isoformat())
    service.jobs += [hidden, seen]
    service.show_in_list = lambda one: None if one is hidden and clock.monotonic() < 3 else one
    result = create(api)
    assert (result.created, result.job.job_id) == (False, hidden["job_id"])


@pytest.mark.parametrize("old", [0, 250])
def test_a_check_that_began_before_the_listing_lag_ended_is_repeated(
    service: JobsService, clock: FakeClock, api: EmailSecurity, old: int
) -> None:
    """The check ends after the listing lag but began before its end, so another check follows."""
    service.page_size = 100
    service.add_old(old, comment=None)
    first = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:34Z")
    service.jobs.append(first)
    service.newest_first = False
    service.show_in_list = lambda one: None if one is first and clock.monotonic() < 2 else one

    def answer_slowly(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        if is_list(request) and service.calls["POST"] and clock.monotonic() < 20:
            clock.advance(25)
        return response

    answer = service._answer
    service._answer = answer_slowly  # type: ignore[method-assign]
    result = create(api)
    assert (result.created, result.job.job_id) == (False, first["job_id"])


@pytest.mark.parametrize("old", [0, 250])
def test_a_slow_check_before_the_create_is_repeated(
    service: JobsService, clock: FakeClock, api: EmailSecurity, old: int
) -> None:
    """Another worker makes a job while this call waits for its last page. The count before was slow, too."""
    service.page_size = 100
    service.add_old(old, comment=None)
    other = stamped_job(job_id=service.new_id(), created_at="2026-11-20T16:02:45Z")
    waits: list[str] = []

    def answer_slowly(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        if is_list(request) and clock.monotonic() >= 5 and not waits:
            waits.append(str(request.url.params["page"]))
            service.jobs.append(other)
            clock.advance(60)
        return response

    answer = service._answer
    service._answer = answer_slowly  # type: ignore[method-assign]

    def count(_: Stamp) -> Clearance:
        clock.advance(5)
        return Clearance()

    result = create_job_once(api, JobRequest(REQUEST, "case-42"), before_post=count)
    assert waits
    assert (result.created, result.job.job_id, service.calls["POST"]) == (False, other["job_id"], 0)


def test_an_old_job_is_reused_without_a_pause(service: JobsService, clock: FakeClock, api: EmailSecurity) -> None:
    service.jobs.append(stamped_job(created_at="2026-11-19T16:02:34Z"))
    assert not create(api).created
    assert clock.slept == []


# A response that contradicts itself


@pytest.mark.parametrize("status", exhaustive_unless({400, 302, 500}, [400, 404, 409, 422, 302, 500]))
@pytest.mark.parametrize("lagging", [False, True])
def test_a_job_in_a_contradictory_response_is_found(
    service: JobsService, clock: FakeClock, api: EmailSecurity, status: int, *, lagging: bool
) -> None:
    service.answer_create = lambda _, one: httpx.Response(status, json=envelope(one))
    started = clock.now()
    if lagging:
        service.show_in_list = lambda one: (
            one if (clock.now() - datetime.fromisoformat(one["created_at"])).seconds > 5 else None
        )
    result = create(api)
    assert (result.created, service.calls["POST"]) == (True, 1)
    assert (clock.now() - started).total_seconds() < 40
    assert not create(api).created
    assert len(service.jobs) == 1


def test_a_refusal_without_a_job_is_raised(service: JobsService, api: EmailSecurity) -> None:
    def refuse(_: httpx.Response, one: Row) -> httpx.Response:
        service.jobs.remove(one)
        return httpx.Response(400, json=envelope(None, success=False, errors=[{"code": 1000, "message": "no"}]))

    service.answer_create = refuse
    with pytest.raises(Exception, match="refused") as caught:
        create(api)
    assert (caught.value.applied, service.calls["POST"]) == ("no", 1)  # type: ignore[attr-defined]
