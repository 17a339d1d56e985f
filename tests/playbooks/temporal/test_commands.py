"""The commands for runs on a Temporal server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.playbooks.temporal.servers import ROOT, Fleet
from tests.playbooks.temporal.test_runs import FakeActions, outcome

LOOK = """\
playbook: 1
id: look
title: Look at the jobs
key: "{{ inputs.alert.AlertID }}"
inputs: {alert: {type: object, primary: true, description: The alert.}}
steps: [{id: jobs, action: list-jobs}]
outputs: {jobs: "{{ steps.jobs.jobs }}"}
"""


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_a_start_ends_safely_and_starts_one_run_for_a_key(times: int, fleet: Fleet, tmp_path: Path) -> None:
    playbook, alert = tmp_path / "look.yaml", tmp_path / "alert.json"
    playbook.write_text(LOOK)
    # The client library warns about inputs of this size.
    alert.write_text(json.dumps({"AlertID": fleet.settings.task_queue, "Body": "x" * 600_000}))
    environment = {
        **os.environ,
        "CFES_TEMPORAL_ADDRESS": fleet.settings.address,
        "CFES_TEMPORAL_TASK_QUEUE": fleet.settings.task_queue,
    }
    command = [sys.executable, "-m", "platforms.cli", "playbook", "start", str(playbook), "--input", str(alert)]
    ended = [
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for _ in range(times)
    ]
    assert [each.returncode for each in ended] == [0] * times
    assert all("The run look" in each.stderr for each in ended)
    documents = [json.loads(each.stdout) for each in ended]
    assert [each["started"] for each in documents] == [True, *[False] * (times - 1)]
    [run_id] = {each["run_id"] for each in documents}
    with fleet.worker(FakeActions(**{"list-jobs": {"jobs": [], "truncated": {}}}), is_sandboxed=False):
        assert outcome(fleet, run_id)["outputs"] == {"jobs": []}
