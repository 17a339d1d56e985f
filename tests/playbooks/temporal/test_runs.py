"""Runs as workflows, with fake actions, in the sandbox that refuses what is not deterministic."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import ConnectionSettingsError, NotFound, OutcomeUnknown, PackError, ParameterError
from playbooks.drivers.temporal.client import Runs, run_id_of
from playbooks.drivers.temporal.connection import connect
from playbooks.drivers.temporal.messages import LARGEST_BYTES, Pace
from playbooks.engine.commands import AwaitSignal
from playbooks.engine.engine import next_commands
from playbooks.engine.state import ActionTraits
from playbooks.language.errors import RunEnded, RunNotFound, TemporalUnavailable
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document, load
from tests.playbooks.temporal.servers import MOST_EVENTS, ROOT, Fleet, wait_until

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
TRAITS = {
    "create": ActionTraits(effect="irreversible", keyed=True),
    "wait": ActionTraits(effect="write", resumable=True, repeatable=True),
    "read": ActionTraits(effect="read"),
    "tidy": ActionTraits(effect="write"),
}
HEAD = 'playbook: 1\nid: test\ntitle: Test\nkey: "{{ inputs.key }}"\ninputs: {key: {type: string, description: Key.}}\n'


def playbook_of(text: str, **parts: str) -> Playbook:
    """Return a playbook of its steps and outputs, with parts by ID."""
    documents = {name: load(f"playbook: 1\nid: {name}\ntitle: Part\n{part}").document() for name, part in parts.items()}
    return from_document({**load(HEAD + text).document(), **({"parts": documents} if documents else {})})


class FakeActions:
    """Counts the calls of each action. An answer is a result, an exception, or a function of the parameters."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((action, params))
        answer = self.answers.get(action, {})
        answer = answer(params) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    @property
    def counts(self) -> Counter[str]:
        return Counter(action for action, _ in self.calls)


def begin(fleet: Fleet, playbook: Playbook, key: str = "alert-1") -> str:
    """Start a run and return its ID."""
    run_id = f"{fleet.settings.task_queue}-{run_id_of(playbook, {'key': key}, '')}"
    started = fleet.runs.start(playbook, {"key": key}, run_id=run_id, traits=TRAITS, now=NOW)
    assert fleet.call(started)
    return run_id


def outcome(fleet: Fleet, run_id: str) -> dict[str, Any]:
    return fleet.call(fleet.runs.outcome(run_id))


TWO_STEPS = """\
steps:
  - {id: make, action: create, with: {size: 2}}
  - {id: look, action: read, with: {job: "{{ steps.make.job_id }}"}}
outputs: {rows: "{{ steps.look.rows }}"}
"""


def test_a_run_completes_with_its_outputs_and_is_listed(fleet: Fleet) -> None:
    actions = FakeActions(create={"job_id": "job-1"}, read={"rows": 3})
    with fleet.worker(actions):
        run_id = begin(fleet, playbook_of(TWO_STEPS))
        ended = outcome(fleet, run_id)
        assert (ended["status"], ended["exit_code"], ended["outputs"]) == ("completed", 0, {"rows": 3})
        assert actions.calls == [
            ("create", {"size": 2, "idempotency_key": "test alert-1 make"}),
            ("read", {"job": "job-1"}),
        ]
        wait_until(lambda: fleet.status(run_id) == "completed")
        listed = fleet.call(fleet.runs.find(run_id))
    assert (listed.key, listed.playbook_id, listed.started_at) == ("alert-1", "test", "2026-11-20T16:00:00Z")
    # The server knows the outcome, also without a worker.
    opened, state = fleet.call(fleet.runs.opened(run_id))
    assert opened == playbook_of(TWO_STEPS)
    assert state.steps["make"].result == {"job_id": "job-1"}


def test_fifty_starts_with_one_key_make_one_run(fleet: Fleet) -> None:
    actions = FakeActions(create={"job_id": "job-1"}, read={"rows": 3})
    playbook = playbook_of(TWO_STEPS)
    run_id = f"{fleet.settings.task_queue}-one"

    async def fifty() -> list[bool]:
        start = fleet.runs.start
        starts = [start(playbook, {"key": "k"}, run_id=run_id, traits=TRAITS, now=NOW) for _ in range(50)]
        return await asyncio.gather(*starts)

    with fleet.worker(actions):
        assert sum(fleet.call(fifty())) == 1
        assert outcome(fleet, run_id)["status"] == "completed"
        assert sum(fleet.call(fifty())) == 0, "a run that has completed is not started again"
    assert actions.counts == {"create": 1, "read": 1}


