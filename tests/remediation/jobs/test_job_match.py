"""A job is compared with the request by meaning, not by spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.objects.job import BulkJob, BulkJobRequest
from connectors.objects.search import SearchParams
from remediation.jobs import match as job_match
from remediation.jobs.match import ExpectedJob, differences, digest_of_job, is_visible, sent_digest
from tests.connectors.scripted import job

SENDER = "billing@invoice-portal.example"
CREATED = "2026-11-20T16:02:35Z"
TODAY = "2026-11-20T10:00:00Z"


def expected_job(
    requested: dict[str, Any] | None = None, *, destination: str | None = "JunkEmail", **sent: Any
) -> ExpectedJob:
    search = {"sender": SENDER, **(requested or {})}
    requests = [
        BulkJobRequest(
            action="MOVE" if destination else "RELEASE",
            destination=destination,
            search_params=SearchParams.model_validate(search_values),
        )
        for search_values in ({**search, **sent}, search)
    ]
    return ExpectedJob(*requests)


def found_job(search: dict[str, Any] | None = None, **changes: Any) -> BulkJob:
    changes.setdefault("search_params", {"sender": SENDER, **(search or {})})
    return BulkJob.read(job(created_at=CREATED, **changes), "job")


@pytest.mark.parametrize(
    ("requested", "search"),
    [
        ({}, {}),
        ({}, {"detections_only": True, "submissions": False, "action_log": False}),
        ({"detections_only": True}, {}),
        ({"submissions": False}, {}),
        ({}, {"subject": None, "end": None, "folder": None}),
        ({}, {"subject": ""}),
        ({}, {"sender": SENDER.upper()}),
        ({"recipient": "Dana@Corp.example"}, {"recipient": "dana@corp.example"}),
        ({"domain": "Corp.example"}, {"domain": "corp.example"}),
        ({"smtp_helo_ip": "2001:db8::0:1"}, {"smtp_helo_ip": "2001:db8::1"}),
        ({"start": "2026-11-13T15:32:35.123456Z"}, {"start": "2026-11-13T15:32:35.123Z"}),
        ({"start": "2026-11-13T15:32:35.123456Z"}, {"start": "2026-11-13T16:32:35+01:00"}),
        ({"start": "2026-11-13T15:32:35Z"}, {"start": "2026-11-13t15:32:35.000000000z"}),
        # The end was pinned when the job or its plan was made.
        ({}, {"end": CREATED}),
        ({}, {"end": "2026-11-19T16:00:00Z"}),
        ({}, {"end": "2026-11-20T16:07:00Z"}),
        ({"end": "2026-11-21T00:00:00Z"}, {"end": "2026-11-20T16:02:30Z"}),
    ],
)
def test_another_spelling_of_a_search_does_not_differ(requested: dict[str, Any], search: dict[str, Any]) -> None:
    assert differences(expected_job(requested), found_job(search)) == []


@pytest.mark.parametrize("start", ["2026-10-21T16:02:30Z", "2026-10-20T16:02:00Z", "2026-10-21T16:07:00Z"])
def test_a_pinned_start_30_days_before_the_job_or_its_plan_does_not_differ(start: str) -> None:
    now: dict[str, Any] = {"start": "2026-10-25T16:02:30Z"}
    assert differences(expected_job(**now), found_job({"start": start})) == []


@pytest.mark.parametrize(
    "start", [None, "2026-10-20T15:57:00Z", "2026-10-21T16:08:00Z", "2026-11-20T16:02:35Z", "2020-01-01T00:00:00Z"]
)
def test_any_other_start_differs(start: str | None) -> None:
    now: dict[str, Any] = {"start": "2026-10-25T16:02:30Z"}
    assert [text.partition(" is ")[0] for text in differences(expected_job(**now), found_job({"start": start}))] == [
        "start"
    ]


@pytest.mark.parametrize(
    ("requested", "search", "name"),
    [
        ({}, {"detections_only": False}, "detections_only"),
        ({"detections_only": False}, {}, "detections_only"),
        ({"detections_only": False}, {"detections_only": 0}, "detections_only"),
        ({"detections_only": False}, {"detections_only": "false"}, "detections_only"),
        ({}, {"submissions": True}, "submissions"),
        ({}, {"action_log": True}, "action_log"),
        ({}, {"sender": "x" + SENDER}, "sender"),
        ({}, {"sender": [SENDER]}, "sender"),
        ({}, {"sender": None}, "sender"),
        ({}, {"subject": "invoice"}, "subject"),
        ({"subject": "Invoice"}, {"subject": "invoice"}, "subject"),
        ({"message_id": "<A@x.example>"}, {"message_id": "<a@x.example>"}, "message_id"),
        ({}, {"folder": "Inbox"}, "folder"),
        ({}, {"folder": ""}, "folder"),
        ({}, {"folder": False}, "folder"),
        ({}, {"bad\u202ename": "x"}, '"bad\\u202ename"'),
        ({}, {"end": "2026-11-19T15:57:00Z"}, "end"),
        ({}, {"end": "2026-11-20T16:08:00Z"}, "end"),
        ({}, {"end": "soon"}, "end"),
        ({}, {"end": 5}, "end"),
        ({"end": "2026-11-19T00:00:00Z"}, {"end": "2026-11-18T00:00:00Z"}, "end"),
        ({"end": "2026-11-19T00:00:00Z"}, {"end": "2026-11-19T00:00:01Z"}, "end"),
        ({"end": "2026-11-19T00:00:00Z"}, {}, "end"),
        ({"end": "2026-11-19T00:00:00Z"}, {"end": CREATED}, "end"),
        ({"end": "2026-12-19T00:00:00Z"}, {"end": "2026-11-18T00:00:00Z"}, "end"),
        ({"start": "2026-11-13T15:32:35Z"}, {}, "start"),
        ({"start": "2026-11-13T15:32:35Z"}, {"start": "2026-11-13T15:32:36Z"}, "start"),
        ({"start": "2026-11-13T15:32:35Z"}, {"start": "2026-11-13T15:32:35+01:00"}, "start"),
        ({"start": TODAY}, {"start": TODAY, "end": TODAY}, "the window"),
        ({"start": TODAY}, {"start": TODAY, "end": "2026-11-20T09:00:00Z"}, "the window"),
    ],
)  # fmt: skip
def test_another_search_differs(requested: dict[str, Any], search: dict[str, Any], name: str) -> None:
    texts = differences(expected_job(requested), found_job(search))
    assert [text.partition(" is ")[0] for text in texts] == [name]
    assert all(len(text) < 400 and text.isprintable() for text in texts)


@pytest.mark.parametrize(
    ("destination", "changes", "name"),
    [
        ("JunkEmail", {"action_params": {"type": "MOVE", "destination": "Inbox"}}, "destination"),
        ("JunkEmail", {"action_params": {"type": "MOVE", "destination": "Archive"}}, "destination"),
        ("JunkEmail", {"action_type": "RELEASE", "action_params": {"type": "RELEASE"}}, "action"),
        ("JunkEmail", {"action_type": "RELEASE"}, "action"),
        ("JunkEmail", {"action_type": "PURGE", "action_params": None}, "action"),
        (None, {"action_type": "RELEASE", "action_params": {"destination": "Inbox"}}, "destination"),
    ],
)
def test_another_action_or_folder_differs(destination: str | None, changes: dict[str, Any], name: str) -> None:
    texts = differences(expected_job(destination=destination), found_job(**changes))
    assert name in [text.partition(" is ")[0] for text in texts]


@pytest.mark.parametrize(
    "changes",
    [
        {"search_params": None},
        {"action_params": None},
        {"action_type": None, "action_params": {"destination": "Inbox"}},
    ],
)
def test_a_job_that_lacks_a_part_is_not_visible(changes: dict[str, Any]) -> None:
    assert not is_visible(found_job(**changes))
    assert digest_of_job(found_job(**changes)) is None


def test_a_pinned_window_differs_if_the_job_has_no_creation_time() -> None:
    undated_job = BulkJob.read(job(created_at=None, search_params={"sender": SENDER, "end": CREATED}), "job")
    assert "created_at" in differences(expected_job(), undated_job)[0]


def test_the_digest_of_a_sent_request_equals_that_of_its_job() -> None:
    sent = expected_job({"sender": SENDER.upper(), "start": "2026-11-13T15:32:35.5Z", "end": CREATED}).request
    same = found_job({"start": "2026-11-13T16:32:35+01:00", "end": CREATED, "detections_only": True})
    assert digest_of_job(same) == sent_digest(sent)
    for other in (found_job({"start": "2026-11-13T15:32:36Z", "end": CREATED}), found_job({"end": CREATED})):
        assert digest_of_job(other) != sent_digest(sent)


def test_an_end_within_the_plans_lifetime_matches_and_no_other() -> None:
    created = datetime(2026, 11, 20, 16, 2, 35, tzinfo=UTC)
    for hours in range(-30, 10):
        end = created + timedelta(hours=hours)
        differs = differences(expected_job(), found_job({"end": end.isoformat()})) != []
        assert differs is not (-24 <= hours <= 0)


@pytest.mark.parametrize(
    ("window", "differs"),
    [
        ({"start": TODAY, "end": CREATED}, []),
        ({"start": "2026-11-20T11:00:00+01:00", "end": "2026-11-20T16:02:35.000Z"}, []),
        ({"start": TODAY, "end": "2026-11-20T16:02:34Z"}, ["end"]),
        ({"start": TODAY, "end": "2026-11-20T16:02:36Z"}, ["end"]),
        ({"start": TODAY}, ["end"]),
        ({"end": CREATED}, ["start"]),
        ({}, ["start", "end"]),
    ],
)
def test_the_job_of_a_plan_has_the_plans_own_window(window: dict[str, Any], differs: list[str]) -> None:
    exact_job = ExpectedJob(expected_job({"start": TODAY, "end": CREATED}).request)
    assert [text.partition(" is ")[0] for text in differences(exact_job, found_job(window))] == differs
    assert job_match.missed_search(exact_job, found_job(window)) is None
