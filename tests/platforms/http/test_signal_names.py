"""Signals to a run: their names in a path, and a run that takes none."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.platforms.http.serving import wait_for_run

ALERT = json.loads((Path(__file__).parents[3] / "examples" / "alert.json").read_text())


@pytest.mark.parametrize("name", ["approval", "job/approval", "job%2Fapproval"])
def test_the_signal_of_a_sub_playbook_has_a_path(client: httpx.Client, name: str) -> None:
    answer = client.post(f"/v1/runs/of-nobody/signals/{name}", json={"value": 1})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "RunNotFound")
    assert "GET /v1/runs" in answer.json()["error"]["help"]


@pytest.mark.parametrize("path", ["signals/approval", "cancel"])
def test_a_run_that_has_ended_takes_nothing(client: httpx.Client, path: str) -> None:
    begun = client.post(
        "/v1/playbooks/phish-campaign-purge/runs", json={"inputs": {"alert": {**ALERT, "FinalDisposition": "none"}}}
    )
    run = wait_for_run(client, begun.json()["run_id"])
    answer = client.post(f"/v1/runs/{run['run_id']}/{path}", json={"value": 1} if path != "cancel" else {})
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "RunEnded")
    assert answer.json()["detail"] == f"the run {run['run_id']} has already ended: {run['status']}"


def test_an_alert_outside_of_inputs_is_answered_with_the_right_form(client: httpx.Client) -> None:
    error = client.post("/v1/playbooks/phish-campaign-purge/runs", json={"alert": ALERT}).json()["error"]
    assert error["problems"] == [{"pointer": "/alert", "message": "unknown key"}]
    assert error["help"] == "Nothing was run. The body is a JSON object with the key `inputs`."
