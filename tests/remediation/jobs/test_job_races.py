"""One job for each intent, among many old jobs, lists that change while they are read, and other workers."""

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


def stamped(**changes: Any) -> Row:
    body = {name: value for name, value in REQUEST.body().items() if name != "comment"}
    return job(comment=Stamp.of(ACCOUNT, "case-42", body).on("case 42"), **changes)


def is_list(request: httpx.Request) -> bool:
    return request.method == "GET" and request.url.path.endswith("/bulk")


# IDs


@pytest.mark.parametrize("spelled", [str.upper, str.title, lambda text: text[:8].upper() + text[8:]])
def test_an_id_in_another_case_in_the_list_is_the_own_job(
    service: JobsService, api: EmailSecurity, spelled: Callable[[str], str]
) -> None:
    service.shown = lambda one: {**one, "job_id": spelled(one["job_id"])}
    made = create(api)
    assert (made.created, made.duplicates, made.warnings) == (True, [], [])
    again = create(api)
    assert (again.created, again.job.job_id) == (False, made.job.job_id)
    assert [one["status"] for one in service.jobs] == ["PENDING"]


# A comment that the list does not show as it was sent

LOST: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "empty": lambda _: "",
    "cut": lambda text: text[:40],
    "cut to the words": lambda text: text.partition("] ")[2],
    "padded": lambda text: f"  {text}",
    "after a byte order mark": lambda text: f"\N{ZERO WIDTH NO-BREAK SPACE}{text}",
    "upper case": str.upper,
    "full width": lambda text: text.replace("[", "\N{FULLWIDTH LEFT SQUARE BRACKET}"),
    "a number": lambda _: 42,
}


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("lost", LOST)
def test_a_job_that_the_list_shows_without_its_tag_gets_a_warning(
    service: JobsService, clock: FakeClock, lost: str, *, keyed: bool
) -> None:
    service.shown = lambda one: {**one, "comment": LOST[lost](one["comment"])}
    made = create(connected(service, clock, **({"plan_key": "k" * 32} if keyed else {})))
    [warning] = made.warnings
    assert made.created
    assert "does not show the tag of job" in warning
    assert made.job.job_id in warning
    assert "does not show the job" not in warning
    assert [one["status"] for one in service.jobs] == ["PENDING"]


def test_a_comment_that_only_the_answer_to_the_create_leaves_out_is_no_reason_to_warn(
    service: JobsService, api: EmailSecurity
) -> None:
    service.post = lambda _, one: httpx.Response(201, json=envelope({**one, "comment": None}))
    assert create(api).warnings == []
    assert not create(api).created


