"""The engine is pure: it is deterministic, changes no argument, and refuses states it did not write."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import PackError, ParameterError, RateLimited
from core.surrogates import replace_surrogates_in
from playbooks.engine import walk
from playbooks.engine.commands import (
    ActionFailed,
    ActionSucceeded,
    Command,
    Event,
    Finished,
    RunAction,
    Sleep,
    Slept,
)
from playbooks.engine.engine import advance, begin, next_commands
from playbooks.engine.state import RunState, open_state
from playbooks.language.errors import PlaybookInvalid, StateRefused
from playbooks.language.format import Playbook
from playbooks.language.loading import load

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
Build = Callable[..., Any]


def one_step(step: str, **more: str) -> Playbook:
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    return load(f"playbook: 1\nid: one\ntitle: One step\nsteps: [{step}]\n{extra}")


def next_command(playbook: Playbook, state: RunState) -> Command:
    """Return the only next command."""
    (command,) = next_commands(playbook, state).values()
    return command


def drive(
    playbook: Playbook, state: RunState, answer: Callable[[str, dict[str, Any]], Any]
) -> tuple[Finished, list[dict[str, Any]]]:
    """Drive a run to its end through JSON and check at every command that the engine is pure."""
    states = [state.document()]
    for seconds in range(10_000):
        original = state
        state = open_state(playbook, json.loads(json.dumps(state.document(), allow_nan=False)))
        assert state == original
        command = next_command(playbook, state)
        assert next_command(playbook, state) == command
        if isinstance(command, Finished):
            assert state == original
            return command, states
        event: Event = Slept()
        if isinstance(command, RunAction):
            params = copy.deepcopy(command.params)
            try:
                event = ActionSucceeded(answer(command.action, command.params))
            except PackError as error:
                event = ActionFailed.of(error)
            assert next_command(playbook, state) == RunAction(command.step_id, command.action, params, "/d")
        moment = NOW + timedelta(seconds=seconds)
        after = advance(playbook, state, event, now=moment)
        assert advance(playbook, state, event, now=moment) == after
        assert state == original
        state = after
        states.append(state.document())
    raise AssertionError("the run does not end")


def test_a_state_is_plain_json_at_every_command(purge: Playbook, alert: dict[str, Any], remote: Build) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    finished, states = drive(purge, state, remote())
    assert finished.status == "completed"
    assert len(states) == 8


def test_the_state_holds_only_the_kept_part_of_a_result(purge: Playbook, alert: dict[str, Any], remote: Build) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    _, states = drive(purge, state, remote())
    assert states[-1]["steps"]["find"]["result"] == {"count": 3}


hostile_text = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "{{ 7*7 }}",
            "{{ ''.__class__.__mro__ }}",
            "{% for x in range(9) %}x{% endfor %}",
            "{# gone #}",
            "123",
            "None",
            "[1, 2]",
            "{'a': 1}",
            "${7*7}",
            "\x1b[2J",
            "=HYPERLINK(1)",
            "\ud800",
            "a\r\nb\n",
        ]
    ),
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        hostile_text,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(hostile_text, inner, max_size=3)),
    max_leaves=8,
)

ECHO = """\
playbook: 1
id: echo
title: Carries data through
inputs:
  data: {type: [string, number, boolean, object, array, "null"], description: Anything.}
  text: {type: string, description: Any text.}
steps:
  - {id: first, action: echo, with: {value: "{{ inputs.data }}", mixed: "<{{ inputs.text }}>"}}
  - {id: copy, set: {value: "{{ steps.first.value }}", list: ["{{ steps.first.mixed }}"]}}
  - {id: second, action: echo, with: {value: "{{ steps['copy'].value }}", mixed: "{{ steps.copy.list[0] }}"}}
  - {id: stop, finish: true, message: "{{ inputs.text }}"}