def test_a_failed_run_can_be_started_again_with_its_key(fleet: Fleet) -> None:
    actions = FakeActions(create=NotFound("no such mailbox"))
    playbook = playbook_of(TWO_STEPS)
    with fleet.worker(actions):
        run_id = begin(fleet, playbook)
        failed = outcome(fleet, run_id)
        actions.answers = {"create": {"job_id": "job-1"}, "read": {"rows": 0}}
        assert begin(fleet, playbook) == run_id
        assert outcome(fleet, run_id)["status"] == "completed"
    assert (failed["status"], failed["exit_code"], failed["error"]["type"]) == ("failed", 5, "NotFound")


@pytest.mark.parametrize("error", [NotFound("gone"), OutcomeUnknown("lost"), RuntimeError("a defect")])
def test_the_server_never_repeats_an_action_that_failed(fleet: Fleet, error: Exception) -> None:
    actions = FakeActions(tidy=error)
    with fleet.worker(actions):
        run_id = begin(fleet, playbook_of("steps: [{id: tidy, action: tidy}]"))
        ended = outcome(fleet, run_id)
    kind = type(error).__name__ if isinstance(error, PackError) else "InternalError"
    assert (ended["status"], ended["error"]["type"]) == ("failed", kind)
    assert actions.counts == {"tidy": 1}
    history = str(fleet.call(fleet.handle(run_id).fetch_history()))
    assert "Traceback" not in history
    assert str(ROOT) not in history


def test_a_handler_of_the_playbook_sees_the_error_of_an_activity(fleet: Fleet) -> None:
    text = """\
steps:
  - {id: look, action: read, on_error: [{type: NotFound, do: continue}]}
outputs: {help: "{{ errors.look.help }}"}
"""
    with fleet.worker(FakeActions(read=NotFound("gone", help="Look elsewhere."))):
        ended = outcome(fleet, begin(fleet, playbook_of(text)))
    assert (ended["status"], ended["outputs"]) == ("completed", {"help": "Look elsewhere."})


def poll(number: int, pause: float) -> Any:
    """Return an action that is done at its poll with this number."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        polls = (params.get("resume") or {"polls": 0})["polls"] + 1
        if polls >= number:
            return {"done": True, "polls": polls}
        return {"done": False, "polls": polls, "resume": {"polls": polls}, "next_poll_seconds": pause}

    return answer


WAIT = "steps: [{id: wait, action: wait}]\noutputs: {polls: '{{ steps.wait.polls }}'}"


def test_polls_that_are_due_soon_are_one_activity(fleet: Fleet) -> None:
    with fleet.worker(FakeActions(wait=poll(20, 0.01))):
        run_id = begin(fleet, playbook_of(WAIT))
        assert outcome(fleet, run_id)["outputs"] == {"polls": 20}
    events = Counter(fleet.events(run_id))
    assert (events["activity_task_completed"], events["timer_fired"]) == (1, 0)


def test_a_longer_pause_between_polls_is_a_timer(fleet: Fleet) -> None:
    fleet.runs = Runs(fleet.client, fleet.settings, Pace(heartbeat=1.0, short_pause=0.5))
    with fleet.worker(FakeActions(wait=poll(3, 0.6))):
        run_id = begin(fleet, playbook_of(WAIT))
        assert outcome(fleet, run_id)["outputs"] == {"polls": 3}
    events = Counter(fleet.events(run_id))
    assert (events["activity_task_completed"], events["timer_fired"]) == (3, 2)


APPROVAL = """\
steps:
  - id: make
    action: create
  - id: ok
    pause: approval
    accepts: {type: object, required: [by], properties: {by: {type: string}}}
    count: 2
    within: 600
    otherwise: Nobody approved.
