"""A small playbook with one step of every kind, and a fake of its actions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from playbooks.drivers.seal_key import SealKey
from playbooks.language.format import Playbook
from playbooks.language.loading import load
from tests.clock import FakeClock

PURGE = """\
playbook: 1
id: purge
title: Move what a campaign left
inputs:
  alert:
    type: object
    primary: true
    description: The alert.
    required: [From, AlertID, Timestamp]
    properties:
      From: {type: string, minLength: 3}
  destination: {type: string, enum: [JunkEmail, Trash], default: JunkEmail, description: Where to.}
  max_messages: {type: integer, minimum: 1, default: 100, description: The most messages to touch.}
steps:
  - id: window
    set:
      start: "{{ inputs.alert.Timestamp | instant | shift(days=-7) }}"
  - id: find
    title: Find what the campaign left
    action: search-messages
    with:
      search_params:
        sender: "{{ inputs.alert.From }}"
        subject: "{{ inputs.alert.Subject if inputs.alert.Subject is defined else omit }}"
        start: "{{ steps.window.start }}"
        detections_only: false
      limit: "{{ inputs.max_messages + 1 }}"
    keep: [count]
  - id: within-cap
    check: "{{ steps.find.count <= inputs.max_messages }}"
    otherwise: "The search finds {{ steps.find.count }} messages, more than {{ inputs.max_messages }}."
  - id: nothing
    finish: "{{ steps.find.count == 0 }}"
    message: "{{ inputs.alert.From }} left nothing."
  - id: create
    action: create-move-job
    with:
      idempotency_key: "{{ inputs.alert.AlertID }}"
      destination: "{{ inputs.destination }}"
    on_error:
      - {type: RateLimited, retry: {times: 2, after: "{{ error.retry_after_seconds or 30 }}"}}
  - id: wait
    action: wait-for-job
    with:
      job_id: "{{ steps.create.job_id }}"
      resume: "{{ previous.resume if previous else omit }}"
    repeat: {until: "{{ result.done }}", sleep: "{{ result.next_poll_seconds }}", limit: 5}
  - id: tidy
    when: "{{ inputs.destination == 'Trash' }}"
    action: tidy
  - id: rows
    action: export-job-messages
    with:
      job_id: "{{ steps.create.job_id }}"
      destination: "{{ run.directory }}/{{ inputs.alert.AlertID | file_name }}.ndjson"
    on_error:
      - {type: "*", do: continue}
  - id: all-moved
    check: "{{ steps.wait.progress.failed == 0 }}"
    otherwise: "{{ steps.wait.progress.failed }} messages were not moved."
    outcome: incomplete
outputs:
  discovered: "{{ steps.wait.progress.discovered }}"
  rows: "{{ steps.rows.written if 'rows' in steps else none }}"
  subject: "{{ inputs.alert.Subject | default(none) }}"
"""

ALERT: dict[str, Any] = {
    "AlertID": "A/1:2",
    "From": "billing@shop.example",
    "Subject": "Overdue {{ 7*7 }}",
    "Timestamp": "2026-11-20T15:32:35Z",
}

# The key that seals the runs of the tests.
KEY = SealKey(b"k" * 32, "of the tests")

Answer = dict[str, Any] | BaseException


@dataclass
class Remote:
    """A fake of the actions. answers[action] are returned in order; the last one is repeated."""

    answers: dict[str, list[Answer]]
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((action, copy.deepcopy(params)))
        left = self.answers[action]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return copy.deepcopy(answer)

    def of(self, action: str) -> list[dict[str, Any]]:
        """Return the parameters of every call of an action."""
        return [params for name, params in self.calls if name == action]


@pytest.fixture(scope="session")
def purge_text() -> str:
    return PURGE


@pytest.fixture(scope="session")
def purge() -> Playbook:
    return load(PURGE)


@pytest.fixture
def alert() -> dict[str, Any]:
    return dict(ALERT)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def remote() -> Callable[..., Remote]:
    """A function that builds a successful fake, except for the answers given by action (dashes as underscores)."""

    def build(**answers: list[Answer]) -> Remote:
        progress = {"discovered": 3, "failed": 0}
        successful: dict[str, list[Answer]] = {
            "search-messages": [{"count": 3, "messages": [{"subject": "{{ 7*7 }}"}]}],
            "create-move-job": [{"job_id": "job-1", "status": "PENDING"}],
            "wait-for-job": [
                {"done": False, "next_poll_seconds": 5, "resume": {"n": 1}, "progress": progress},
                {"done": False, "next_poll_seconds": 0, "resume": {"n": 2}, "progress": progress},
                {"done": True, "next_poll_seconds": None, "resume": None, "progress": progress},
            ],
            "export-job-messages": [{"written": 3}],
            "tidy": [{}],
        }
        return Remote({**successful, **{action.replace("_", "-"): given for action, given in answers.items()}})

    return build
