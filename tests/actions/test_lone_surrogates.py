"""Lone surrogates and large numbers from the API are accepted by every later action."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import (
    create_move_job,
    export_job_messages,
    get_job,
    list_jobs,
    preview_job,
    render_report,
    search_messages,
    wait_for_job,
)
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from core.errors import ParameterError, UnexpectedAnswer, UnusableAnswer
from core.surrogates import replace_surrogates, replace_surrogates_in
from sandbox.clock import SECOND
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, Scripted, connected, envelope, job

ACTIONS = catalog.available()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\U0001f600 grinning", "\U0001f600 grinning"),
        ("half \ud83d", "half \N{REPLACEMENT CHARACTER}"),
        ("\ude00 half", "\N{REPLACEMENT CHARACTER} half"),
        ("\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2),
        ("\ud83d\ud83d\ude00", "\N{REPLACEMENT CHARACTER}\U0001f600"),
        ("\udcff", "\N{REPLACEMENT CHARACTER}"),
        ("", ""),
    ],
)
def test_only_lone_surrogates_are_replaced(text: str, expected: str) -> None:
    assert replace_surrogates(text) == expected
    assert replace_surrogates_in({text: [text, 1, None]}) == {expected: [expected, 1, None]}


def test_actions_accept_the_results_of_earlier_actions(
    start_sandbox: Callable[..., RunningSandbox], connect: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    sandbox = start_sandbox()
    api = connect(sandbox)
    for number, subject in enumerate(["half \ud83d", "\ude00 half", "emoji \U0001f600"]):
        sandbox.state.tenant.add(
            time=sandbox.clock.now() - 60 * SECOND,
            sender=sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0].sender,
            subject=subject,
            recipients=(f"late{number}@corp.example",),
            disposition="MALICIOUS",
        )
    odd = {"comment_of_another": "\ud83d", "sequence": 2**70, "\udcff": [2**64]}
    for operation in ("createBulkJob", "getBulkJob"):
        sandbox.state.faults.add(operation, "rewrite", set=odd, times=None)
    found = search_messages.run({"search_params": CAMPAIGN, "limit": 100}, api)
    plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
    made = create_move_job.run({"plan": plan, "idempotency_key": "case-1", "wait_follows": True}, api)
    ended = wait_for_job.run({"job_id": made["job_id"], "plan": plan}, api)
    rows = tmp_path / "rows.ndjson"
    export = export_job_messages.run({"job_id": made["job_id"], "destination": str(rows)}, api)
    report = {"job": ended["job"], "export": export, "rows": str(rows), "warnings": ended["warnings"]}
    for form in ("html", "markdown"):
        render_report.run({**report, "destination": str(tmp_path / f"report.{form}"), "format": form}, api)
    for result in (found, plan, made, ended, export, get_job.run({"job_id": made["job_id"]}, api)):
        json.dumps(result, ensure_ascii=False).encode()


def test_a_report_replaces_lone_surrogates(tmp_path: Path) -> None:
    params = {
        "destination": str(tmp_path / "report.html"),
        "job": job(sequence=2**70, note="\ud83d"),
        "title": "half \ud83d",
        "alert": {"id": "1", "subject": "\ude00 half", "sender": "a@b.example"},
        "warnings": ["\udcff"],
    }
    render_report.run(params)
    assert "half \N{REPLACEMENT CHARACTER}" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "render-report"])
def test_lone_surrogates_and_large_numbers_in_parameters_are_refused(action: str) -> None:
    for odd in ("half \ud83d", 2**70):
        with pytest.raises(ParameterError):
            ACTIONS[action].check({**ACTIONS[action].example_params, "anything": {"deep": [odd]}})
    params: dict[str, Any] = {"search_params": {"subject": "half \ud83d"}, "destination": "JunkEmail"}
    with pytest.raises(ParameterError, match="half of a surrogate pair"):
        create_move_job.ACTION.check(params)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000])
def test_an_answer_with_a_number_beyond_json_is_refused(number: str) -> None:
    body = json.dumps(envelope(job(sequence="NUMBER"))).replace('"NUMBER"', number)
    service = Scripted(*[httpx.Response(200, content=body.encode()) for _ in range(9)])
    with connected(service) as api, pytest.raises((UnexpectedAnswer, UnusableAnswer)):
        api.get_job(JOB_ID)


def test_valid_surrogate_pairs_are_kept() -> None:
    page = json.dumps(envelope([job(comment="\U0001f600 \ud83d")])).encode()
    empty = json.dumps(envelope([])).encode()
    service = Scripted(*[httpx.Response(200, content=body) for body in (page, empty, empty)])
    with connected(service) as api:
        listed = list_jobs.run({}, api)
    assert listed["jobs"][0]["comment"] == "\U0001f600 \N{REPLACEMENT CHARACTER}"
