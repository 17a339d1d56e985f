"""A playbook that changes mail needs a confirmation, or `--yes` without a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from actions.contract import catalog
from core.errors import RateLimited
from platforms.cli import step_approval as approval
from platforms.cli.step_approval import can_answer
from platforms.published.manifest import ROOT
from playbooks import library
from playbooks.language.bundling import every_step
from playbooks.language.format import ActionStep, Playbook
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_playbook_commands import PURGE, only_for

READING = """\
playbook: 1
id: reading
title: Count messages
inputs: {alert: {type: object, primary: true}}
steps:
  - id: find
    action: search-messages
    with: {search_params: {sender: "{{ inputs.alert.From }}", start: "2026-11-13T15:32:35Z"}}
outputs: {found: "{{ steps.find.count }}"}
"""


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(approval, "TERMINAL", str(tmp_path / "no-such-terminal"))


@pytest.fixture
def purge(tmp_path: Path, no_terminal: None) -> str:
    path = tmp_path / "small-purge.yaml"
    path.write_text(PURGE)
    return str(path)


@pytest.mark.parametrize("streams", [{}, {"out": True}, {"err": True}, {"out": True, "err": True}])
def test_an_unattended_run_that_changes_mail_exits_2_before_any_call(
    connected: Cfes, sandbox: RunningSandbox, purge: str, tmp_path: Path, streams: dict[str, bool]
) -> None:
    before = sandbox.state.truth()["calls"]
    ended = connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--output", "json", **streams)
    assert (ended.code, ended.error["type"], ended.error["applied"]) == (2, "NobodyToAsk", "no")
    assert "'create' (create-move-job)" in ended.error["message"]
    assert "Nothing was run. Add --yes" in ended.error["help"]
    assert not (tmp_path / "cfes-runs").exists()
    assert sandbox.state.truth()["calls"] == before


def changes_mail(playbook: Playbook) -> bool:
    steps = [step for step in every_step(playbook) if isinstance(step, ActionStep)]
    return any(catalog.find(step.action).asks_first(step.with_) for step in steps)


@pytest.mark.parametrize(
    "playbook", [one.id for one in library.available() if changes_mail(one) and one.primary_input == "alert"]
)
def test_every_shipped_playbook_that_changes_mail_needs_a_terminal_or_yes(
    cfes: Cfes, playbook: str, no_terminal: None, tmp_path: Path
) -> None:
    ended = cfes("playbook", "run", playbook, "-i", str(EXAMPLE_ALERT), "--directory", "case")
    assert (ended.code, ended.error["type"]) == (2, "NobodyToAsk")
    assert not (tmp_path / "case").exists()


def test_an_unattended_run_with_yes_works(connected: Cfes, purge: str) -> None:
    assert connected("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "-y").code == 0


def test_a_read_only_playbook_needs_no_confirmation(connected: Cfes, tmp_path: Path, no_terminal: None) -> None:
    (tmp_path / "reading.yaml").write_text(READING)
    assert connected("playbook", "run", "reading.yaml", "-i", str(EXAMPLE_ALERT)).code == 0


def test_input_problems_are_reported_first(cfes: Cfes, purge: str) -> None:
    ended = cfes("playbook", "run", purge)
    assert ended.error["problems"][0]["pointer"] == "/alert"


def test_a_resumed_run_before_its_change_needs_a_terminal_or_yes(connected: Cfes, purge: str) -> None:
    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case")
    assert connected(*run, terminal=True, typed="n\n").code == 3
    before = connected("playbook", "runs").document
    ended = connected("playbook", "run", "--resume", "case")
    assert (ended.code, ended.error["type"]) == (2, "NobodyToAsk")
    assert connected("playbook", "runs").document == before
    assert connected("list-jobs").document["count"] == 0
    assert connected("playbook", "run", "--resume", "case", "--yes").code == 0


def test_a_resumed_run_that_only_waits_and_exports_needs_no_confirmation(
    connected: Cfes, purge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_rate_limited(*_: object) -> None:
        raise RateLimited("slow down")

    run = ("playbook", "run", purge, "-i", str(EXAMPLE_ALERT), "--directory", "case", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr("actions.contract.action.Action.run", only_for("wait-for-job", raise_rate_limited))
        assert connected(*run).code == 7
    assert connected("playbook", "run", "--resume", "case").code == 0


@pytest.mark.parametrize("action_id", catalog.available())
def test_a_dry_run_needs_no_confirmation(action_id: str) -> None:
    action = catalog.find(action_id)
    assert action.asks_first({"dry_run": False}) == (action.approval == "required")
    if "dry_run" in action.params.model_fields:
        assert not action.asks_first({"dry_run": True})
        assert action.asks_first({"dry_run": "{{ inputs.dry }}"})
        default = action.params.model_fields["dry_run"].default
        assert action.asks_first({}) == (not default)


CAN_ANSWER = "from platforms.cli.step_approval import can_answer; print(can_answer())"


def test_a_process_without_a_terminal_cannot_answer_and_does_not_block() -> None:
    """A new session has no controlling terminal, like a cron job."""
    done = subprocess.run(
        [sys.executable, "-c", CAN_ANSWER],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, start_new_session=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.mark.parametrize("background", [False, True])
def test_a_process_on_a_terminal_can_answer_unless_in_the_background(background: bool) -> None:
    leave_foreground = "import os; os.setpgid(0, 0)\n" if background else ""
    our_end, their_end = pty.openpty()
    session = "import os, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); pid = os.fork()\n"
    child = f"if pid == 0:\n  {leave_foreground.strip() or 'pass'}\n  {CAN_ANSWER}\nelse: os.waitpid(pid, 0)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", session + child],
            cwd=ROOT, stdin=their_end, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    finally:
        os.close(their_end)
        os.close(our_end)
    assert done.stdout == f"{not background}\n"


def test_a_terminal_that_cannot_be_opened_cannot_answer(monkeypatch: pytest.MonkeyPatch, no_terminal: None) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert can_answer() is False
