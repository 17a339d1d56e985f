"""Tables on a terminal: what fits, in colour or not, and nothing that mail brings in can steer the terminal."""

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
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ESCAPE = re.compile(r"\x1b(?!\[[0-9;]*m)")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every action give this result."""

    def answer(result: dict[str, Any]) -> None:
        monkeypatch.setattr(Action, "run", lambda *_: result)

    return answer


def test_jobs_are_a_table_on_a_terminal_and_json_in_a_pipe(connected: Cfes) -> None:
    job_id = connected(*MOVE).document["job_id"]
    assert [job["job_id"] for job in connected("list-jobs").document["jobs"]] == [job_id]
    shown = COLOUR.sub("", connected("list-jobs", terminal=True).out)
    assert shown.splitlines()[0].split()[:3] == ["job", "status", "done"]
    assert job_id in shown


def test_output_decides_against_the_stream(connected: Cfes) -> None:
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
    shown = COLOUR.sub("", connected("list-jobs", terminal=True).out)
    assert job_id in shown
    assert "Hidden columns: " in shown
    assert max(len(line) for line in shown.splitlines()) <= 60


def test_no_color_is_honoured(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = connected("test-connection", terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    plain = connected("test-connection", terminal=True).out
    assert re.search(r"\x1b\[38;5;\d+m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9;]*m", plain)


def test_hostile_text_of_a_message_is_made_visible(cfes: Cfes, answering: Any) -> None:
    message = {"id": "1", "from": HOSTILE, "subject": HOSTILE, "client_recipients": [HOSTILE], "sent_at": HOSTILE}
    answering({"count": 1, "messages": [message], "warnings": [HOSTILE], "counts_by_disposition": {HOSTILE: 1}})
    ended = cfes("search-messages", terminal=True)
    for text in (ended.out, ended.err):
        assert not ESCAPE.search(text)
        assert not set("\x07\u202e\r") & set(text)
    assert "[U+001B]" in ended.out
    assert "[red]x[/red]" in COLOUR.sub("", ended.err)
    assert ":bomb:" in COLOUR.sub("", ended.err)


def test_hostile_text_of_a_job_is_made_visible(cfes: Cfes, answering: Any) -> None:
    answering({"job_id": "j", "status": HOSTILE, "job": {"comment": HOSTILE, HOSTILE: [HOSTILE, {"a": HOSTILE}]}})
    ended = cfes("get-job", terminal=True)
    assert ended.code == 0
    assert not ESCAPE.search(ended.out)
    assert "\u202e" not in ended.out


def test_json_on_a_terminal_is_ascii(cfes: Cfes, answering: Any) -> None:
    answering({"count": 0, "jobs": [], "note": HOSTILE})
    ended = cfes("list-jobs", "--output", "json", terminal=True)
    assert ended.out.isascii()
    assert "\x1b" not in ended.out
    assert json.loads(ended.out)["note"] == HOSTILE


def test_hostile_text_in_an_error_is_made_visible(cfes: Cfes) -> None:
    ended = cfes("run", HOSTILE, typed="{}", err=True)
    assert not ESCAPE.search(ended.err)
    assert "\u202e" not in ended.err


def test_a_wait_shows_a_bar_on_a_terminal_and_none_in_a_pipe(connected: Cfes) -> None:
    job_id = connected(*MOVE).document["job_id"]
    watched = connected("wait-for-job", "--job-id", job_id, err=True)
    assert watched.document["done"] is True
    assert "messages" in watched.err
    assert connected("wait-for-job", "--job-id", job_id).err == ""


def test_calls_are_logged_in_a_pipe_and_on_a_terminal_only_where_asked_for(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CFES_LOG")
    assert "GET /accounts/" in connected("list-jobs").err
    assert "GET /accounts/" not in connected("list-jobs", terminal=True).err
    assert "GET /accounts/" in connected("list-jobs", "--verbose", terminal=True).err
    monkeypatch.setenv("CFES_LOG", "json")
    assert '"method": "GET"' in connected("list-jobs", terminal=True).err


def test_a_log_mode_that_does_not_exist_is_refused(cfes: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_list_of_jobs_names_first_what_tells_a_search_from_another(
    cfes: Cfes, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    jobs = _long_jobs()
    jobs["jobs"][0]["search_params"] = {"detections_only": False, "end": "2026-11-20T16:02:35Z", "subject": "Ünpaid"}
    answering(jobs)
    shown = COLOUR.sub("", cfes("list-jobs", terminal=True).out)
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
    ("command", "result", "columns", "always"),
    [
        ("list-jobs", _long_jobs(), result_view.JOB_COLUMNS, {"job", "status"}),
        ("search-messages", _long_messages(), result_view.MESSAGE_COLUMNS, {"from", "subject"}),
    ],
)
def test_every_column_is_shown_or_named_as_left_out(
    width: int,
    command: str,
    result: dict[str, Any],
    columns: Any,
    always: set[str],
    cfes: Cfes,
    answering: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answering(result)
    lines = COLOUR.sub("", cfes(command, terminal=True).out).splitlines()
    shown = lines[0].split()
    note = " ".join(lines)
    left_out = re.findall(r"Hidden columns: (.*?)\. +Use +--output", note)
    named = left_out[0].split(", ") if left_out else []
    assert sorted(shown + named) == sorted(column.title for column in columns)
    assert set(shown) >= always
    assert max(len(line) for line in lines) <= width
    if width == 200:
        assert named == []
    if width >= 80 and command == "list-jobs":
        assert "DISCOVERING" in lines[1]
        assert "99999/99999" in lines[1]