outputs: {by: "{{ steps.ok['values'] }}"}
"""


def test_a_signal_is_refused_to_its_sender_and_leaves_no_trace(fleet: Fleet) -> None:
    with fleet.worker(FakeActions(create={"job_id": "job-1"})):
        run_id = begin(fleet, playbook_of(APPROVAL))
        fleet.reach(run_id, "waiting")
        before = fleet.events(run_id)
        with pytest.raises(ParameterError) as unknown:
            fleet.call(fleet.runs.signal(run_id, "aproval", {"by": "ann"}))
        with pytest.raises(ParameterError) as unfit:
            fleet.call(fleet.runs.signal(run_id, "approval", {"by": 3}))
        after = fleet.events(run_id)
    assert unknown.value.message.endswith("did you mean 'approval'? It waits for approval")
    assert [problem["pointer"] for problem in unfit.value.problems] == ["/value/by"]
    assert [event for event in after if "update" in event] == []
    assert after[: len(before)] == before


def test_a_run_takes_as_many_signals_as_its_pause_needs(fleet: Fleet) -> None:
    with fleet.worker(FakeActions(create={"job_id": "job-1"})):
        run_id = begin(fleet, playbook_of(APPROVAL))
        fleet.reach(run_id, "waiting")
        fleet.call(fleet.runs.signal(run_id, "approval", {"by": "ann"}))
        playbook, state = fleet.call(fleet.runs.opened(run_id))
        fleet.call(fleet.runs.signal(run_id, "approval", {"by": "bob"}))
        ended = outcome(fleet, run_id)
    [awaited] = next_commands(playbook, state).values()
    assert isinstance(awaited, AwaitSignal)
    assert (awaited.count, list(awaited.values)) == (2, [{"by": "ann"}])
    assert ended["outputs"] == {"by": [{"by": "ann"}, {"by": "bob"}]}


def test_a_pause_without_its_signal_ends_the_run_in_time(fleet: Fleet) -> None:
    with fleet.worker(FakeActions()):
        run_id = begin(fleet, playbook_of(APPROVAL.replace("600", "0.2").replace("action: create", "action: read")))
        ended = outcome(fleet, run_id)
    assert (ended["status"], ended["exit_code"], ended["message"]) == ("refused", 3, "Nobody approved.")


EACH = """\
steps:
  - {id: jobs, playbook: job, for_each: [1, 2, 3], at_most: 3, with: {n: "{{ item }}"}}
outputs: {all: "{{ steps.jobs.runs | map(attribute='outputs') | list }}"}
"""
JOB = """\
inputs: {n: {type: integer, description: A number.}}
steps:
  - {id: act, action: create, with: {n: "{{ inputs.n }}"}}
  - {id: ok, pause: approval, within: 600, otherwise: No.}
