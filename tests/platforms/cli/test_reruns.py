"""A second start of a run, and a second create, report what was done before and what is left."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.slow import some_of

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
PURGE = ("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT), "--yes", "--set", "search_by=sender")
MOVE = ("create-move-job", "--sender", str(CAMPAIGN["sender"]), "--start", str(CAMPAIGN["start"]),
    "--no-detections-only", "--destination", "JunkEmail", "--idempotency-key", "case-42", "--max-messages", "1000",
    "--yes")  # fmt: skip


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def add_late_copy(sandbox: RunningSandbox) -> None:
    delivered(sandbox, "dana@corp.example", sender=Sender(str(CAMPAIGN["sender"])), disposition="MALICIOUS")


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in COLOR_CODES.sub("", text).splitlines() if line.strip()]


def table(ended: CommandResult) -> dict[str, str]:
    return {line.split()[0]: line.partition(" ")[2] for line in lines(ended.out)}


@pytest.mark.parametrize("late", some_of([False, True], 1))
def test_a_second_start_reports_the_run_and_what_is_left(late: bool, connected: Cfes, sandbox: RunningSandbox) -> None:
    first = connected(*PURGE, terminal=True)
    assert first.code == 0, first.err
    moved = table(first)["moved"]
    assert int(moved) > 0
    assert not {"rerun", "still_delivered", "earlier_job"} & set(table(first))
    if late:
        add_late_copy(sandbox)
    calls = len(sandbox.state.truth()["effects"])
    again = connected(*PURGE, terminal=True)
    assert again.code == (8 if late else 0)
    # The run's own results are shown again, with what its job has left now.
    shown = table(again)
    assert (shown["moved"], shown["still_delivered"]) == (moved, "1" if late else "0")
    screen = " ".join(lines(again.err))
    assert "This run has already ended, so nothing was run" in screen
    assert screen.count("This call moved nothing") == 1
    assert ("1 message of its search is still delivered." in screen) is late
    assert "--set attempt=2" in screen
    assert len(sandbox.state.truth()["effects"]) == calls
    document = connected(*PURGE, "--output", "json").document
    assert (document["status"], document["outputs"]["still_delivered"]) == ("completed", 1 if late else 0)


def test_a_create_without_a_new_job_reports_it_first(connected: Cfes, sandbox: RunningSandbox) -> None:
    made = connected(*MOVE, terminal=True)
    assert "moved nothing" not in made.out
    job = connected(*MOVE, "--output", "json").document["job_id"]
    connected("wait-for-job", "--job-id", job)
    add_late_copy(sandbox)
    again = connected(*MOVE, terminal=True)
    assert again.code == 0
    text = " ".join(lines(again.out))
    assert text.startswith(f"This call moved nothing: job {job} was made at ")
    assert "1 message of its search is still delivered." in text.partition("job_id")[0]
    assert connected(*MOVE, "--exit-status").code == 8
