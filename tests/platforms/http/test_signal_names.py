"""The names of signals in a path."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize("name", ["approval", "job/approval", "job%2Fapproval"])
def test_the_signal_of_a_sub_playbook_has_a_path(client: httpx.Client, name: str) -> None:
    answer = client.post(f"/v1/runs/of-nobody/signals/{name}", json={"value": 1})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "RunNotFound")
