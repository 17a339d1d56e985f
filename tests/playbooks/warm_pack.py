"""Runs a playbook, to load the pack and fill its caches. Only the process from which runs are forked imports this."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.clock import iso
from sandbox.server import start
from sandbox.settings import Settings
from tests.conftest import EXAMPLE_ALERT
from tests.playbooks.killed_runs import Started, run

# The threads of the sandbox end with the block: a process with threads must not be forked.
with (
    TemporaryDirectory() as folder,
    start(Settings(messages=1, alert=EXAMPLE_ALERT, campaign_size=2, manual_clock=True)) as sandbox,
):
    run(
        Started(
            "phish-campaign-purge",
            {"alert": json.loads(EXAMPLE_ALERT.read_text())},
            {
                "account_id": sandbox.account_id,
                "api_token": sandbox.token,
                "base_url": sandbox.base_url,
                "state_directory": str(Path(folder) / "state"),
            },
            f"{sandbox.control_url}/clock",
            iso(sandbox.clock.now()),
            Path(folder),
        )
    )
