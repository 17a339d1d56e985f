"""One alert makes one job, in any spelling of times, addresses and IDs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.contract import catalog
from connectors.email_security import EmailSecurity
from core.instants import whole_second
from playbooks import library
from playbooks.language.inputs import accept
from playbooks.language.mail_filters import has_criteria
from sandbox.server import RunningSandbox
from tests.conftest import EXAMPLE_ALERT
from tests.playbooks import driving
from tests.playbooks.conftest import KEY
from tests.slow import some_of

SECOND = 1795188755  # 2026-11-20T15:32:35Z
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@st.composite
def timestamps(draw: st.DrawFn, second: int) -> str | int:
    """Draw a second as Logpush writes it: RFC 3339, or an integer in s, ms, microseconds or ns, also as text."""
    digits = draw(st.sampled_from([0, 3, 6, 9]))
    fraction = draw(st.integers(0, 10**digits - 1))
    if draw(st.booleans()):
        number = second * 10**digits + fraction
        spellings: list[str | int] = [number, str(number), f" {number} "]
        return draw(st.sampled_from(spellings))
    hours = draw(st.integers(-12, 14))
    local_time = EPOCH + timedelta(seconds=second, hours=hours)
    zone = "Z" if hours == 0 else f"{hours:+03}:00"
    return f"{local_time:%Y-%m-%dT%H:%M:%S}" + (f".{fraction:0{digits}}" if digits else "") + zone


@given(st.integers(10**9, 4 * 10**9).flatmap(lambda second: st.tuples(st.just(second), timestamps(second))))
def test_a_timestamp_has_one_meaning_in_every_format(case: tuple[int, str | int]) -> None:
    second, timestamp = case
    assert whole_second(timestamp) == f"{EPOCH + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"


class JobExists(BaseException):
    """Raised when the job exists, to skip the rest of the run."""


def run_until_created(playbook_id: str, inputs: dict[str, Any], api: EmailSecurity, directory: Path) -> dict[str, Any]:
    """Run a playbook until its job exists. Return the result of the create."""
    made: list[dict[str, Any]] = []

    def act(action: str, params: dict[str, Any]) -> dict[str, Any]:
        result = catalog.find(action).run(params, api)
        if action in ("create-job", "create-job"):
            made.append(result)
            raise JobExists
        return result

    playbook = library.find(playbook_id)
    with pytest.raises(JobExists):
        outcome = driving.run(
            playbook,
            accept(playbook, inputs),
            run_action=act,
            clock=api.clock,
            key=KEY,
            run_id="r",
            directory=directory,
        )
        pytest.fail(str(outcome.error or outcome.message))
    return made[0]


@pytest.mark.parametrize("lookback_days", some_of([0, 7], 1))
def test_one_alert_in_every_spelling_makes_one_job(
    lookback_days: int, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    alert: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
    changes: list[dict[str, Any]] = [
        {"Timestamp": SECOND * 10**9 + 123_456_789},
        {"Timestamp": "2026-11-20T15:32:35Z"},
        {"Timestamp": "2026-11-20T16:32:35.999+01:00"},
        {"Timestamp": str(SECOND)},
        {"Timestamp": SECOND * 1000 + 1},
        {"From": "Billing <BILLING@Invoice-Portal.example>"},
        {"From": "billing@invoice-portal.example."},
        {"AlertID": f" {alert['AlertID']} "},
        {"SMTPEnvelopeTo": list(reversed(alert["SMTPEnvelopeTo"]))},
    ]
    made = [
        run_until_created(
            "phish-campaign-purge",
            {"alert": {**alert, **change}, "lookback_days": lookback_days, "search_by": "sender"},
            api,
            tmp_path / str(number),
        )
        for number, change in enumerate(changes)
    ]
    assert [one["created"] for one in made] == [True] + [False] * (len(changes) - 1)
    assert len(sandbox.state.truth()["jobs"]) == 1


def test_a_release_reuses_one_job_for_every_timestamp_format(
    sandbox: RunningSandbox, connect: Callable[..., EmailSecurity], tmp_path: Path
) -> None:
    # The creates do not wait, so messages are still held at the later ones.
    api = connect(sandbox, listing_lag_seconds=0)
    alert = {"AlertID": "fp-1", "From": "statements@partner-bank.example", "DMARCResult": "pass"}
    stamps: list[Any] = [SECOND * 10**9 + 5, "2026-11-20T15:32:35.5Z", SECOND]
    made = [
        run_until_created(
            "false-positive-release", {"alert": {**alert, "Timestamp": at}, "lookback_days": 30}, api, tmp_path / str(i)
        )
        for i, at in enumerate(stamps)
    ]
    assert [one["created"] for one in made] == [True, False, False]
    assert len(sandbox.state.truth()["jobs"]) == 1


@pytest.mark.parametrize(
    ("search", "criteria", "expected"),
    [
        ({"sender": "A@Shop.example"}, {"sender": "a@shop.example."}, True),
        ({"domain": "b\u00fccher.example"}, {"domain": "xn--bcher-kva.example"}, True),
        ({"query": "AB12"}, {"query": "ab12"}, True),
        ({"sender": "a@shop.example", "exact_subject": "x"}, {"sender": "a@shop.example", "exact_subject": "X"}, False),
        ({"sender": "b@shop.example"}, {"sender": "a@shop.example"}, False),
        ({}, {"sender": "a@shop.example"}, False),
    ],
)
def test_has_criteria_compares_by_meaning(search: Any, criteria: Any, expected: bool) -> None:
    assert has_criteria(search, criteria) is expected
