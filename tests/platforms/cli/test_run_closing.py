"""The closing lines of a run: the moved messages, the report and the next commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from actions.contract import catalog
from platforms.cli import step_approval as approval
from platforms.cli.commands import demo
from platforms.cli.views.result import show_result
from platforms.cli.views.run_end import seconds_of, show_closing
from platforms.cli.views.screen import Screen
from playbooks.drivers.outcome import Outcome
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
RUN = ("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT), "--directory", "case")


def outcome(*steps: tuple[str, str, str], **changes: Any) -> Outcome:
    records: dict[str, Any] = {name: {"started": began, "ended": ended} for name, began, ended in steps}
    ended = Outcome(
        playbook="p",
        run_id="r",
        key=None,
        waits_for=None,
        directory="/d",
        status="completed",
        exit_code=0,
        outputs={},
        message=None,
        error=None,
        resumable=False,
        started_at="2026-11-20T16:00:00Z",
        steps=records,
    )
    return replace(ended, **changes)


def test_the_closing_lines_of_a_partial_run_have_counts_and_commands(connected: Cfes, sandbox: RunningSandbox) -> None:
    ended = connected(*RUN, "--yes", terminal=True)
    screen = COLOR_CODES.sub("", ended.err)
    found = re.search(r"(\d+) of (\d+) moved((?:, \d+ \w+)*)\n", screen)
    assert found is not None, screen
    moved, discovered = int(found[1]), int(found[2])
    others = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", found[3])}
    assert moved + sum(others.values()) == discovered
    after = screen[found.end() :]
    assert "report: cfes verify case/evidence.zip --report report.html" in after
    assert ("retry-failed-messages --job-id" in after) == ("failed" in others)
    assert "undo (dry run): cfes restore-messages --export case/evidence.zip" in after


@pytest.mark.parametrize(
    ("outputs", "commands"),
    [
        (
            {"moved": 3, "failed": 2, "files": [{"path": "/d/messages.ndjson", "format": "ndjson"}]},
            [
                "  retry (dry run): cfes retry-failed-messages --job-id job-1 --dry-run",
                "  undo (dry run): cfes restore-messages --export /d/messages.ndjson",
            ],
        ),
        # The export failed, so the rows must be exported first.
        (
            {"moved": 3, "cancelled": 2, "files": None},
            [
                "  export rows: cfes export-job-messages --job-id job-1 --destination messages.ndjson",
                "  undo (dry run): cfes restore-messages --export messages.ndjson",
            ],
        ),
        ({"moved": 0, "failed": 5}, ["  retry (dry run): cfes retry-failed-messages --job-id job-1 --dry-run"]),
        ({"released": 3, "failed": 2}, ["  retry (dry run): cfes retry-failed-messages --job-id job-1 --dry-run"]),
    ],
)
def test_an_incomplete_run_ends_with_the_next_commands(
    capsys: pytest.CaptureFixture[str], outputs: dict[str, Any], commands: list[str]
) -> None:
    error: dict[str, Any] = {"type": "RunIncomplete", "message": "not all", "help": "", "applied": "yes"}
    ended = outcome(
        status="incomplete", exit_code=8, error=error, outputs={"job_id": "job-1", "discovered": 5, **outputs}
    )
    show_closing(Screen("table"), ended, 1.0)
    assert [line for line in capsys.readouterr().err.splitlines() if ": cfes " in line] == commands


def test_the_closing_lines_of_a_demo_name_no_retry_or_restore(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "sandbox", lambda *_: nullcontext(None))
    screen = COLOR_CODES.sub(
        "", connected("demo", "--alert", str(EXAMPLE_ALERT), "--directory", "case", terminal=True).err
    )
    assert "report: cfes verify case/evidence.zip --report report.html" in screen
    assert "The sandbox ended with the run." in screen
    assert not re.search(r"cfes (?:retry|restore)", screen)


def test_the_time_at_a_question_is_not_counted(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two clock readings at each question, an hour apart.
    readings: Iterator[float] = iter(float(number * 3600) for number in range(10_000))
    monkeypatch.setattr(approval, "monotonic", lambda: next(readings))
    ended = connected(*RUN, terminal=True, typed="y\n")
    screen = COLOR_CODES.sub("", ended.err + ended.out)
    assert ended.code == 0
    assert not re.search(r"\((?:\d{4,}|-)", screen)
    [seconds] = re.findall(r"time +([\d.]+) s", screen)
    assert float(seconds) == 0.0


@pytest.mark.parametrize(("question_seconds", "seconds"), [({}, 90.0), ({"b": 60.0}, 30.0), ({"b": 9999.0}, 0.0)])
def test_the_time_of_a_run_is_the_sum_of_its_steps(question_seconds: dict[str, float], seconds: float) -> None:
    # The run was resumed an hour later; nothing ran in between.
    resumed_run = outcome(
        ("a", "2026-11-20T16:00:00Z", "2026-11-20T16:00:30Z"), ("b", "2026-11-20T17:00:00Z", "2026-11-20T17:01:00Z")
    )
    assert seconds_of(resumed_run, question_seconds) == seconds


def test_the_time_of_a_run_counts_the_steps_of_a_sub_playbook_once() -> None:
    run = outcome(
        ("plan", "2026-11-20T16:00:00Z", "2026-11-20T16:00:10Z"),
        ("each", "2026-11-20T16:00:10Z", "2026-11-20T17:00:40Z"),
        ("each[0]/wait", "2026-11-20T17:00:10Z", "2026-11-20T17:00:30Z"),
        ("each[1]/wait", "2026-11-20T17:00:20Z", "2026-11-20T17:00:40Z"),
    )
    assert seconds_of(run, {}) == 40.0


@pytest.mark.parametrize(("failed", "lines"), [(3, 1), (0, 0)])
def test_a_wait_with_failed_messages_ends_with_the_retry_command(
    capsys: pytest.CaptureFixture[str], failed: int, lines: int
) -> None:
    result = dict(catalog.find("wait-for-job").example_result)
    job = {**result["job"], "messages_failed": failed}
    show_result(Screen("table"), "wait-for-job", {**result, "done": True, "job": job})
    retry = f"  retry (dry run): cfes retry-failed-messages --job-id {result['job_id']} --dry-run\n"
    assert capsys.readouterr().err.count(retry) == lines
