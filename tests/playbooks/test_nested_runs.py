"""Sub-playbooks, for_each, pauses, sleeps and cancelling in the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import CheckRefused, NotFound, OutcomeUnknown, PackError, ParameterError, RateLimited
from playbooks.engine.changes import changes, resumable
from playbooks.engine.commands import (
    ActionFailed,
    ActionSucceeded,
    AwaitSignal,
    Cancelled,
    Event,
    Finished,
    Place,
    RunAction,
    Signalled,
    Sleep,
    Slept,
)
from playbooks.engine.engine import advance, begin, next_commands, resumed, run_key
from playbooks.engine.history import steps_reached
from playbooks.engine.state import ActionTraits, RunState, open_state
from playbooks.language.errors import PlaybookInvalid, StateRefused
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document, load

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
TRAITS = {
    "create": ActionTraits(effect="irreversible", keyed=True),
    "wait": ActionTraits(effect="write", resumable=True, repeatable=True),
    "read": ActionTraits(effect="read"),
    "tidy": ActionTraits(effect="write"),
}
Answer = Callable[[str, dict[str, Any]], dict[str, Any]]


def playbook_of(text: str, **parts: str) -> Playbook:
    """Return a playbook of YAML text without its first two lines, with parts by ID."""
    root = load(f"playbook: 1\nid: root\ntitle: Root\n{text}").document()
    documents = {name: load(f"playbook: 1\nid: {name}\ntitle: Part\n{part}").document() for name, part in parts.items()}
    return from_document({**root, "parts": documents} if documents else root)


def start(playbook: Playbook, **inputs: Any) -> RunState:
    return begin(playbook, inputs, run_id="r", now=NOW, directory="/d", traits=TRAITS)


class Driver:
    """Carry out every command, the first one first, with a clock that jumps. Each state passes through JSON."""

    def __init__(self, playbook: Playbook, answer: Answer, signals: dict[str, list[Any]] | None = None) -> None:
        self.playbook = playbook
        self.answer = answer
        self.signals = signals or {}
        self.now = NOW
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def run(self, state: RunState, most: int = 500) -> tuple[RunState, Finished]:
        for _ in range(most):
            state = open_state(self.playbook, json.loads(json.dumps(state.document())))
            commands = next_commands(self.playbook, state)
            end = commands.get(())
            if isinstance(end, Finished):
                return state, end
            place, event = self._event(commands)
            state = advance(self.playbook, state, event, now=self.now, place=place)
        raise AssertionError("the run does not end")

    def _event(self, commands: dict[Place, Any]) -> tuple[Place, Event]:
        for place, command in commands.items():
            if isinstance(command, RunAction):
                self.calls.append(("/".join((*place, command.step_id)), command.action, command.params))
                try:
                    return place, ActionSucceeded(self.answer(command.action, command.params))
                except PackError as error:
                    return place, ActionFailed.of(error)
            if isinstance(command, AwaitSignal) and self.signals.get(command.name):
                return place, Signalled(self.signals[command.name].pop(0))
        place, first = min(commands.items(), key=lambda item: str(item[1].until))
        self.now = datetime.fromisoformat(first.until)
        return place, Slept()


def echo(action: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"action": action, **params}


CHILD = """\
inputs: {n: {type: integer, description: A number.}}
steps:
  - {id: act, action: create, with: {n: "{{ inputs.n }}"}}
  - {check: "{{ inputs.n < 9 }}", otherwise: "{{ inputs.n }} is too many.", outcome: incomplete}
