"""Each action is run against recorded traffic. A call that was not recorded fails the test."""

from __future__ import annotations

import re
from typing import Any

import pytest

from actions.contract import catalog
from connectors.connection import Connection
from sandbox import access
from tests.cassettes.scenes import ACCOUNT, FOLDER, SCENES, cassette, play_scene
from tests.clock import FakeClock

CASSETTES = sorted(FOLDER.glob("*.yaml"))


def replay(name: str, scene: Any = None) -> dict[str, Any]:
    connection = Connection.checked({"account_id": ACCOUNT, "api_token": "of-no-account"})
    with cassette(name, "none") as tape:
        result = play_scene(scene or SCENES[name], connection, FakeClock())
        assert tape.all_played, "the cassette holds calls that are no longer made: record it again"
    return result


def test_every_action_that_calls_the_api_has_a_cassette() -> None:
    calling = {action.id for action in catalog.available().values() if action.connection}
    missing, removed = sorted(calling - set(SCENES)), sorted(set(SCENES) - calling)
    assert not missing, f"add a scene to tests/cassettes/scenes.py, then make record ARGS='{' '.join(missing)}'"
    assert not removed, f"no action has these scenes of tests/cassettes/scenes.py: {removed}"


@pytest.mark.parametrize("name", SCENES)
def test_an_action_makes_the_recorded_calls_and_reads_the_responses(name: str) -> None:
    result = replay(name)
    catalog.find(name).result.model_validate(result)


def test_results_agree_with_the_recorded_responses() -> None:
    assert replay("create-move-job")["created"]
    wait_result = replay("wait-for-job")
    assert (wait_result["done"], wait_result["progress"]["percent"]) == (True, 100)
    export_result = replay("export-job-messages")
    assert (export_result["complete"], export_result["written"]) == (True, export_result["expected"])
    assert len(export_result["messages"]) == export_result["written"] > 0
    assert replay("delete-job")["deleted"]
    assert replay("preview-job")["messages"] > 0
    assert replay("move-messages")["messages"] == 2
    assert replay("release-messages")["messages"] == 2
    assert replay("retry-failed-messages")["failed_rows"] > 0
    assert replay("restore-messages")["succeeded"] > 0
    assert replay("test-connection")["ok"]


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: str(path.stem))
def test_a_cassette_holds_no_secret_and_no_address_of_the_recording_machine(path: Any) -> None:
    text = path.read_text()
    for secret in (access.FULL_ACCESS, access.READ_ONLY, access.REVOKED, access.EMAIL_KEY):
        assert secret not in text
    assert not re.search(r"authorization|x-auth-|bearer|127\.0\.0\.1|localhost", text, re.IGNORECASE)


def test_the_examples_of_the_api_reference_are_read() -> None:
    job_id = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"

    def scene(call: Any) -> dict[str, Any]:
        job_result = call("get-job", {"job_id": job_id})
        assert (job_result["ended"], "messages_skipped" in job_result["job"]) == (True, False)
        assert call("list-jobs", {})["count"] == 1
        assert call("wait-for-job", {"job_id": job_id})["outcome"] == "succeeded"
        export_result = call("export-job-messages", {"job_id": job_id})
        assert (export_result["complete"], export_result["written"]) == (True, 1)
        delete_result: dict[str, Any] = call("delete-job", {"job_id": job_id})
        return delete_result

    assert replay("reference-examples", scene)["deleted"]
