"""wait-for-job follows a job that was cancelled as a duplicate to the job that was kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from actions import wait_for_job
from connectors.http.client import httpx
from remediation.stamp import Stamp, StampKey
from tests.clock import FakeClock
from tests.connectors.scripted import ACCOUNT, connected, job
from tests.remediation.jobs.jobs_service import JobsService, Row

PLAN_KEY = "plan-key-that-must-never-show-0123456789"
DONE: dict[str, Any] = {"status": "COMPLETED", "total_messages_discovered": 5, "messages_successful": 5}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2026-11-20T18:00:00+00:00")


@pytest.fixture
def service(clock: FakeClock) -> JobsService:
    return JobsService(clock)


def stamped(service: JobsService, **changes: Any) -> Row:
    key = changes.pop("key", "case-42")
    one = job(job_id=service.new_id(), comment=Stamp.of(ACCOUNT, key, {"action": "MOVE"}).on("case 42"), **changes)
    service.jobs.append(one)
    return one


@pytest.mark.parametrize("kept_fields", [DONE, {"status": "FAILED"}])
def test_a_cancelled_duplicate_is_followed_to_the_kept_job_with_a_warning(
    service: JobsService, clock: FakeClock, kept_fields: Row
) -> None:
    kept, duplicate = stamped(service, **kept_fields), stamped(service, status="CANCELLED")
    result = wait_for_job.run({"job_id": duplicate["job_id"].upper()}, connected(service, clock))
    assert (result["job_id"], result["status"], result["done"]) == (kept["job_id"], kept["status"], True)
    assert any(duplicate["job_id"] in warning and kept["job_id"] in warning for warning in result["warnings"])


def test_a_resumed_wait_continues_with_the_kept_job(service: JobsService, clock: FakeClock) -> None:
    kept, duplicate = stamped(service, status="PROCESSING"), stamped(service, status="CANCELLED")
    api = connected(service, clock)
    first = wait_for_job.run({"job_id": duplicate["job_id"], "timeout_seconds": 0}, api)
    assert (first["job_id"], first["done"]) == (kept["job_id"], False)
    kept.update(DONE)
    for named in (duplicate, kept):
        again = wait_for_job.run({"job_id": named["job_id"], "resume": first["resume"]}, api)
        assert (again["job_id"], again["outcome"]) == (kept["job_id"], "succeeded")
        assert any(duplicate["job_id"] in warning for warning in again["warnings"])


def test_the_discovery_limit_applies_to_the_followed_job(service: JobsService, clock: FakeClock) -> None:
    kept = stamped(service, status="PROCESSING", total_messages_discovered=90, messages_pending=90)
    duplicate = stamped(service, status="CANCELLED")
    result = wait_for_job.run(
        {"job_id": duplicate["job_id"], "cancel_if_discovered_over": 50}, connected(service, clock)
    )
    assert (result["job_id"], result["discovery_limit"]["tripped"], kept["status"]) == (
        kept["job_id"],
        True,
        "CANCELLED",
    )


OTHERS: dict[str, Row] = {
    "another key": {"key": "case-43"},
    "also cancelled": {"status": "CANCELLED"},
    "another folder": {"action_params": {"type": "MOVE", "destination": "Inbox"}},
    "another search": {"search_params": {"sender": "other@phish.example"}},
    "a wider search": {"search_params": {}},
    "another action": {"action_type": "RELEASE", "action_params": {"type": "RELEASE"}},
    "a window": {"search_params": {"sender": "a@phish.example", "start": "2026-11-01T00:00:00Z"}},
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_job_for_another_request_is_not_followed(service: JobsService, clock: FakeClock, other: str) -> None:
    stamped(service, **{**DONE, **OTHERS[other]})
    duplicate = stamped(service, status="CANCELLED")
    result = wait_for_job.run({"job_id": duplicate["job_id"]}, connected(service, clock))
    assert (result["job_id"], result["status"]) == (duplicate["job_id"], "CANCELLED")


def test_with_a_plan_key_only_an_authentic_stamp_is_followed(service: JobsService, clock: FakeClock) -> None:
    duplicate = stamped(service, status="CANCELLED")
    stamped(service, **DONE)
    api = connected(service, clock, plan_key=PLAN_KEY)
    assert wait_for_job.run({"job_id": duplicate["job_id"]}, api)["job_id"] == duplicate["job_id"]
    key = StampKey.of(api.connection.plan_key)
    copied = Stamp.of(ACCOUNT, "case-42", {"action": "MOVE"}, stamp_key=key).sealed(ACCOUNT, key)
    for one in service.jobs:
        one["comment"] = copied.on("case 42")
    assert wait_for_job.run({"job_id": duplicate["job_id"]}, api)["job_id"] == duplicate["job_id"]


def test_a_job_cancelled_by_the_discovery_limit_is_not_replaced_by_another(
    service: JobsService, clock: FakeClock
) -> None:
    stamped(service, **DONE)
    over = stamped(service, status="PROCESSING", total_messages_discovered=90, messages_pending=90)
    result = wait_for_job.run({"job_id": over["job_id"], "cancel_if_discovered_over": 50}, connected(service, clock))
    assert (result["job_id"], result["discovery_limit"]["cancelled"]) == (over["job_id"], True)


def test_a_kept_job_that_is_listed_late_is_followed(service: JobsService, clock: FakeClock) -> None:
    kept = stamped(service, **{**DONE, "created_at": "2026-11-20T17:59:59Z"})
    duplicate = stamped(service, status="CANCELLED", created_at="2026-11-20T18:00:00Z")
    service.show_in_list = lambda one: None if one is kept and clock.monotonic() < 6 else one
    assert wait_for_job.run({"job_id": duplicate["job_id"]}, connected(service, clock))["job_id"] == kept["job_id"]


def test_an_unreadable_job_list_is_a_warning(service: JobsService, clock: FakeClock) -> None:
    duplicate = stamped(service, status="CANCELLED")
    service.jobs.append({**job(), "job_id": "no uuid", "comment": duplicate["comment"]})
    result = wait_for_job.run({"job_id": duplicate["job_id"]}, connected(service, clock))
    assert result["status"] == "CANCELLED"
    assert any("could not check whether another job replaces" in warning for warning in result["warnings"])


@pytest.mark.parametrize("clock_change", [timedelta(hours=9), timedelta(hours=-9)])
def test_setting_the_wall_clock_during_a_wait_does_not_change_the_polling(
    service: JobsService, clock: FakeClock, clock_change: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, now, began = stamped(service, status="PROCESSING"), clock.now, clock.monotonic()

    def before(_: httpx.Request, number: int) -> None:
        if number == 3:
            monkeypatch.setattr(clock, "now", lambda: now() + clock_change)
        if clock.monotonic() - began > 30:
            one.update(DONE)

    service.before_request = before
    result = wait_for_job.run({"job_id": one["job_id"], "timeout_seconds": 900}, connected(service, clock))
    assert result["done"]
    assert clock.monotonic() - began < 60