outputs: {n: "{{ steps.act.n }}", where: "{{ run.directory }}"}
"""


def test_the_outputs_of_a_sub_playbook_are_the_result_of_its_step() -> None:
    playbook = playbook_of('steps: [{id: job, playbook: child, with: {n: 3}}]\noutputs: "{{ steps.job }}"', child=CHILD)
    driver = Driver(playbook, echo)
    _, end = driver.run(start(playbook))
    assert (end.status, end.outputs) == ("completed", {"n": 3, "where": "/d"})
    assert driver.calls == [("job/act", "create", {"n": 3})]


def test_a_run_ends_as_its_sub_playbook_with_its_outputs_and_its_changes() -> None:
    playbook = playbook_of('steps: [{id: job, playbook: child, with: {n: 9}}]\noutputs: "{{ steps.job }}"', child=CHILD)
    state, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.exit_code, end.message) == ("incomplete", 8, "9 is too many.")
    assert end.outputs == {"n": 9, "where": "/d"}
    assert [change.step for change in changes(playbook, state)] == ["job/act"]
    assert end.error is not None
    assert end.error["changes"] == [{"step": "job/act", "action": "create", "applied": "yes", "job_id": None}]


def test_outputs_of_a_sub_playbook_that_was_not_reached_are_null() -> None:
    steps = 'steps: [{check: false, otherwise: "No."}, {id: job, playbook: child, with: {n: 1}}]'
    text = f'{steps}\noutputs: "{{{{ steps.job }}}}"'
    playbook = playbook_of(text, child=CHILD)
    _, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.outputs) == ("refused", {"n": None, "where": None})


def test_a_handler_continues_after_a_sub_playbook_that_did_not_complete() -> None:
    text = """\
steps:
  - {id: job, playbook: child, with: {n: 9}, on_error: [{type: RunIncomplete, do: continue}]}
  - {id: after, action: read}
outputs: {seen: "{{ errors.job.message }}"}
"""
    playbook = playbook_of(text, child=CHILD)
    state, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.outputs) == ("completed", {"seen": "9 is too many."})
    assert [change.step for change in changes(playbook, state)] == ["job/act"]


def test_a_refusal_of_a_sub_playbook_after_a_change_of_its_parent_exits_7() -> None:
    refusing = "steps: [{check: false, otherwise: 'No.'}]"
    playbook = playbook_of("steps: [{id: one, action: tidy}, {id: two, playbook: child}]", child=refusing)
    _, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.exit_code) == ("refused", 7)
    assert end.error is not None
    assert (end.error["type"], end.error["applied"]) == (CheckRefused.__name__, "yes")


EACH = 'steps: [{id: each, playbook: child, for_each: [1, 2, 9, 4], at_most: 2, with: {n: "{{ item }}"}%s}]\n'


def test_for_each_runs_at_most_so_many_at_a_time_in_the_order_of_the_items() -> None:
    playbook = playbook_of(EACH.replace("9", "3") % "" + 'outputs: {runs: "{{ steps.each.runs }}"}', child=CHILD)
    state = start(playbook)
    assert list(next_commands(playbook, state)) == [("each[0]",), ("each[1]",)]
    state = advance(playbook, state, ActionSucceeded({"n": 2}), now=NOW, place=("each[1]",))
    assert list(next_commands(playbook, state)) == [("each[0]",), ("each[2]",)]
    _, end = Driver(playbook, echo).run(state)
    runs = end.outputs["runs"]
    assert [run["outputs"]["n"] for run in runs] == [1, 2, 3, 4]
    assert [run["outputs"]["where"] for run in runs] == ["/d/each-1", "/d/each-2", "/d/each-3", "/d/each-4"]


def test_after_a_failure_the_runs_that_began_end_and_no_others_begin() -> None:
    playbook = playbook_of(EACH % "", child=CHILD)
    driver = Driver(playbook, echo)
    _, end = driver.run(start(playbook))
    assert (end.status, end.message) == ("incomplete", "9 is too many.")
    assert [path for path, _, _ in driver.calls] == ["each[0]/act", "each[1]/act", "each[2]/act", "each[3]/act"]
    one_at_a_time = Driver(playbook_of((EACH % "").replace("at_most: 2", "at_most: 1"), child=CHILD), echo)
    one_at_a_time.run(start(one_at_a_time.playbook))
    assert [params["n"] for _, _, params in one_at_a_time.calls] == [1, 2, 9]


def test_a_handler_lets_every_item_run_and_reports_each() -> None:
    text = EACH % ", on_error: [{type: '*', do: continue}]" + 'outputs: {runs: "{{ steps.each.runs }}"}'
    _, end = Driver(playbook_of(text, child=CHILD), echo).run(start(playbook_of(text, child=CHILD)))
    assert [run["status"] for run in end.outputs["runs"]] == ["completed", "completed", "incomplete", "completed"]
    assert end.outputs["runs"][2]["message"] == "9 is too many."


def test_for_each_of_no_items_has_no_runs() -> None:
    playbook = playbook_of(
        (EACH % "").replace("[1, 2, 9, 4]", "[]") + 'outputs: {n: "{{ steps.each.runs }}"}', child=CHILD
    )
    _, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.outputs) == ("completed", {"n": []})


def test_invalid_inputs_of_a_sub_playbook_end_the_run() -> None:
    playbook = playbook_of("steps: [{id: job, playbook: child, with: {n: x}}]", child=CHILD)
    _, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.exit_code) == ("failed", 2)
    assert end.error is not None
    assert end.error["type"] == ParameterError.__name__


PAUSE = """\
steps:
  - id: yes
    pause: approval
    accepts: {type: object, required: [by]}
    count: 2
    about: {plan: 7}
    within: 3600
    otherwise: Nobody approved in time.
  - {id: act, action: create, with: {by: "{{ steps.yes.values | map(attribute='by') | list }}"}}
