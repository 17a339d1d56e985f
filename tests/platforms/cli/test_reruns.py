"""A rerun on a terminal first reports that nothing was moved, and shows the numbers of the old job separately."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sandbox.message import Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes, CommandResult

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


@pytest.mark.parametrize("late", [False, True])
def test_a_run_that_moved_nothing_reports_it_first(late: bool, connected: Cfes, sandbox: RunningSandbox) -> None:
    first = connected(*PURGE, terminal=True)
    assert first.code == 0, first.err
    moved = table(first)["moved"]
    assert int(moved) > 0
    assert not {"rerun", "still_delivered", "earlier_job"} & set(table(first))
    if late:
        add_late_copy(sandbox)
    again = connected(*PURGE, terminal=True)
    assert again.code == (8 if late else 0)
    shown = table(again)
    assert (shown["moved"], shown["still_delivered"]) == ("0", "1" if late else "0")
    assert shown["outcome"] == "nothing_new"
    # The numbers of the old job are shown under its own name.
    assert moved not in [value for name, value in shown.items() if not name.startswith("earlier_job")]
    screen = " ".join(lines(again.err))
    assert re.search(r"! Create the job existing job \S+ reused \(COMPLETED, created ", screen)
    # The message appears after the last step, and not again in the error or in the last step.
    assert screen.count("This call moved nothing") == 1
    assert ("--set attempt=2" in screen) is late
    assert ("changed nothing" in screen) is late


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
