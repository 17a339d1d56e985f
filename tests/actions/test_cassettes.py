"""Each action against recorded traffic; a call that is not on the tape fails the test."""

from __future__ import annotations

import re
from typing import Any

import pytest

from actions.contract import catalog
from connectors.connection import Connection
from sandbox import access
from tests.cassettes.scenes import ACCOUNT, FOLDER, SCENES, cassette, played
from tests.clock import FakeClock

CASSETTES = sorted(FOLDER.glob("*.yaml"))


def replayed(name: str, scene: Any = None) -> dict[str, Any]:
    connection = Connection.checked({"account_id": ACCOUNT, "api_token": "of-no-account"})
    with cassette(name, "none") as tape:
        result = played(scene or SCENES[name], connection, FakeClock())
        assert tape.all_played, "the tape holds calls that are no longer made: record it anew"
    return result


def test_every_action_that_calls_the_api_has_a_cassette() -> None:
    assert set(SCENES) == {action.id for action in catalog.available().values() if action.connection}


@pytest.mark.parametrize("name", SCENES)
def test_an_action_makes_the_recorded_calls_and_reads_the_recorded_answers(name: str) -> None:
    result = replayed(name)
    catalog.find(name).result.model_validate(result)


def test_what_the_recorded_answers_say_is_what_the_results_say() -> None:
    assert replayed("create-move-job")["created"]
    waited = replayed("wait-for-job")
    assert (waited["done"], waited["progress"]["percent"]) == (True, 100)
    exported = replayed("export-job-messages")
    assert (exported["complete"], exported["written"]) == (True, exported["expected"])
    assert len(exported["messages"]) == exported["written"] > 0
    assert replayed("delete-job")["deleted"]
    assert replayed("preview-job")["messages"] > 0
    assert replayed("move-messages")["messages"] == 2
    assert replayed("release-messages")["messages"] == 2
    assert replayed("retry-failed-messages")["failed_rows"] > 0
    assert replayed("restore-messages")["succeeded"] > 0
    assert replayed("test-connection")["ok"]


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: str(path.stem))
def test_a_cassette_holds_no_secret_and_no_address_of_the_recording_machine(path: Any) -> None:
    text = path.read_text()
    for secret in (access.FULL_ACCESS, access.READ_ONLY, access.REVOKED, access.EMAIL_KEY):
        assert secret not in text
    assert not re.search(r"authorization|x-auth-|bearer|127\.0\.0\.1|localhost", text, re.IGNORECASE)


def test_the_references_own_examples_are_read() -> None:
    job_id = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"

    def scene(call: Any) -> dict[str, Any]:
        got = call("get-job", {"job_id": job_id})
        assert (got["ended"], "messages_skipped" in got["job"]) == (True, False)
        assert call("list-jobs", {})["count"] == 1
        assert call("wait-for-job", {"job_id": job_id})["outcome"] == "succeeded"
        exported = call("export-job-messages", {"job_id": job_id})
        assert (exported["complete"], exported["written"]) == (True, 1)
        deleted: dict[str, Any] = call("delete-job", {"job_id": job_id})
        return deleted

    assert replayed("reference-examples", scene)["deleted"]