outputs: {by: "{{ steps.act.by }}"}
"""


def test_a_pause_waits_for_its_number_of_signals() -> None:
    playbook = playbook_of(PAUSE)
    state = start(playbook)
    (command,) = next_commands(playbook, state).values()
    assert isinstance(command, AwaitSignal)
    assert (command.name, command.count, command.about, command.until) == (
        "approval",
        2,
        {"plan": 7},
        "2026-11-20T17:00:00Z",
    )
    state = advance(playbook, state, Signalled({"by": "a"}), now=NOW)
    (again,) = next_commands(playbook, state).values()
    assert isinstance(again, AwaitSignal)
    assert again.values == ({"by": "a"},)
    _, end = Driver(playbook, echo, {"approval": [{"by": "b"}]}).run(state)
    assert end.outputs == {"by": ["a", "b"]}


def test_a_pause_that_nobody_answers_ends_the_run() -> None:
    playbook = playbook_of(PAUSE)
    _, end = Driver(playbook, echo).run(start(playbook))
    assert (end.status, end.exit_code, end.message) == ("refused", 3, "Nobody approved in time.")


def test_a_signal_that_the_pause_does_not_accept_changes_nothing() -> None:
    playbook = playbook_of(PAUSE)
    state = start(playbook)
    with pytest.raises(ParameterError) as caught:
        advance(playbook, state, Signalled({"from": "a"}), now=NOW)
    assert caught.value.problems == [{"pointer": "/value/by", "message": "the key 'by' is missing"}]
    with pytest.raises(StateRefused, match="expected a signal, received ActionSucceeded"):
        advance(playbook, state, ActionSucceeded({}), now=NOW)


def test_a_sleep_step_waits() -> None:
    playbook = playbook_of('steps: [{sleep: 900}, {id: act, action: read}]\noutputs: {at: "{{ run.now }}"}')
    state = start(playbook)
    assert next_commands(playbook, state) == {(): Sleep(900, "sleep-1", "2026-11-20T16:15:00Z", "sleep")}
    _, end = Driver(playbook, echo).run(state)
    assert end.outputs == {"at": "2026-11-20T16:15:00Z"}


def test_a_resumable_action_is_continued_with_its_resume_object() -> None:
    playbook = playbook_of('steps: [{id: w, action: wait, with: {job: 1}}]\noutputs: {n: "{{ steps.w.n }}"}')
    answers: list[dict[str, Any]] = [
        {"done": False, "resume": {"k": 1}, "next_poll_seconds": 7},
        {"done": True, "n": 2, "resume": None},
    ]
    driver = Driver(playbook, lambda *_: answers.pop(0))
    _, end = driver.run(start(playbook))
    assert end.outputs == {"n": 2}
    assert [params for _, _, params in driver.calls] == [{"job": 1}, {"job": 1, "resume": {"k": 1}}]
    assert driver.now == NOW + timedelta(seconds=7)


def test_a_resumable_action_is_continued_for_a_day_at_most() -> None:
    playbook = playbook_of("steps: [{id: w, action: wait}]")
    driver = Driver(playbook, lambda *_: {"done": False, "resume": {}, "next_poll_seconds": 3600})
    _, end = driver.run(start(playbook))
    assert end.error is not None
    assert (end.error["type"], len(driver.calls)) == ("RepeatLimitReached", 25)


def failing(error: PackError, *, times: int) -> Answer:
    left = [error] * times

    def answer(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if left:
            raise left.pop()
        return echo(action, params)

    return answer


@pytest.mark.parametrize(
    ("error", "action", "params", "calls"),
    [
        (RateLimited("slow down"), "read", "{}", 4),
        (RateLimited("slow down"), "create", "{}", 4),
        (NotFound("gone"), "read", "{}", 1),
        (OutcomeUnknown("lost"), "create", "{}", 1),
        (OutcomeUnknown("lost"), "create", "{idempotency_key: k}", 31),
        (OutcomeUnknown("lost"), "wait", "{}", 31),
        (OutcomeUnknown("lost"), "tidy", "{}", 1),
    ],
)
def test_an_error_is_repeated_if_that_is_safe(error: PackError, action: str, params: str, calls: int) -> None:
    playbook = playbook_of(f"steps: [{{id: a, action: {action}, with: {params}}}]")
    driver = Driver(playbook, failing(error, times=100))
    state, end = driver.run(start(playbook))
    assert (end.status, len(driver.calls)) == ("failed", calls)
    assert resumable(playbook, state)


def test_a_retry_waits_as_long_as_the_error_says() -> None:
    playbook = playbook_of("steps: [{id: a, action: read}]")
    driver = Driver(playbook, failing(RateLimited("slow", retry_after_seconds=77), times=1))
    driver.run(start(playbook))
    assert driver.now == NOW + timedelta(seconds=77)


def test_after_a_change_the_run_tries_longer() -> None:
    playbook = playbook_of("steps: [{id: a, action: tidy}, {id: b, action: read}]")

    def answer(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "read":
            raise RateLimited("slow down")
        return {}

    driver = Driver(playbook, answer)
    driver.run(start(playbook))
    assert len(driver.calls) == 1 + 31


def test_a_run_with_a_key_has_a_default_idempotency_key() -> None:
    head = 'key: "{{ inputs.alert.id }}"\ninputs: {alert: {type: object, description: d}}\n'
    steps = (
        "steps: [{id: a, action: create}, {id: b, action: create, with: {idempotency_key: own}}, {id: c, action: tidy}]"
    )
    playbook = playbook_of(head + steps)
    assert run_key(playbook, {"alert": {"id": "A-1"}}) == "A-1"
    driver = Driver(playbook, echo)
    driver.run(start(playbook, alert={"id": "A-1"}))
    assert [params.get("idempotency_key") for _, _, params in driver.calls] == ["root A-1 a", "own", None]
    for bad in ({"id": " "}, {"id": 7}, {"id": "x" * 600}, {}):
        with pytest.raises(ParameterError):
            run_key(playbook, {"alert": bad})


def test_cancelling_ends_the_run_and_names_its_changes() -> None:
    text = "steps: [{id: one, action: tidy}, {id: each, playbook: child, for_each: [1, 2], at_most: 2, with: {n: 1}}]"
    playbook = playbook_of(text, child=CHILD)
    state = advance(playbook, start(playbook), ActionSucceeded({}), now=NOW)
    assert len(next_commands(playbook, state)) == 2
    before = state.document()
    after = advance(playbook, state, Cancelled("stopped by a person"), now=NOW)
    assert state.document() == before
    end = next_commands(playbook, after)[()]
    assert isinstance(end, Finished)
    assert (end.status, end.exit_code, end.message) == ("cancelled", 7, "stopped by a person")
    assert end.error is not None
    assert [change["step"] for change in end.error["changes"]] == ["one"]
    open_state(playbook, after.document())
    with pytest.raises(StateRefused, match="already ended"):
        advance(playbook, after, Cancelled(), now=NOW)


def test_cancelling_before_any_change_exits_3() -> None:
    playbook = playbook_of(PAUSE)
    end = next_commands(playbook, advance(playbook, start(playbook), Cancelled(), now=NOW))[()]
    assert isinstance(end, Finished)
    assert (end.status, end.exit_code) == ("cancelled", 3)


def test_a_failed_action_of_a_sub_playbook_is_repeated_on_resume() -> None:
    playbook = playbook_of('steps: [{id: job, playbook: child, with: {n: 3}}]\noutputs: "{{ steps.job }}"', child=CHILD)
    state, end = Driver(playbook, failing(NotFound("gone"), times=1)).run(start(playbook))
    assert (end.status, resumable(playbook, state)) == ("failed", True)
    again = Driver(playbook, echo)
    _, end = again.run(resumed(playbook, state, now=NOW))
    assert (end.status, end.outputs["n"], len(again.calls)) == ("completed", 3, 1)


def test_on_resume_a_sub_playbook_that_failed_without_an_action_keeps_its_end() -> None:
    part = """\
