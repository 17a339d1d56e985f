"""Text that UTF-8 can't encode becomes U+FFFD, or is refused before any change, never after one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from core.errors import ParameterError
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.playbooks.test_shipped_playbooks import FALSE_POSITIVE, evidence, purge, run
from tests.slow import some_of

LONE_SURROGATES = ["Invoice \ud83d", "\ude00 overdue", "\ud83d \ude00", "\ude00\ud83d", "\udcff caf\udce9"]


@pytest.fixture
def alert() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    return loaded


def changes_of(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


@pytest.mark.parametrize("subject", LONE_SURROGATES[2:])
def test_a_purge_completes_for_an_alert_with_a_lone_surrogate(
    subject: str, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = purge({**alert, "Subject": subject, "FromName": subject, "ToName": [subject]}, api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("completed", 0), outcome
    for name in ("report.html", "report.md"):
        assert "\N{REPLACEMENT CHARACTER}" in evidence(tmp_path / "run", name)


@pytest.mark.parametrize("subject", some_of(LONE_SURROGATES, 0, 2))
def test_a_release_handles_an_alert_with_a_lone_surrogate(
    subject: str, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    outcome = run("false-positive-release", {"alert": {**FALSE_POSITIVE, "Subject": subject}}, api, tmp_path / "run")
    assert outcome.exit_code in (0, 3), outcome
    assert outcome.exit_code == 0 or changes_of(sandbox) == []


@pytest.mark.parametrize("subject", LONE_SURROGATES[3:])
def test_mail_with_a_lone_surrogate_is_moved_and_reported(
    subject: str, alert: dict[str, Any], start_sandbox: Callable[..., RunningSandbox],
    connect: Callable[..., EmailSecurity], tmp_path: Path,
) -> None:  # fmt: skip
    sandbox = start_sandbox()
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    sandbox.state.tenant.add(
        time=sandbox.clock.now() - 60 * SECOND,
        sender=like.sender,
        subject=subject,
        recipients=("late@corp.example",),
        disposition="MALICIOUS",
    )
    outcome = purge(alert, connect(sandbox), tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("completed", 0), outcome


@pytest.mark.parametrize("playbook", ["phish-campaign-purge", "false-positive-release"])
def test_a_directory_name_that_is_not_utf8_is_refused_before_any_change(
    playbook: str, alert: dict[str, Any], sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/run"))
    any_alert = alert if playbook == "phish-campaign-purge" else FALSE_POSITIVE
    with pytest.raises(ParameterError, match="UTF-8") as caught:
        run(playbook, {"alert": any_alert}, api, directory)
    assert "Nothing was" in caught.value.help
    assert changes_of(sandbox) == []
    assert not directory.exists()
