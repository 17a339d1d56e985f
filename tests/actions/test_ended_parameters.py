"""Parameters that the API removes: accepted with a warning before the date, then refused, and in no schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actions import create_move_job, preview_job, search_messages
from actions.contract.catalog import available
from connectors.email_security import EmailSecurity
from connectors.objects.end_of_life import ACTION_LOG, EXPECTED_DISPOSITION, EndedParameter, without_ended
from core.errors import ParameterError
from core.json_values import below
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN as PLANTED

CAMPAIGN = {**PLANTED, "start": "2026-10-25T00:00:00Z"}
LAST = timedelta(microseconds=1)
MOVE = {"destination": "JunkEmail", "wait_follows": True}


def api_at(api: EmailSecurity, now: datetime) -> EmailSecurity:
    clock = FakeClock()
    clock.now = lambda: now  # type: ignore[method-assign]
    api.clock = clock
    return api


@pytest.mark.parametrize(("ended", "params"), [
    (EXPECTED_DISPOSITION, {"search_params": CAMPAIGN, "expected_disposition": "SPAM"}),
    (ACTION_LOG, {"search_params": {**CAMPAIGN, "action_log": True}}),
    (ACTION_LOG, {"search_params": {**CAMPAIGN, "action_log": False}}),
])  # fmt: skip
@pytest.mark.parametrize(("run", "more"), [
    (create_move_job.run, MOVE), (preview_job.run, {"action": "MOVE", "destination": "JunkEmail"}),
])  # fmt: skip
def test_an_ended_parameter_warns_before_its_date_and_is_refused_from_then_on(
    sandbox: RunningSandbox, api: EmailSecurity, ended: EndedParameter, params: Any, run: Any, more: Any
) -> None:
    before = run({**params, **more}, api_at(api, ended.ends - LAST))
    assert (
        sum(
            f"{'.'.join(ended.path)} is deprecated and was not sent (removed on {ended.ends:%Y-%m-%d})" in warning
            for warning in before["warnings"]
        )
        == 1
    )
    effects = sandbox.state.truth()["effects"]
    with pytest.raises(ParameterError, match=f"was removed on {ended.ends:%Y-%m-%d}") as caught:
        run({**params, **more}, api_at(api, ended.ends))
    assert (caught.value.exit_code, caught.value.applied) == (2, "no")
    assert [problem["pointer"] for problem in caught.value.problems] == [below("", *ended.path)]
    assert sandbox.state.truth()["effects"] == effects
    assert all("action_log" not in job["search_params"] for job in sandbox.state.truth()["jobs"])


def test_a_search_refuses_an_ended_parameter(api: EmailSecurity) -> None:
    with pytest.raises(ParameterError, match="action_log"):
        search_messages.run({"search_params": {**CAMPAIGN, "action_log": True}}, api_at(api, ACTION_LOG.ends))


@pytest.mark.parametrize(
    "params", [{"search_params": {**CAMPAIGN, "action_log": None}}, {"expected_disposition": None}]
)
def test_null_counts_as_not_set(api: EmailSecurity, params: Any) -> None:
    call = {"search_params": CAMPAIGN, **MOVE, **params}
    result = create_move_job.run(call, api_at(api, datetime(2027, 1, 1, tzinfo=UTC)))
    assert not any("ends on" in warning for warning in result["warnings"])


@pytest.mark.parametrize("search_params", [None, 1, "action_log", ["action_log"], {"action_log": True}])
def test_the_callers_parameters_are_not_changed(search_params: Any) -> None:
    params_before = {"search_params": search_params}
    rest, ended = without_ended(params_before, (ACTION_LOG, EXPECTED_DISPOSITION))
    assert params_before == {"search_params": search_params}
    if isinstance(search_params, dict):
        assert (rest, ended) == ({"search_params": {}}, [ACTION_LOG])
    else:
        assert (rest, ended) == (params_before, [])


def test_an_ended_parameter_of_another_action_is_unknown(api: EmailSecurity) -> None:
    with pytest.raises(ParameterError, match="/expected_disposition"):
        search_messages.run({"search_params": CAMPAIGN, "expected_disposition": "SPAM"}, api)


def test_no_schema_names_an_ended_parameter() -> None:
    schemas = json.dumps([action.params.model_json_schema() for action in available().values()])
    assert "expected_disposition" not in schemas
    assert '"action_log"' not in schemas
