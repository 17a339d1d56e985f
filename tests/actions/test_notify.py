"""notify as an action: the environment names the channels, and a failure is a warning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from actions import notify
from core.errors import ParameterError
from platforms.cli.views.result import show_result
from platforms.cli.views.screen import Screen
from platforms.cli.views.step_summary import summary
from tests.remediation.notifications.receivers import URL_SECRET, Answer, environment, receiver
from tests.remediation.notifications.vendor_formats import CHECKS


def set_channels(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_without_a_channel_nothing_is_sent_and_nothing_fails() -> None:
    result = notify.run({"title": "The job is done"})
    assert (result["sent"], result["channels"], result["warnings"]) == (0, [], [])
    assert notify.ACTION.verdict is not None
    assert notify.ACTION.verdict(result) == 0


def test_every_channel_gets_the_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(CHECKS["slack"]) as chat, receiver(CHECKS["webhook"]) as webhook:
        set_channels(monkeypatch, environment("slack", chat.url, "chat") | environment("webhook", webhook.url, "soar"))
        monkeypatch.setenv("CFES_NOTIFY_CHANNELS", "chat=slack,soar=webhook")
        result = notify.run(dict(notify.ACTION.example_params))
        only_one = notify.run({**notify.ACTION.example_params, "channels": "soar"})
    assert (result["sent"], [one["outcome"] for one in result["channels"]]) == (2, ["sent", "sent"])
    assert [one["name"] for one in only_one["channels"]] == ["soar"]
    assert (len(chat.requests), len(webhook.requests)) == (1, 2)
    assert {request.headers["webhook-id"] for request in webhook.requests} == {result["message_id"]}


def test_a_signal_of_a_sub_playbook_is_named_with_its_steps() -> None:
    for signal in ("approval", "job/approval", "sweeps[0]/carry-out/approval"):
        assert notify.run({"title": "T", "signal": signal})["sent"] == 0
    for signal in ("", "/approval", "job/", "job//approval", "sweeps[]/approval", "job/approval; rm", "a\nb"):
        with pytest.raises(ParameterError):
            notify.run({"title": "T", "signal": signal})


def test_an_unknown_channel_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as running:
        set_channels(monkeypatch, environment("slack", running.url))
        with pytest.raises(ParameterError, match="unknown channel 'other'; known: soc") as caught:
            notify.run({"title": "T", "channels": ["soc", "other"]})
    assert caught.value.problems[0]["pointer"] == "/channels/1"
    assert running.requests == []


def test_a_channel_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(None, Answer(403, body=b"action_prohibited")) as running:
        set_channels(monkeypatch, environment("slack", running.url))
        result = notify.run({"title": "T"})
    assert result["warnings"] == ["soc: the receiver answered 403 (action_prohibited)"]
    assert (result["sent"], result["channels"][0]["http_status"]) == (0, 403)
    assert notify.ACTION.verdict is not None
    assert notify.ACTION.verdict(result) == 8


@pytest.mark.parametrize(
    "settings",
    [
        {"CFES_NOTIFY_CHANNELS": "soc=slack"},
        {"CFES_NOTIFY_CHANNELS": "nonsense"},
        {"CFES_NOTIFY_CHANNELS_FILE": "/nowhere/at/all"},
        {"CFES_RUN_URL": "https://soar.example/runs"},
    ],
)
def test_a_wrong_setting_is_a_warning(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_channels(monkeypatch, settings)
    result = notify.run({"title": "T", "run_id": "run-1"})
    assert result["sent"] == 0
    assert len(result["warnings"]) == 1


def test_a_wrong_link_is_left_out_of_the_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(CHECKS["slack"]) as running:
        set_channels(monkeypatch, environment("slack", running.url) | {"CFES_RUN_URL": "ftp://soar.example/{run_id}"})
        result = notify.run({"title": "T", "run_id": "run-1"})
    assert (result["sent"], len(result["warnings"])) == (1, 1)
    assert "cfes playbook show run-1" in CHECKS["slack"](running.requests[0]).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_id", "x; rm -rf ~"),
        ("run_id", "../../etc"),
        ("run_id", "-x"),
        ("run_id", "run\n"),
        ("signal", "a b"),
        ("signal", "$(id)"),
        ("case_id", "../alert/1"),
        ("case_id", "~1/../../user"),
        ("case_id", "1?x=2"),
        ("case_id", ""),
        ("event", "other"),
        ("channels", ["a" * 40]),
        ("channels", "SOC"),
        ("channels", ["soc"] * 11),
        ("facts", {str(number): 1 for number in range(11)}),
        ("facts", {"a": ["list"]}),
        ("title", ""),
        ("dedupe", "x" * 201),
    ],
)
def test_an_invalid_name_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"/{name}"):
        notify.run({"title": "T", name: value})


def test_text_of_a_mailbox_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "half \ud83d of a pair " * 10_000
    with receiver(CHECKS["teams"]) as running:
        set_channels(monkeypatch, environment("teams", running.url))
        result = notify.run({"title": text, "message": text, "facts": {"Subject": text, "Number": 2**300}})
    assert (result["sent"], running.problems) == (1, [])


def test_the_process_shows_no_secret_and_exits_with_eight() -> None:
    with receiver(None, Answer(302)) as running:
        completed = subprocess.run(
            [sys.executable, "-m", "actions.notify", "--exit-status"],
            input=json.dumps({"title": "T"}),
            env={"PATH": os.environ["PATH"], **environment("slack", running.url)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert completed.returncode == 8
    assert json.loads(completed.stdout)["channels"][0]["http_status"] == 302
    assert "POST (channel soc) 302" in completed.stderr
    assert URL_SECRET not in completed.stdout + completed.stderr


def test_a_terminal_shows_the_channels_and_the_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    result = {**notify.ACTION.example_result, "warnings": ["case: the receiver answered 500"]}
    show_result(Screen("table"), "notify", result)
    shown = capsys.readouterr()
    for part in ("soc", "slack", "sent", "skipped", "no case_id was given", "Sent to 1 of 2 channels."):
        assert part in shown.out + shown.err
    show_result(Screen("table"), "notify", {**result, "channels": [], "sent": 0})
    assert "No channel is set (CFES_NOTIFY_CHANNELS). Nothing was sent." in "".join(capsys.readouterr())


def test_a_step_is_summarized_by_its_channels() -> None:
    assert summary("notify", notify.ACTION.example_result) == "sent to 1 of 2 channels"
    assert summary("notify", {"sent": 0, "channels": []}) == "no channel is set"
    assert summary("notify", {}) == ""