inputs: {n: {type: integer, description: d}}
steps: [{id: act, action: create, with: {n: "{{ inputs.n }}"}}]
outputs: {n: "{{ 1 / inputs.n }}"}
"""
    playbook = playbook_of(
        'steps: [{id: jobs, playbook: child, for_each: "{{ [1, 0] }}", at_most: 2, with: {n: "{{ item }}"}}]',
        child=part,
    )
    state, end = Driver(playbook, failing(NotFound("gone"), times=1)).run(start(playbook))
    assert (end.status, resumable(playbook, state)) == ("failed", True)
    again = Driver(playbook, echo)
    _, end = again.run(resumed(playbook, state, now=NOW))
    assert (end.status, (end.error or {})["type"], len(again.calls)) == ("failed", "ExpressionFailed", 1)


def test_an_interrupted_write_of_a_sub_playbook_counts_as_a_possible_change() -> None:
    playbook = playbook_of("steps: [{id: job, playbook: child, with: {n: 3}}]", child=CHILD)
    state = resumed(playbook, start(playbook), now=NOW, interrupted=[("job",)])
    found = changes(playbook, state)
    assert [(change.step, change.applied) for change in found] == [("job/act", "unknown")]


@pytest.mark.parametrize("place", [("job",), ("each[4]",), ("each[0]", "deeper"), ("nonsense",)])
def test_an_event_of_an_unknown_place_is_refused(place: Place) -> None:
    playbook = playbook_of(EACH % "", child=CHILD)
    with pytest.raises(StateRefused):
        advance(playbook, start(playbook), ActionSucceeded({}), now=NOW, place=place)


def test_a_damaged_state_of_a_sub_playbook_is_refused() -> None:
    playbook = playbook_of(EACH % "", child=CHILD)
    document = start(playbook).document()
    changed: list[dict[str, Any]] = [
        {"children": []},
        {"items": []},
        {"children": [{**document["children"][0], "playbook": document["playbook"]}]},
        {"children": [{**document["children"][0], "inputs": {}}]},
    ]
    for change in changed:
        with pytest.raises(StateRefused):
            open_state(playbook, {**document, **change})


def test_a_playbook_without_its_parts_does_not_start() -> None:
    playbook = playbook_of("steps: [{id: job, playbook: child}]")
    with pytest.raises(PlaybookInvalid) as caught:
        start(playbook)
    assert caught.value.problems == [
        {"pointer": "/steps/0/playbook", "message": "the playbook 'child' is not in `parts`"}
    ]


AT_END = """\
inputs: {n: {type: integer, description: d}}
steps:
  - {id: act, action: create}
  - {check: "{{ inputs.n < 5 }}", otherwise: "{{ inputs.n }} is too many.", outcome: incomplete}
