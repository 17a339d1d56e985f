"""Playbooks send notifications: a channel that fails fails no run, and counts as no change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cfes
from tests.remediation.notifications.receivers import Answer, environment, receiver
from tests.remediation.notifications.vendor_formats import CHECKS

PLAYBOOK = """\
playbook: 1
id: tell
title: Tell the channel, then stop
inputs:
  subject: {type: string, description: A subject.}
steps:
  - id: tell
    action: notify
    with:
      event: refused
      title: "Refused: {{ inputs.subject }}"
      facts:
        Subject: "{{ inputs.subject }}"
      run_id: "{{ run.id }}"
  - id: refuse
    check: "{{ false }}"
    otherwise: "Sent to {{ steps.tell.sent }} channels."
"""


def run(folder: Path, subject: str = "Invoice") -> dict[str, Any]:
    (folder / "tell.yaml").write_text(PLAYBOOK)
    return cfes.run_playbook(folder / "tell.yaml", {"subject": subject}, directory=folder / "run")


@pytest.mark.parametrize(("status", "sent"), [(200, 1), (404, 0)])
def test_a_notification_neither_fails_a_run_nor_counts_as_a_change(
    status: int, sent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(CHECKS["slack"], Answer(status)) as running:
        for name, value in environment("slack", running.url).items():
            monkeypatch.setenv(name, value)
        ended = run(tmp_path)
    assert (ended["status"], ended["exit_code"]) == ("refused", 3)
    assert (ended["error"]["applied"], ended["error"].get("changes")) == ("no", None)
    assert ended["error"]["message"] == f"Sent to {sent} channels."
    assert f"cfes playbook show {ended['run_id']}" in CHECKS["slack"](running.requests[0]).texts


def test_a_run_without_channels_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path)["error"]["message"] == "Sent to 0 channels."


def test_a_hostile_subject_is_inert_in_the_run_and_in_the_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = "{{ 7 * 7 }} <!channel> [x](https://evil.example) \u202e" + "A" * 10_000
    with receiver(CHECKS["teams"]) as running:
        for name, value in environment("teams", running.url).items():
            monkeypatch.setenv(name, value)
        assert run(tmp_path, subject)["error"]["message"] == "Sent to 1 channels."
    assert running.problems == []
    assert "49" not in CHECKS["teams"](running.requests[0]).text.splitlines()[0]