outputs: {n: "{{ steps.act.n }}", by: "{{ steps.ok.value }}"}
"""


def test_sub_playbooks_run_at_the_same_time_and_take_signals_by_their_path(fleet: Fleet) -> None:
    together = threading.Barrier(3)

    def create(params: dict[str, Any]) -> dict[str, Any]:
        together.wait(timeout=30)
        return {"n": params["n"]}

    with fleet.worker(FakeActions(create=create)):
        run_id = begin(fleet, playbook_of(EACH, job=JOB))
        fleet.reach(run_id, "waiting")
        with pytest.raises(ParameterError, match="several pauses"):
            fleet.call(fleet.runs.signal(run_id, "approval", "ann"))
        for index in (1, 0, 2):
            fleet.call(fleet.runs.signal(run_id, f"jobs[{index}]/approval", f"person-{index}"))
        ended = outcome(fleet, run_id)
    assert ended["outputs"] == {"all": [{"n": n, "by": f"person-{n - 1}"} for n in (1, 2, 3)]}


def test_a_cancelled_run_ends_after_the_action_that_has_begun(fleet: Fleet) -> None:
    begun, ends = threading.Event(), threading.Event()

    def create(params: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        ends.wait(timeout=30)
        return {"job_id": "job-1"}

    actions = FakeActions(create=create)
    with fleet.worker(actions):
        run_id = begin(fleet, playbook_of(TWO_STEPS))
        assert begun.wait(timeout=30)
        fleet.call(fleet.runs.cancel(run_id, "a false alarm"))
        ends.set()
        ended = outcome(fleet, run_id)
        with pytest.raises(RunEnded):
            fleet.call(fleet.runs.cancel(run_id, "again"))
        wait_until(lambda: fleet.status(run_id) == "cancelled")
    fleet.replay(run_id)
    assert (ended["status"], ended["exit_code"], ended["message"]) == ("cancelled", 7, "a false alarm")
    assert [change["job_id"] for change in ended["error"]["changes"]] == ["job-1"]
    assert actions.counts == {"create": 1}


def test_a_result_that_comes_with_the_cancellation_belongs_to_the_run(fleet: Fleet) -> None:
    begun, ends = threading.Event(), threading.Event()

    def create(params: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        ends.wait(timeout=30)
        return {"job_id": "job-1"}

    with fleet.worker(FakeActions(create=create)) as stop:
        run_id = begin(fleet, playbook_of(TWO_STEPS))
        assert begun.wait(timeout=30)
        stop()
        fleet.call(fleet.runs.cancel(run_id, "a false alarm"))
        ends.set()
    with fleet.worker(FakeActions()):
        ended = outcome(fleet, run_id)
    assert (ended["status"], ended["exit_code"]) == ("cancelled", 7)
    assert [change["job_id"] for change in ended["error"]["changes"]] == ["job-1"]


def test_an_action_that_waits_for_a_worker_never_begins_after_its_run_is_cancelled(fleet: Fleet) -> None:
    ends = threading.Event()
    actions = FakeActions(read=lambda _: {"ended": ends.wait(timeout=30)}, create={"job_id": "job-1"})
    # Within a heartbeat no worker can have been lost with the action.
    fleet.runs = Runs(fleet.client, fleet.settings, Pace(heartbeat=60.0))
    with fleet.worker(actions, actions=1):
        other = begin(fleet, playbook_of("steps: [{id: look, action: read}]"), "other")
        wait_until(lambda: actions.counts["read"])
        run_id = begin(fleet, playbook_of(TWO_STEPS))
        wait_until(lambda: fleet.call(fleet.runs.find(run_id)).at_step == "make")
        fleet.call(fleet.runs.cancel(run_id, "a false alarm"))
        ended = outcome(fleet, run_id)
        ends.set()
        assert outcome(fleet, other)["status"] == "completed"
    assert (ended["status"], ended["exit_code"], ended["error"]["applied"]) == ("cancelled", 3, "no")
    assert actions.counts["create"] == 0


def test_a_cancelled_run_does_not_wait_for_its_signal_or_its_next_poll(fleet: Fleet) -> None:
    with fleet.worker(FakeActions(wait=poll(1000, 0.3))):
        waiting = begin(fleet, playbook_of(APPROVAL.replace("action: create", "action: read")), "one")
        polling = begin(fleet, playbook_of(WAIT), "two")
        fleet.reach(waiting, "waiting")
        for run_id in (waiting, polling):
            fleet.call(fleet.runs.cancel(run_id, "enough"))
        assert [outcome(fleet, run_id)["status"] for run_id in (waiting, polling)] == ["cancelled", "cancelled"]


PART = """\
inputs: {n: {type: integer, description: A number.}}
steps:
  - {id: ok, pause: approval, count: 2, within: 600, otherwise: No.}
  - {id: wait, action: wait, with: {n: "{{ inputs.n }}"}}