at_end:
  - {action: read, when: "{{ end.status == 'completed' }}", with: {text: all is well}}
  - {action: read, when: "{{ end.event == 'partial' }}", with: {text: "{{ steps.act.absent }}"}}
  - {action: read, with: {text: "{{ end.outputs.n }}"}}
outputs: {n: "{{ inputs.n }}"}
"""


@pytest.mark.parametrize(("n", "status", "texts"), [(1, "completed", ["all is well", 1]), (9, "incomplete", [9])])
def test_actions_at_the_end_run_whatever_the_end_is(n: int, status: str, texts: list[Any]) -> None:
    """An expression at the end that fails, as that of the second action here, leaves out its action only."""
    playbook = playbook_of(AT_END)
    driver = Driver(playbook, echo)
    state, end = driver.run(start(playbook, n=n))
    assert (end.status, end.outputs) == (status, {"n": n})
    assert [params["text"] for _, action, params in driver.calls if action == "read"] == texts
    assert state.steps["at-end-2"].status == ("skipped" if n == 1 else "failed")


def test_a_failed_action_at_the_end_changes_nothing() -> None:
    playbook = playbook_of(AT_END)

    def answer(action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "read":
            raise RateLimited("slow down")
        return params

    driver = Driver(playbook, answer)
    _, end = driver.run(start(playbook, n=1))
    assert (end.status, end.error, len(driver.calls)) == ("completed", None, 3)


def test_actions_at_the_end_run_again_after_a_resume() -> None:
    playbook = playbook_of(AT_END)
    state, end = Driver(playbook, failing(NotFound("gone"), times=1)).run(start(playbook, n=1))
    assert (end.status, resumable(playbook, state)) == ("failed", True)
    again = Driver(playbook, echo)
    _, end = again.run(resumed(playbook, state, now=NOW))
    assert end.status == "completed"
    assert [action for _, action, _ in again.calls] == ["create", "read", "read"]


def test_a_cancelled_run_has_no_actions_at_the_end() -> None:
    playbook = playbook_of(AT_END)
    state = advance(playbook, start(playbook, n=1), ActionSucceeded({}), now=NOW)
    assert isinstance(next_commands(playbook, state)[()], RunAction)
    end = next_commands(playbook, advance(playbook, state, Cancelled(), now=NOW))[()]
    assert isinstance(end, Finished)
    assert end.status == "completed"


def test_the_actions_at_the_end_of_a_sub_playbook_belong_to_its_steps() -> None:
    playbook = playbook_of(
        'steps: [{id: job, playbook: child, with: {n: 1}}]\noutputs: "{{ steps.job }}"', child=AT_END
    )
    state, reached = start(playbook), []
    while not isinstance(next_commands(playbook, state).get(()), Finished):
        [place] = next_commands(playbook, state)
        state = advance(playbook, state, ActionSucceeded({}), now=NOW, place=place)
        reached.append([at.path for at in steps_reached(playbook, state)])
    assert reached[-1] == ["job", "job/act", "job/check-2", "job/at-end-1", "job/at-end-2", "job/at-end-3"]
    assert "job/at-end-3" in reached[-2]
