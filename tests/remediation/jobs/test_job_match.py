"""What a job does is compared with what is wanted: by what it means, and not by how it is spelled."""

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


def wanted(asked: dict[str, Any] | None = None, *, destination: str | None = "JunkEmail", **sent: Any) -> ExpectedJob:
    search = {"sender": SENDER, **(asked or {})}
    requests = [
        BulkJobRequest(
            action="MOVE" if destination else "RELEASE",
            destination=destination,
            search_params=SearchParams.model_validate(given),
        )
        for given in ({**search, **sent}, search)
    ]
    return ExpectedJob(*requests)


def found(search: dict[str, Any] | None = None, **changes: Any) -> BulkJob:
    changes.setdefault("search_params", {"sender": SENDER, **(search or {})})
    return BulkJob.read(job(created_at=CREATED, **changes), "job")


@pytest.mark.parametrize(
    ("asked", "search"),
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
        # The end was pinned when the job was made, or when its plan was.
        ({}, {"end": CREATED}),
        ({}, {"end": "2026-11-19T16:00:00Z"}),
        ({}, {"end": "2026-11-20T16:07:00Z"}),
        ({"end": "2026-11-21T00:00:00Z"}, {"end": "2026-11-20T16:02:30Z"}),
    ],
)
def test_the_same_job_in_another_spelling(asked: dict[str, Any], search: dict[str, Any]) -> None:
    assert differences(wanted(asked), found(search)) == []


@pytest.mark.parametrize("start", ["2026-10-21T16:02:30Z", "2026-10-20T16:02:00Z", "2026-10-21T16:07:00Z"])
def test_a_start_that_was_pinned_lies_thirty_days_before_the_job_or_its_plan(start: str) -> None:
    now: dict[str, Any] = {"start": "2026-10-25T16:02:30Z"}
    assert differences(wanted(**now), found({"start": start})) == []


@pytest.mark.parametrize(
    "start", [None, "2026-10-20T15:57:00Z", "2026-10-21T16:08:00Z", "2026-11-20T16:02:35Z", "2020-01-01T00:00:00Z"]
)
def test_a_start_that_nobody_would_have_pinned_differs(start: str | None) -> None:
    now: dict[str, Any] = {"start": "2026-10-25T16:02:30Z"}
    assert [text.partition(" is ")[0] for text in differences(wanted(**now), found({"start": start}))] == ["start"]


@pytest.mark.parametrize(
    ("asked", "search", "name"),
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
def test_another_search_differs(asked: dict[str, Any], search: dict[str, Any], name: str) -> None:
    texts = differences(wanted(asked), found(search))
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
    texts = differences(wanted(destination=destination), found(**changes))
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
    assert not is_visible(found(**changes))
    assert digest_of_job(found(**changes)) is None


def test_without_a_time_of_creation_a_pinned_window_can_not_be_judged() -> None:
    of_no_time = BulkJob.read(job(created_at=None, search_params={"sender": SENDER, "end": CREATED}), "job")
    assert "created_at" in differences(wanted(), of_no_time)[0]


def test_the_digest_of_a_sent_request_equals_that_of_its_job() -> None:
    sent = wanted({"sender": SENDER.upper(), "start": "2026-11-13T15:32:35.5Z", "end": CREATED}).request
    same = found({"start": "2026-11-13T16:32:35+01:00", "end": CREATED, "detections_only": True})
    assert digest_of_job(same) == sent_digest(sent)
    for other in (found({"start": "2026-11-13T15:32:36Z", "end": CREATED}), found({"end": CREATED})):
        assert digest_of_job(other) != sent_digest(sent)


def test_every_instant_of_a_plans_life_is_taken_and_none_beyond() -> None:
    created = datetime(2026, 11, 20, 16, 2, 35, tzinfo=UTC)
    for hours in range(-30, 10):
        end = created + timedelta(hours=hours)
        differs = differences(wanted(), found({"end": end.isoformat()})) != []
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
    exactly = ExpectedJob(wanted({"start": TODAY, "end": CREATED}).request)
    assert [text.partition(" is ")[0] for text in differences(exactly, found(window))] == differs
    assert job_match.missed_search(exactly, found(window)) is None