outputs: {by: "{{ steps.ok['values'] }}", polls: "{{ steps.wait.polls }}"}
"""


def test_a_long_run_continues_in_a_new_history_with_its_parts_and_signals(fleet: Fleet) -> None:
    polls = MOST_EVENTS // 6
    fleet.runs = Runs(fleet.client, fleet.settings, Pace(heartbeat=1.0, short_pause=0.0))
    with fleet.worker(FakeActions(wait=poll(polls, 0)), is_sandboxed=False):
        run_id = begin(fleet, playbook_of(EACH.replace("at_most: 3", "at_most: 2"), job=PART))
        fleet.reach(run_id, "waiting")
        first = fleet.workflow_run(run_id)
        for by in ("ann", "bob"):
            fleet.call(fleet.runs.signal(run_id, "jobs[0]/approval", by))
        fleet.call(fleet.runs.signal(run_id, "jobs[1]/approval", "cat"))
        wait_until(lambda: fleet.workflow_run(run_id) != first)
        fleet.call(fleet.runs.signal(run_id, "jobs[1]/approval", "dan"))
        fleet.reach(run_id, "waiting")
        for by in ("eve", "fay"):
            fleet.call(fleet.runs.signal(run_id, "jobs[2]/approval", by))
        ended = outcome(fleet, run_id)
        fleet.replay(run_id)
        assert fleet.call(fleet.runs.find(run_id)).key == "alert-1"
    signals = (["ann", "bob"], ["cat", "dan"], ["eve", "fay"])
    assert ended["outputs"] == {"all": [{"by": by, "polls": polls} for by in signals]}


def test_a_run_stays_with_the_version_of_the_workers_that_began_it(fleet: Fleet) -> None:
    playbook = playbook_of(APPROVAL.replace("action: create", "action: read").replace("count: 2", "count: 1"))
    with fleet.worker(FakeActions(), build_id="v1"):
        fleet.take_new_runs("v1")
        old = begin(fleet, playbook, "old")
        fleet.reach(old, "waiting")
        with fleet.worker(FakeActions(), build_id="v2"):
            fleet.take_new_runs("v2")
            new = begin(fleet, playbook, "new")
            fleet.reach(new, "waiting")
            for run_id in (old, new):
                fleet.call(fleet.runs.signal(run_id, "approval", {"by": "ann"}))
                assert outcome(fleet, run_id)["status"] == "completed"
    assert (fleet.versions(old), fleet.versions(new)) == ({"v1"}, {"v2"})


@pytest.mark.parametrize("head", [HEAD, HEAD.replace('key: "{{ inputs.key }}"\n', "")], ids=["with a key", "without"])
def test_a_run_with_invalid_inputs_is_refused_before_it_starts(head: str, fleet: Fleet) -> None:
    start = fleet.runs.start(load(head + TWO_STEPS), {"kye": "k"}, run_id="r", traits=TRAITS, now=NOW)
    with pytest.raises(ParameterError, match="unknown input 'kye'"):
        fleet.call(start)


def test_a_message_that_the_server_would_refuse_is_refused_with_its_size(fleet: Fleet) -> None:
    text = HEAD.replace("inputs: {", "inputs: {more: {type: string, description: More.}, ")
    inputs = {"key": "k", "more": "x" * LARGEST_BYTES}
    start = fleet.runs.start(load(text + TWO_STEPS), inputs, run_id="large", traits=TRAITS, now=NOW)
    for call in (start, fleet.runs.signal("large", "approval", "x" * LARGEST_BYTES)):
        with pytest.raises(ParameterError, match="Temporal stores at most"):
            fleet.call(call)


def test_a_playbook_that_writes_files_needs_the_setting(fleet: Fleet) -> None:
    playbook = playbook_of("steps: [{id: look, action: read, with: {to: '{{ run.directory }}/rows.csv'}}]")
    with pytest.raises(ConnectionSettingsError, match="CFES_TEMPORAL_FILES is not set"):
        begin(fleet, playbook)


def test_two_runs_of_one_key_have_directories_of_their_own(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet("s3://evidence/runs/")
    playbook = playbook_of("steps: [{id: look, action: read, with: {to: '{{ run.directory }}/rows.csv'}}]")
    actions = FakeActions(read=NotFound("gone"))
    with fleet.worker(actions):
        for _ in range(2):
            outcome(fleet, begin(fleet, playbook, "../../A:1"))
    first, second = (params["to"] for _, params in actions.calls)
    assert first != second
    assert re.fullmatch(r"s3://evidence/runs/[A-Za-z0-9._-]+/rows\.csv", first)


def test_errors_name_the_run_the_worker_and_the_server_that_are_missing(fleet: Fleet) -> None:
    with pytest.raises(RunNotFound, match="no such run"):
        fleet.call(fleet.runs.find("absent"))
    with pytest.raises(RunNotFound, match="no such run"):
        fleet.call(fleet.runs.signal("absent", "approval", 1))
    elsewhere = fleet.settings.model_copy(update={"namespace": "elsewhere"})
    with pytest.raises(ConnectionSettingsError, match="no namespace elsewhere"):
        fleet.call(Runs(fleet.call(connect(elsewhere)), elsewhere).list())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TemporalUnavailable, match=address):
            fleet.call(connect(fleet.settings.model_copy(update={"address": address})))
