"""Tables on a terminal fit its width, with or without color, and escape control characters from mail."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from actions.contract.action import Action
from platforms.cli.views import result as result_view
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_action_commands import MOVE

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/red] \u202etxt.exe\r\nline {{ 7*7 }} :bomb:"
COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
ESCAPE = re.compile(r"\x1b(?!\[[0-9;]*m)")


@pytest.fixture
def set_result(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes every action return this result."""

    def set_action_result(result: dict[str, Any]) -> None:
        monkeypatch.setattr(Action, "run", lambda *_: result)

    return set_action_result


def test_jobs_are_a_table_on_a_terminal_and_json_in_a_pipe(connected: Cfes) -> None:
    job_id = connected(*MOVE).document["job_id"]
    assert [job["job_id"] for job in connected("list-jobs").document["jobs"]] == [job_id]
    shown = COLOR_CODES.sub("", connected("list-jobs", terminal=True).out)
    assert shown.splitlines()[0].split()[:3] == ["job", "status", "done"]
    assert job_id in shown


def test_output_overrides_the_stream_type(connected: Cfes) -> None:
    assert connected("list-jobs", "--output", "json", terminal=True).document == {
        "count": 0,
        "jobs": [],
        "truncated": {},
    }
    table = connected("test-connection", "--output", "table").out
    assert "token_status" in table
    assert "\x1b" not in table


def test_a_narrow_terminal_names_the_hidden_columns(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = connected(*MOVE).document["job_id"]
    monkeypatch.setenv("COLUMNS", "60")
    shown = COLOR_CODES.sub("", connected("list-jobs", terminal=True).out)
    assert job_id in shown
    assert "Hidden columns: " in shown
    assert max(len(line) for line in shown.splitlines()) <= 60


def test_no_color_disables_colors(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    colored = connected("test-connection", terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    plain = connected("test-connection", terminal=True).out
    assert re.search(r"\x1b\[38;5;\d+m", colored)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9;]*m", plain)


def test_hostile_text_of_a_message_is_escaped(cfes: Cfes, set_result: Any) -> None:
    message = {"id": "1", "from": HOSTILE, "subject": HOSTILE, "client_recipients": [HOSTILE], "sent_at": HOSTILE}
    set_result({"count": 1, "messages": [message], "warnings": [HOSTILE], "counts_by_disposition": {HOSTILE: 1}})
    ended = cfes("search-messages", terminal=True)
    for text in (ended.out, ended.err):
        assert not ESCAPE.search(text)
        assert not set("\x07\u202e\r") & set(text)
    assert "[U+001B]" in ended.out
    assert "[red]x[/red]" in COLOR_CODES.sub("", ended.err)
    assert ":bomb:" in COLOR_CODES.sub("", ended.err)


def test_hostile_text_of_a_job_is_escaped(cfes: Cfes, set_result: Any) -> None:
    set_result({"job_id": "j", "status": HOSTILE, "job": {"comment": HOSTILE, HOSTILE: [HOSTILE, {"a": HOSTILE}]}})
    ended = cfes("get-job", terminal=True)
    assert ended.code == 0
    assert not ESCAPE.search(ended.out)
    assert "\u202e" not in ended.out


def test_json_on_a_terminal_is_ascii(cfes: Cfes, set_result: Any) -> None:
    set_result({"count": 0, "jobs": [], "note": HOSTILE})
    ended = cfes("list-jobs", "--output", "json", terminal=True)
    assert ended.out.isascii()
    assert "\x1b" not in ended.out
    assert json.loads(ended.out)["note"] == HOSTILE


def test_hostile_text_in_an_error_is_escaped(cfes: Cfes) -> None:
    ended = cfes("run", HOSTILE, typed="{}", err=True)
    assert not ESCAPE.search(ended.err)
    assert "\u202e" not in ended.err


def test_a_wait_shows_a_progress_bar_only_on_a_terminal(connected: Cfes) -> None:
    job_id = connected(*MOVE).document["job_id"]
    on_terminal = connected("wait-for-job", "--job-id", job_id, err=True)
    assert on_terminal.document["done"] is True
    assert "messages" in on_terminal.err
    assert connected("wait-for-job", "--job-id", job_id).err == ""


def test_calls_are_logged_in_a_pipe_and_on_a_terminal_with_verbose(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CFES_LOG")
    assert "GET /accounts/" in connected("list-jobs").err
    assert "GET /accounts/" not in connected("list-jobs", terminal=True).err
    assert "GET /accounts/" in connected("list-jobs", "--verbose", terminal=True).err
    monkeypatch.setenv("CFES_LOG", "json")
    assert '"method": "GET"' in connected("list-jobs", terminal=True).err


def test_an_unknown_log_mode_is_refused(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFES_LOG", "loud")
    assert cfes("list-jobs").error["message"].startswith("CFES_LOG must be one of")


def _long_jobs() -> dict[str, Any]:
    job = {
        "job_id": "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d",
        "status": "DISCOVERING",
        "total_messages_discovered": 99_999,
        "messages_successful": 99_998,
        "messages_failed": 1,
        "action_type": "MOVE",
        "action_params": {"destination": "RecoverableItemsDeletions"},
        "created_at": "2026-11-20T16:02:35.123456Z",
        "search_params": {"sender": f"{'billing' * 20}@shop.example", "start": "2026-11-13T15:32:35Z"},
    }
    return {"count": 1, "jobs": [job]}


def test_a_job_list_shows_the_distinctive_search_parameters_first(
    cfes: Cfes, set_result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    jobs = _long_jobs()
    jobs["jobs"][0]["search_params"] = {"detections_only": False, "end": "2026-11-20T16:02:35Z", "subject": "Ünpaid"}
    set_result(jobs)
    shown = COLOR_CODES.sub("", cfes("list-jobs", terminal=True).out)
    assert "subject=Ünpaid, detections_only=false, end=2026-11-20T16:02:35Z" in shown
    assert "2026-11-20T16:02:35Z  " in shown


def _long_messages() -> dict[str, Any]:
    message = {
        "id": "1",
        "from": f"{'billing' * 20}@shop.example",
        "subject": "overdue " * 40,
        "client_recipients": [f"{'somebody' * 5}{n}@corp.example" for n in range(9)],
        "sent_at": "2026-11-20T16:02:35.123456Z",
        "final_disposition": "MALICIOUS-BEC",
    }
    return {"count": 1, "messages": [message], "warnings": []}


@pytest.mark.parametrize("width", [60, 80, 140, 200])
@pytest.mark.parametrize(
    ("command", "result", "columns", "required"),
    [
        ("list-jobs", _long_jobs(), result_view.JOB_COLUMNS, {"job", "status"}),
        ("search-messages", _long_messages(), result_view.MESSAGE_COLUMNS, {"from", "subject"}),
    ],
)
def test_every_column_is_shown_or_named_as_hidden(
    width: int,
    command: str,
    result: dict[str, Any],
    columns: Any,
    required: set[str],
    cfes: Cfes,
    set_result: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    set_result(result)
    lines = COLOR_CODES.sub("", cfes(command, terminal=True).out).splitlines()
    shown = lines[0].split()
    note = " ".join(lines)
    left_out = re.findall(r"Hidden columns: (.*?)\. +Use +--output", note)
    named = left_out[0].split(", ") if left_out else []
    assert sorted(shown + named) == sorted(column.title for column in columns)
    assert set(shown) >= required
    assert max(len(line) for line in lines) <= width
    if width == 200:
        assert named == []
    if width >= 80 and command == "list-jobs":
        assert "DISCOVERING" in lines[1]
        assert "99999/99999" in lines[1]
