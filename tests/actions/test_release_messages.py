"""release-messages releases named messages; malicious or unknown ones stay in quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import release_messages
from connectors.email_security import EmailSecurity
from core.errors import MaliciousRelease, OutcomeUnknown, ParameterError
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered, sent

ROW_ID = "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3"
A, B = "a@corp.example", "b@corp.example"


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(messages=60, **SMOOTH)


def quarantined(sandbox: RunningSandbox, *recipients: str, **fields: Any) -> str:
    return delivered(sandbox, *(recipients or (A,)), **{"status": "quarantined", "disposition": "SPAM", **fields})


def release(api: EmailSecurity, **params: Any) -> dict[str, Any]:
    return release_messages.run(params, api)


def write_export(path: Path, *messages: dict[str, Any]) -> str:
    rows = [{"message_id": ROW_ID, "status": "FAILED", "action_type": "RELEASE", "message": one} for one in messages]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_held_message_is_released_for_every_recipient(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = quarantined(sandbox, A, B)
    result = release(api, ids=[one])
    assert (result["action"], result["destination"], result["succeeded"], result["done"]) == ("RELEASE", None, 1, True)
    assert sorted((row["id"], row["recipient"], row["status"]) for row in result["results"]) == [
        (one, A, "delivered"), (one, B, "delivered"),
    ]  # fmt: skip
    assert {change["recipient"] for change in sandbox.state.truth()["released"]} == {A, B}


def test_a_repeat_sends_nothing(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = quarantined(sandbox)
    release(api, ids=[one])
    result = release(api, ids=[one])
    assert (result["already"], result["succeeded"], result["done"]) == (1, 0, True)
    assert sent(sandbox) == [[one]]


def test_a_message_that_was_not_held_fails(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = delivered(sandbox, A, disposition="SPAM")
    result = release(api, ids=[one])
    assert (result["failed"], result["results"][0]["status"]) == (1, "failed")


@pytest.mark.parametrize("verdict", ["MALICIOUS", "MALICIOUS-BEC"])
def test_one_malicious_message_refuses_the_whole_call(
    sandbox: RunningSandbox, api: EmailSecurity, verdict: str
) -> None:
    ids = [quarantined(sandbox), quarantined(sandbox, B, number=300, disposition=verdict)]
    with pytest.raises(MaliciousRelease, match=ids[1]) as caught:
        release(api, ids=ids)
    assert caught.value.exit_code == 3
    assert sandbox.state.truth()["effects"] == []
    assert release(api, ids=ids, allow_malicious=True)["succeeded"] == 2


def test_an_unknown_verdict_counts_as_malicious(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = quarantined(sandbox)
    for unknown in ("no-time-in-it", "4AAAAAAAAAAAAAA-2026-11-20T15:00:00-00999999"):
        with pytest.raises(MaliciousRelease, match="no known verdict, which counts as malicious"):
            release(api, ids=[one, unknown])
    for operation in ("searchMessages", "getMessage"):
        sandbox.state.faults.add(operation, "rewrite", set={"final_disposition": None}, times=None)
    with pytest.raises(MaliciousRelease, match="no known verdict"):
        release(api, ids=[one])
    assert sandbox.state.truth()["effects"] == []


@pytest.mark.parametrize("skip_done", [False, None])
def test_the_verdict_in_an_export_file_is_ignored_for_any_skip_done(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path, skip_done: bool | None
) -> None:
    one = quarantined(sandbox, disposition="MALICIOUS")
    with pytest.raises(MaliciousRelease):
        release(api, export=write_export(tmp_path / "a", {"id": one, "final_disposition": "SPAM"}), skip_done=skip_done)
    assert sandbox.state.truth()["effects"] == []


def test_the_verdict_of_the_service_overrides_that_of_an_export(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    one = quarantined(sandbox, disposition="MALICIOUS")
    with pytest.raises(MaliciousRelease):
        release(api, export=write_export(tmp_path / "a", {"id": one, "final_disposition": "SPAM"}))
    assert sandbox.state.truth()["effects"] == []


@pytest.mark.parametrize("fault", [
    {"kind": "drop_after"}, {"kind": "truncate"}, {"kind": "cut_json"}, {"kind": "html", "applied": True},
    {"kind": "success_false", "applied": True},
])  # fmt: skip
def test_a_lost_answer_is_checked_and_nothing_is_sent_twice(
    sandbox: RunningSandbox, api: EmailSecurity, fault: dict[str, Any]
) -> None:
    ids = [quarantined(sandbox), quarantined(sandbox, B, number=400)]
    sandbox.state.faults.add("releaseMessages", **fault)
    assert release(api, ids=ids)["succeeded"] == 2
    assert sent(sandbox) == [ids]


def test_a_release_without_effect_is_sent_again(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = quarantined(sandbox)
    sandbox.state.faults.add("releaseMessages", "drop_before")
    assert release(api, ids=[one])["succeeded"] == 1


def test_an_unknown_outcome_of_a_release_is_reported(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    one = quarantined(sandbox)
    sandbox.state.faults.add("releaseMessages", "drop_after")
    for operation in ("searchMessages", "getMessage"):
        sandbox.state.faults.add(operation, "rewrite", remove=["post_delivery_operations"], times=None)
    sandbox.state.faults.add("listMessageActions", "empty_page", times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        release(api, ids=[one])
    assert caught.value.resume == {"ids": [one]}


def test_a_dry_run_releases_nothing(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    result = release(api, ids=[quarantined(sandbox)], dry_run=True)
    assert (result["not_sent"], result["done"], result["results"]) == (1, False, [])
    assert sandbox.state.truth()["effects"] == []


def test_a_release_has_no_destination(api: EmailSecurity) -> None:
    with pytest.raises(ParameterError, match="/destination"):
        release(api, ids=["x-1"], destination="Inbox")