def test_of_two_jobs_the_one_that_others_can_recognise_stays(service: JobsService, api: EmailSecurity) -> None:
    other = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:36Z")

    def before(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and not service.jobs:
            service.jobs.append(other)

    service.before = before
    service.shown = lambda one: one if one is other else {**one, "comment": None}
    made = create(api)
    assert (made.created, made.job.job_id) == (False, other["job_id"])
    assert [one["status"] for one in service.jobs] == ["PENDING", "CANCELLED"]


def test_after_a_lost_answer_a_job_without_a_stamp_that_may_be_the_own_one_keeps_from_a_second_post(
    service: JobsService, api: EmailSecurity
) -> None:
    service.post = lambda _answer, _one: httpx.Response(502)
    service.shown = lambda one: {**one, "comment": None}
    with pytest.raises(OutcomeUnknown) as caught:
        create(api)
    assert (service.calls["POST"], caught.value.job_id) == (1, service.jobs[0]["job_id"])


@pytest.mark.parametrize("order", [None, lambda one: str(one["job_id"])])
@pytest.mark.parametrize("old", [0, 3000])
def test_a_job_without_a_stamp_keeps_from_a_second_post_however_often_the_whole_list_is_read(
    service: JobsService, api: EmailSecurity, old: int, order: Callable[[Row], str] | None
) -> None:
    """Each pass over a list in no known order shows the job again: it stays one of the time after the POST."""
    service.post = lambda _answer, _one: httpx.Response(200, json=envelope(None, success=False))
    service.add_old(old, comment=None)
    if order is not None:
        service.jobs.sort(key=order)
    service.before = lambda _request, _number: None if order is None else service.jobs.sort(key=order)
    service.shown = lambda one: {**one, "comment": None}
    with pytest.raises(OutcomeUnknown, match="has no tag") as caught:
        create(api)
    assert (service.calls["POST"], caught.value.applied) == (1, "unknown")
    assert caught.value.job_id in {one["job_id"] for one in service.jobs if one.get("comment")}


@pytest.mark.parametrize("hours", [-22, 22])
def test_a_job_without_a_stamp_keeps_from_a_second_post_whatever_this_machines_clock_says(hours: int) -> None:
    service = JobsService(FakeClock())
    api = connected(service, FakeClock((service.clock.now() + timedelta(hours=hours)).isoformat()))
    service.post = lambda _answer, _one: httpx.Response(200, json=envelope(None, success=False))
    service.shown = lambda one: {**one, "comment": None}
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


@pytest.mark.parametrize("says_page_size", [True, False])
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("page_size", [1000, 100])
@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_a_change_of_the_list_hides_from_one_pass_is_reused(
    service: JobsService,
    api: EmailSecurity,
    change: str,
    page_size: int,
    *,
    newest_first: bool,
    says_page_size: bool,
) -> None:
    service.page_size, service.newest_first, service.says_page_size = page_size, newest_first, says_page_size
    service.add_old(2 * page_size)
    # The first row of the second page, which a deletion moves up.
    place = len(service.jobs) - page_size if newest_first else page_size
    old = stamped(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(place, old)

    def before(request: httpx.Request, _: int) -> None:
        if is_list(request) and request.url.params["page"] == "2" and not changed:
            changed.append(True)
            CHANGES[change](service)

    changed: list[bool] = []
    service.before = before
    made = create(api)
    assert (made.created, made.job.job_id, service.calls["POST"]) == (False, old["job_id"], 0)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_job_that_stays_is_not_overlooked_for_its_cancelled_duplicate(
    service: JobsService, api: EmailSecurity, *, newest_first: bool
) -> None:
    service.page_size, service.newest_first = 100, newest_first
    service.add_old(200)
    stays = stamped(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(100, stays)
    duplicate = {**stays, "job_id": service.new_id(), "created_at": "2026-10-20T16:02:37Z", "status": "CANCELLED"}
    service.jobs.insert(101, duplicate)
    if newest_first:
        # The row that a deletion moves to the first page is the job that stays.
        service.jobs.insert(0, service.jobs.pop())

    def before(request: httpx.Request, _: int) -> None:
        if is_list(request) and request.url.params["page"] == "2" and not changed:
            changed.append(True)
            _delete(service, -1 if newest_first else 0)

    changed: list[bool] = []
    service.before = before
    made = create(api)
    assert (made.created, made.job.job_id, service.calls["POST"]) == (False, stays["job_id"], 0)


@pytest.mark.parametrize("page_size", [100, 1000])
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("status", ["PENDING", "COMPLETED"])
def test_the_earlier_of_two_jobs_is_not_overlooked_where_jobs_are_deleted_in_every_pass(
    service: JobsService, api: EmailSecurity, status: str, page_size: int, *, newest_first: bool
) -> None:
    """Two workers were killed: both jobs are left, and the first is moved to the page before, pass for pass."""
    service.page_size, service.newest_first = page_size, newest_first
    service.add_old(3 * page_size, comment=None)
    first = stamped(job_id=service.new_id(), created_at="2026-11-20T15:02:36Z", status=status)
    later = stamped(job_id=service.new_id(), created_at="2026-11-20T15:02:37Z", status=status)
    service.jobs += [first, later]

    def before(request: httpx.Request, _: int) -> None:
        if not is_list(request):
            return
        rows = service.jobs[::-1] if newest_first else service.jobs
        start = (int(request.url.params["page"]) - 1) * min(page_size, int(request.url.params["per_page"]))
        place = rows.index(first)
        gone = [row for row in rows[:start] if not row.get("comment")][: place - start + 1]
        if start <= place < start + 5 and len(gone) == place - start + 1 and len(deleted) < 20:
            deleted.extend(gone)
            service.jobs[:] = [row for row in service.jobs if row not in gone]

    deleted: list[Row] = []
    service.before = before
    made = create(api)
    assert (made.created, made.job.job_id) == (False, first["job_id"])
    # The one POST cancels the later job, where that still runs.
    assert (later["status"], service.calls["POST"]) == (("CANCELLED", 1) if status == "PENDING" else ("COMPLETED", 0))


def test_a_list_that_grows_beyond_one_page_during_the_call_is_read_twice(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """Another worker's job is the first one of the second page at each look, and moves up before that page is read."""
    service.page_size = 100
    service.add_old(99, comment=None)
    first = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:35Z")

    def add_newer() -> None:
        row = job(job_id=service.new_id(), created_at=clock.now().isoformat(), comment=None)
        service.jobs.insert(service.jobs.index(first) + 1, row)

    def before(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and first not in service.jobs:
            service.jobs.append(first)
        if first not in service.jobs or not is_list(request):
            return
        if looked_at[-1] != clock.monotonic():
            looked_at.append(clock.monotonic())
            while service.jobs[::-1].index(first) < 100:
                add_newer()
        elif request.url.params["page"] == "2" and service.jobs[::-1].index(first) == 100:
            del service.jobs[service.jobs.index(first) + 1]
            hidden.append(True)

    looked_at, hidden = [-1.0], list[bool]()
    service.before = before
    made = create(api)
    assert hidden
    assert (made.created, made.job.job_id) == (False, first["job_id"])


def test_a_check_that_fails_in_its_middle_still_counts_as_far_as_it_came(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """The list shows another worker's earlier job on the page that is read first, and refuses the next."""
    service.page_size = 100
    service.add_old(150, comment=None)
    # In the order of IDs, so that each look reads all: the last one from the end, where this job is.
    first = stamped(job_id="ffffffff-5b0a-4c55-9a57-0f6f3f0c9b1d", created_at="2026-11-20T16:02:34Z")
    service.newest_first = False
    service.before = lambda _request, _number: service.jobs.sort(key=lambda one: str(one["job_id"]))
    answer = service._answer

    def answered(request: httpx.Request) -> httpx.Response:
        late = clock.monotonic() >= 3
        if late and first not in service.jobs:
            service.jobs.append(first)
        if late and is_list(request) and request.url.params["page"] == "1":
            error = {"code": 10429, "message": "Too many requests"}
            return httpx.Response(
                429, headers={"retry-after": "600"}, json=envelope(None, success=False, errors=[error])
            )
        return answer(request)

    service._answer = answered  # type: ignore[method-assign]
    made = create(api)
    assert (made.created, made.job.job_id) == (False, first["job_id"])


def test_a_job_that_another_worker_has_cancelled_is_not_named_as_the_one_that_stays(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    """The own job is cancelled as a later duplicate, and the earlier one is hidden from each look but a second one."""
    service.page_size, service.newest_first = 100, False
    service.add_old(250, comment=None)
    first = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:34Z")

    def before(request: httpx.Request, _: int) -> None:
        if request.method == "POST" and first not in service.jobs:
            service.jobs.append(first)
        if clock.monotonic() >= 1:
            service.jobs[-1]["status"] = "CANCELLED"

    looks: list[str] = []

    def shown(one: Row) -> Row | None:
        return None if one is first and clock.monotonic() != 4 else one

    def counted(request: httpx.Request) -> httpx.Response:
        if is_list(request) and clock.monotonic() == 4:
            looks.append(str(request.url.params["page"]))
        # The look that makes sure misses it; those that follow at once do not.
        service.shown = shown if len(looks) > 1 else lambda one: None if one is first else one
        return answer(request)

    answer = service._answer
    service._answer = counted  # type: ignore[method-assign]
    service.before = before
    made = create(api)
    assert (made.created, made.job.job_id) == (False, first["job_id"])


@pytest.mark.parametrize("place", [1499, 1500, 1501])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_job_at_the_border_of_two_pages_is_reused_where_jobs_come_and_go_in_each_pass(
    service: JobsService, clock: FakeClock, api: EmailSecurity, place: int, *, newest_first: bool
) -> None:
    service.newest_first = newest_first
    service.add_old(2500)
    old = stamped(job_id=service.new_id(), created_at="2026-10-21T16:02:36Z", status="COMPLETED")
    service.jobs.insert(place if newest_first else 2500 - place, old)

    def before(request: httpx.Request, number: int) -> None:
        if is_list(request) and request.url.params["page"] == "1" and number:
            new = job(job_id=service.new_id(), created_at=clock.now().isoformat())
            service.jobs.insert(len(service.jobs) if newest_first else 0, new)
        if is_list(request) and request.url.params["page"] == "2":
            del service.jobs[-5 if newest_first else 5]

    service.before = before
    made = create(api)
    assert (made.created, made.job.job_id, service.calls["POST"]) == (False, old["job_id"], 0)


def _with_an_empty_page(service: JobsService, number: str, times: int) -> None:
    answer, left = service._answer, [times]

    def with_a_hole(request: httpx.Request) -> httpx.Response:
        if is_list(request) and request.url.params["page"] == number and left[0]:
            left[0] -= 1
            return httpx.Response(200, json=envelope([]))
        return answer(request)

    service._answer = with_a_hole  # type: ignore[method-assign]


@pytest.mark.parametrize(("number", "times"), [("3", 1), ("2", 1), ("2", 2), ("2", 3), ("1", 2)])
@pytest.mark.parametrize("place", [0, 1250, 2499])
def test_a_page_that_is_empty_for_a_while_hides_no_job(
    service: JobsService, api: EmailSecurity, number: str, times: int, place: int
) -> None:
    service.add_old(2500)
    old = stamped(job_id=service.new_id(), created_at="2026-10-20T16:02:36Z", status="COMPLETED")
    service.jobs.insert(place, old)
    _with_an_empty_page(service, number, times)
    made = create(api)
    assert (made.created, service.calls["POST"]) == (False, 0)


def test_a_page_that_stays_empty_keeps_from_a_create(service: JobsService, api: EmailSecurity) -> None:
    service.add_old(2500)
    _with_an_empty_page(service, "2", 10_000)
    with pytest.raises(UnexpectedAnswer, match="an empty page in the middle") as caught:
        create(api)
    assert (caught.value.applied, service.calls["POST"]) == ("no", 0)


# What it costs


@pytest.mark.parametrize("ignores_filters", [False, True])
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("old", "most"), [(0, 5), (1, 5), (500, 5), (998, 5), (3000, 17), (9_500, 29)])
def test_a_create_costs_two_passes_over_many_jobs_and_five_calls_where_there_is_one_page(
    service: JobsService, api: EmailSecurity, old: int, most: int, *, newest_first: bool, ignores_filters: bool
) -> None:
    service.newest_first, service.ignores_filters = newest_first, ignores_filters
    service.add_old(old, status="COMPLETED")
    assert create(api).created
    assert sum(service.calls.values()) <= most


@pytest.mark.parametrize("page_size", [4, 50])
def test_a_list_that_has_one_page_for_every_number_costs_few_calls_while_its_counters_move(
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


def test_a_list_without_page_size_costs_no_more_where_there_is_one_page(
    service: JobsService, api: EmailSecurity
) -> None:
    service.says_page_size = False
    service.add_old(500)
    assert create(api).created
    assert sum(service.calls.values()) <= 5


def test_jobs_of_the_other_action_are_read_once_only(service: JobsService, api: EmailSecurity) -> None:
    service.add_old(8000, action_type="RELEASE")
    assert create(api).created
    assert sum(service.calls.values()) <= 18


def test_a_key_that_a_job_of_the_other_action_has_is_still_seen(service: JobsService, api: EmailSecurity) -> None:
    service.add_old(3000)
    comment = Stamp.of(ACCOUNT, "case-42", {"action": "RELEASE"}).on("theirs")
    service.jobs.insert(7, job(job_id=service.new_id(), comment=comment, action_type="RELEASE"))
    with pytest.raises(Exception, match="was used for another request"):
        create(api)
    assert service.calls["POST"] == 0


# Two workers


@pytest.mark.parametrize("whole_seconds", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("first_lag", [0.2, 1.0, 2.9])
@pytest.mark.parametrize("second_lag", [0.0, 0.4, 2.9])
def test_every_worker_names_the_job_that_stays(
    clock: FakeClock, seed: int, first_lag: float, second_lag: float, *, whole_seconds: bool
) -> None:
    service = JobsService(clock, seed=seed)
    service.whole_seconds = whole_seconds
    service.add_old(30)
    lags, born, results = iter([first_lag, second_lag, 0.0]), dict[str, float](), list[CreatedJob]()

    def shown(one: Row) -> Row | None:
        return one if clock.monotonic() >= born.get(one["job_id"], -1) else None

    def post(answer: httpx.Response, one: Row) -> httpx.Response:
        born[one["job_id"]] = clock.monotonic() + next(lags)
        clock.advance(0.05)
        return answer

    def before(request: httpx.Request, _: int) -> None:
        # The second worker begins where the first one has its answer and has not looked yet.
        if service.calls["POST"] == 1 and not begun:
            begun.append(True)
            results.append(create(connected(service, clock)))

    begun: list[bool] = []
    service.shown, service.post, service.before = shown, post, before
    results.append(create(connected(service, clock)))
    [live] = service.live
    assert {made.job.job_id for made in results} == {live["job_id"]}
    assert sum(made.created for made in results) <= 1
    assert len(results) == 2


def test_a_call_that_finds_a_job_that_has_only_just_been_made_waits_until_it_is_sure_to_stay(
    service: JobsService, clock: FakeClock, api: EmailSecurity
) -> None:
    hidden = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:34.500000Z")
    seen = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:35.000000Z")
    service.jobs += [hidden, seen]
    service.shown = lambda one: None if one is hidden and clock.monotonic() < 3 else one
    made = create(api)
    assert (made.created, made.job.job_id) == (False, hidden["job_id"])
    assert seen["status"] == "CANCELLED"


@pytest.mark.parametrize("behind", [60, 3600, 86_400])
def test_a_machine_whose_clock_is_behind_waits_for_other_workers_jobs_too(service: JobsService, behind: int) -> None:
    """The seen job seems to be made in the future: it may have been made a moment ago."""
    clock = FakeClock()
    api = connected(service, clock)
    moment = clock.now() + timedelta(seconds=behind)
    hidden = stamped(job_id=service.new_id(), created_at=(moment - timedelta(seconds=1)).isoformat())
    seen = stamped(job_id=service.new_id(), created_at=moment.isoformat())
    service.jobs += [hidden, seen]
    service.shown = lambda one: None if one is hidden and clock.monotonic() < 3 else one
    made = create(api)
    assert (made.created, made.job.job_id) == (False, hidden["job_id"])


@pytest.mark.parametrize("old", [0, 250])
def test_a_check_that_had_to_wait_in_its_middle_shows_the_list_of_its_beginning(
    service: JobsService, clock: FakeClock, api: EmailSecurity, old: int
) -> None:
    """The look ends when the list has had its time, and began before that: another one follows."""
    service.page_size = 100
    service.add_old(old, comment=None)
    first = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:34Z")
    service.jobs.append(first)
    service.newest_first = False
    service.shown = lambda one: None if one is first and clock.monotonic() < 2 else one

    def after(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        if is_list(request) and service.calls["POST"] and clock.monotonic() < 20:
            clock.advance(25)
        return response

    answer = service._answer
    service._answer = after  # type: ignore[method-assign]
    made = create(api)
    assert (made.created, made.job.job_id) == (False, first["job_id"])


@pytest.mark.parametrize("old", [0, 250])
def test_a_check_before_the_create_that_had_to_wait_is_made_again(
    service: JobsService, clock: FakeClock, api: EmailSecurity, old: int
) -> None:
    """Another worker's job is made while this call waits for its last page; the count before took long, too."""
    service.page_size = 100
    service.add_old(old, comment=None)
    other = stamped(job_id=service.new_id(), created_at="2026-11-20T16:02:45Z")
    waits: list[str] = []

    def after(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        if is_list(request) and clock.monotonic() >= 5 and not waits:
            waits.append(str(request.url.params["page"]))
            service.jobs.append(other)
            clock.advance(60)
        return response

    answer = service._answer
    service._answer = after  # type: ignore[method-assign]

    def count(_: Stamp) -> Clearance:
        clock.advance(5)
        return Clearance()

    made = create_job_once(api, JobRequest(REQUEST, "case-42"), before_post=count)
    assert waits
    assert (made.created, made.job.job_id, service.calls["POST"]) == (False, other["job_id"], 0)


def test_an_old_job_is_reused_without_a_pause(service: JobsService, clock: FakeClock, api: EmailSecurity) -> None:
    service.jobs.append(stamped(created_at="2026-11-19T16:02:34Z"))
    assert not create(api).created
    assert clock.slept == []


# An answer that contradicts itself


@pytest.mark.parametrize("status", [400, 404, 409, 422, 302, 500])
@pytest.mark.parametrize("lagging", [False, True])
def test_a_job_in_an_answer_that_contradicts_itself_is_found(
    service: JobsService, clock: FakeClock, api: EmailSecurity, status: int, *, lagging: bool
) -> None:
    service.post = lambda _, one: httpx.Response(status, json=envelope(one))
    began = clock.now()
    if lagging:
        service.shown = lambda one: (
            one if (clock.now() - datetime.fromisoformat(one["created_at"])).seconds > 5 else None
        )
    made = create(api)
    assert (made.created, service.calls["POST"]) == (True, 1)
    assert (clock.now() - began).total_seconds() < 40
    assert not create(api).created
    assert len(service.jobs) == 1


def test_a_clean_refusal_is_still_one(service: JobsService, api: EmailSecurity) -> None:
    def refuse(_: httpx.Response, one: Row) -> httpx.Response:
        service.jobs.remove(one)
        return httpx.Response(400, json=envelope(None, success=False, errors=[{"code": 1000, "message": "no"}]))

    service.post = refuse
    with pytest.raises(Exception, match="refused") as caught:
        create(api)
    assert (caught.value.applied, service.calls["POST"]) == ("no", 1)  # type: ignore[attr-defined]