outputs: {value: "{{ steps.second.value }}", mixed: "{{ steps.second.mixed }}", whole: "{{ steps.second }}"}
"""


@settings(deadline=None)
@given(data=json_values, text=hostile_text)
def test_data_is_never_read_as_a_template_or_a_literal(data: Any, text: str) -> None:
    playbook = load(ECHO)
    state = begin(playbook, {"data": data, "text": text}, run_id="r", now=NOW, directory="/d")
    # A lone surrogate becomes U+FFFD.
    data, text = replace_surrogates_in(data), replace_surrogates_in(text)
    calls: list[dict[str, Any]] = []

    def echo(action: str, params: dict[str, Any]) -> dict[str, Any]:
        calls.append(copy.deepcopy(params))
        return copy.deepcopy(params)

    finished, _ = drive(playbook, state, echo)
    assert finished.error is None
    assert calls == [{"value": data, "mixed": f"<{text}>"}] * 2
    assert json.dumps(finished.outputs["value"]) == json.dumps(data)
    assert finished.outputs["mixed"] == f"<{text}>"
    assert finished.message == text


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    result=st.dictionaries(st.sampled_from(["count", "job_id", "done", "progress", "next_poll_seconds"]), json_values)
)
def test_any_result_of_an_action_leads_to_an_end(
    purge: Playbook, alert: dict[str, Any], result: dict[str, Any]
) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    finished, _ = drive(purge, state, lambda *_: result)
    assert set(finished.outputs) == {"discovered", "rows", "subject"}
    assert (finished.exit_code == 0) == (finished.status == "completed")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_state_is_refused_or_runs_to_an_end(
    purge: Playbook, alert: dict[str, Any], remote: Build, data: st.DataObject
) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    _, states = drive(purge, state, remote())
    damaged = copy.deepcopy(data.draw(st.sampled_from(states)))
    key = data.draw(st.sampled_from(sorted(damaged)))
    if data.draw(st.booleans()):
        del damaged[key]
    else:
        damaged[key] = data.draw(json_values)
    try:
        drive(purge, open_state(purge, damaged), remote())
    except StateRefused as error:
        assert error.exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": 3}, "damaged, or of another version"),
        ({"extra": 1}, "damaged, or of another version"),
        ({"position": 0}, "not reached yet"),
        ({"position": 7}, "no record of steps"),
        ({"pending": None}, "no next command"),
        ({"inputs": {}}, "its inputs are not those of the playbook"),
        ({"run_id": float("nan")}, "is not a JSON number"),
        (
            {"pending": {"kind": "run", "step_id": "find", "action": "delete-job", "params": {}}},
            "does not belong to its current step",
        ),
        (
            {"pending": {"kind": "run", "step_id": "create", "action": "create-move-job", "params": {}}},
            "does not belong to its current step",
        ),
    ],
)
def test_an_inconsistent_state_is_refused(
    purge: Playbook, alert: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    with pytest.raises(StateRefused, match=message):
        open_state(purge, {**state.document(), **change})


def test_a_state_of_another_playbook_version_is_refused(
    purge: Playbook, purge_text: str, alert: dict[str, Any]
) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    other = load(purge_text.replace("default: 100", "default: 200"))
    with pytest.raises(StateRefused, match="the run began with playbook 'purge'"):
        open_state(other, state.document())


def test_comments_and_key_order_do_not_change_the_playbook_version(
    purge: Playbook, purge_text: str, alert: dict[str, Any]
) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    other = load("# a comment\n" + purge_text.replace("playbook: 1\nid: purge\n", "id: purge\nplaybook: 1\n"))
    assert isinstance(next_command(other, open_state(other, state.document())), RunAction)


@pytest.mark.parametrize("event", [Slept(), "something else"])
def test_an_unexpected_event_is_refused(purge: Playbook, alert: dict[str, Any], event: Any) -> None:
    state = begin(purge, {"alert": alert}, run_id="r", now=NOW, directory="/d")
    with pytest.raises(StateRefused, match="expected the result of an action, received"):
        advance(purge, state, event, now=NOW)


def test_an_ended_run_accepts_no_event() -> None:
    playbook = one_step("{id: a, finish: true, message: done}")
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    with pytest.raises(StateRefused, match="expected no event, received ActionSucceeded"):
        advance(playbook, state, ActionSucceeded({}), now=NOW)


def test_a_failed_expression_names_its_place_and_the_earlier_steps() -> None:
    playbook = load(
        "playbook: 1\nid: p\ntitle: t\ninputs: {a: {type: object, description: d}}\nsteps:\n"
        "  - {id: one, action: x}\n"
        "  - {id: two, action: y, with: {deep: [{k: '{{ inputs.a.From | domain }}'}]},\n"
        "     on_error: [{type: '*', do: continue}]}\n"
    )
    state = begin(playbook, {"a": {"From": "no\x1baddress"}}, run_id="r", now=NOW, directory="/d")
    finished, _ = drive(playbook, state, lambda *_: {})
    assert (finished.status, finished.exit_code) == ("failed", 2)
    assert finished.error is not None
    assert finished.error["type"] == "ExpressionFailed"
    assert finished.error["applied"] == "no"
    assert finished.error["message"] == (
        "playbook 'p', step 'two', /steps/1/with/deep/0/k: the value is not an email address: 'no\\x1baddress' "
        "in '{{ inputs.a.From | domain }}'. Evaluating it changed nothing. Earlier steps: one."
    )


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("{id: a, when: false, action: x}", "it was skipped, because its condition `when` is false"),
        ("{id: a, action: x, on_error: [{type: '*', do: continue}]}", "it failed"),
        ("{id: a, check: true, otherwise: no}", "only action, set, pause and playbook steps have results"),
    ],
)
def test_reading_a_step_without_a_result_is_an_error_with_a_reason(first: str, reason: str) -> None:
    playbook = one_step(f"{first}, {{id: b, set: {{v: '{{{{ steps.a.x }}}}'}}}}")
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")

    def raise_rate_limited(action: str, params: dict[str, Any]) -> Any:
        raise RateLimited("no")

    finished, _ = drive(playbook, state, raise_rate_limited)
    assert finished.error is not None
    assert f"step 'a' has no result: {reason}" in finished.error["message"]


@pytest.mark.parametrize("guard", ["'a' in steps", "steps.a is defined"])
def test_a_guard_prevents_reading_a_missing_result(guard: str) -> None:
    playbook = one_step(
        f"{{id: a, when: false, action: x}}, {{id: b, set: {{v: \"{{{{ steps.a.x if {guard} else 'none' }}}}\"}}}}",
        outputs='{v: "{{ steps.b.v }}"}',
    )
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    finished = next_command(playbook, state)
    assert isinstance(finished, Finished)
    assert finished.outputs == {"v": "none"}


def test_an_output_without_a_value_at_the_end_is_an_error() -> None:
    playbook = one_step("{id: a, when: false, action: x}", outputs='{v: "{{ steps.a.x }}"}')
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    finished = next_command(playbook, state)
    assert isinstance(finished, Finished)
    assert (finished.status, finished.outputs) == ("failed", {"v": None})


def test_the_errors_of_continued_steps_can_be_read() -> None:
    playbook = one_step(
        "{id: a, action: x, on_error: [{type: [NotFound, RateLimited], do: continue}]}",
        outputs='{v: "{{ errors.a.type }}"}',
    )
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")

    def raise_rate_limited(action: str, params: dict[str, Any]) -> Any:
        raise RateLimited("no")

    assert drive(playbook, state, raise_rate_limited)[0].outputs == {"v": "RateLimited"}


def test_the_first_matching_handler_is_used() -> None:
    playbook = one_step(
        "{id: a, action: x, on_error: ["
        "{type: NotFound, do: continue}, "
        "{type: RateLimited, when: '{{ error.retry_after_seconds is none }}', do: continue}, "
        "{type: '*', retry: {times: 1, after: 3}}]}"
    )
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    failed = ActionFailed.of(RateLimited("no", retry_after_seconds=9))
    state = advance(playbook, state, failed, now=NOW)
    assert next_command(playbook, state) == Sleep(3, "a", "2026-11-20T16:00:03Z", "retry")
    state = advance(playbook, advance(playbook, state, Slept(), now=NOW), failed, now=NOW)
    finished = next_command(playbook, state)
    assert isinstance(finished, Finished)
    assert finished.status == "failed"


def test_an_invalid_sleep_fails_the_run() -> None:
    for value in ("-1", "86401", "'soon'", "none", "true"):
        step = f'{{id: a, action: x, repeat: {{until: false, sleep: "{{{{ {value} }}}}", limit: 3}}}}'
        playbook = one_step(step)
        state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
        finished, _ = drive(playbook, state, lambda *_: {})
        assert finished.error is not None
        assert "must be a number of seconds from 0 to 86400" in finished.error["message"]


def test_the_number_of_commands_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_COMMANDS", 7)
    playbook = one_step(
        "{id: a, action: x, repeat: {until: false, sleep: 1, limit: 5000}, on_error: [{type: '*', do: continue}]}"
    )
    state = begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    finished, states = drive(playbook, state, lambda *_: {})
    assert finished.error is not None
    assert (finished.error["type"], finished.exit_code, len(states)) == ("RepeatLimitReached", 6, 8)


def test_a_playbook_with_invalid_expressions_does_not_start() -> None:
    playbook = one_step("{id: a, action: x, with: {v: '{{ inpts.x }}', w: '{{ 1 | nope }}'}}")
    with pytest.raises(PlaybookInvalid) as caught:
        begin(playbook, {}, run_id="r", now=NOW, directory="/d")
    assert [p["pointer"] for p in caught.value.problems] == ["/steps/0/with/v", "/steps/0/with/w"]


def test_every_problem_of_the_inputs_has_a_pointer(purge: Playbook) -> None:
    with pytest.raises(ParameterError) as caught:
        begin(purge, {"alert": {"From": 3}, "destinatio": 1, "max_messages": True}, run_id="r", now=NOW, directory="/d")
    assert {p["pointer"]: p["message"] for p in caught.value.problems} == {
        "/destinatio": "unknown input 'destinatio'; did you mean 'destination'?",
        "/alert/AlertID": "the key 'AlertID' is missing",
        "/alert/Timestamp": "the key 'Timestamp' is missing",
        "/alert/From": "must be of type string, not integer 3",
        "/max_messages": "must be of type integer, not boolean true",
    }


def test_a_time_without_a_zone_is_a_value_error(purge: Playbook, alert: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        begin(purge, {"alert": alert}, run_id="r", now=datetime(2026, 1, 1), directory="/d")  # noqa: DTZ001 -- the point
