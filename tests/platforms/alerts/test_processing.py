"""Each alert that matches starts its playbook once. Nothing is dropped without a record."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import CheckRefused, ConnectionSettingsError, ParameterError, ServiceUnavailable
from platforms.alerts.events import EventFiles
from platforms.alerts.inbox import ALERTS, EVENTS, Batch, Inbox
from platforms.alerts.ledger import DAYS_KEPT, MOST_REFUSED, Ledger
from platforms.alerts.processing import Processed, Processor, Stores
from platforms.alerts.rule_loading import load_rules
from platforms.alerts.rules import Match
from playbooks.language.errors import RunStoreUnavailable, RunStoreUnusable
from tests.clock import FakeClock
from tests.platforms.alerts.test_rules import NOTE

RULES = """
alert_rules: 1
rules:
  - id: bad
    when: "{{ alert.FinalDisposition == 'malicious' }}"
    playbook: note.yaml
    inputs: {alert_id: "{{ alert.AlertID }}", subject: "{{ alert.Subject | default('') }}"}
"""


class World:
    """An inbox with rules, and a start that records its calls. failing: what the start raises, by AlertID."""

    def __init__(self, folder: Path) -> None:
        (folder / "note.yaml").write_text(NOTE)
        (folder / "rules.yaml").write_text(RULES)
        self.clock = FakeClock()
        self.inbox = Inbox(folder / "inbox", self.clock)
        self.ledger = Ledger(str(folder / "state"), self.clock)
        self.events = EventFiles(folder / "events", self.clock)
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.stopping: Callable[[], bool] = lambda: False
        self.rules = load_rules(folder / "rules.yaml")

    def start(self, match: Match) -> str:
        self.calls.append(match.alert_id)
        if match.alert_id in self.failing:
            raise self.failing[match.alert_id]
        return f"run-{match.alert_id}"

    def push(self, *alerts: dict[str, Any] | bytes, dataset: str = ALERTS) -> Batch:
        lines = [alert if isinstance(alert, bytes) else json.dumps(alert).encode() for alert in alerts]
        with self.inbox.begin(dataset) as writer:
            writer.write(gzip.compress(b"\n".join(lines)))
            batch = writer.finish().batch
        assert batch is not None
        return batch

    def process(self) -> list[Processed]:
        stores = Stores(self.inbox, self.ledger, self.events)
        processor = Processor(stores, self.rules, self.start, self.clock, self.stopping)
        return list(processor.process_waiting())

    def reasons(self) -> dict[str | None, str]:
        return {one.alert_id: one.reason for one in self.ledger.refused()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bad(alert_id: object, **changes: Any) -> dict[str, Any]:
    return {"AlertID": alert_id, "FinalDisposition": "malicious", **changes}


def good(alert_id: object) -> dict[str, Any]:
    return {"AlertID": alert_id, "FinalDisposition": "spam"}


def test_an_alert_that_matches_starts_one_run_however_often_it_comes(world: World) -> None:
    world.push(bad("1"), good("2"), bad("1"))
    world.push(bad("1"), bad("3"))
    first, second = world.process()
    assert (first.started, first.repeated, first.read) == (["run-1"], 1, 3)
    assert (second.started, second.repeated, second.read) == (["run-3"], 1, 2)
    assert world.calls == ["1", "3"]
    assert world.inbox.batches() == []
    assert world.ledger.runs_of([("1", "note"), ("2", "note")]) == {("1", "note"): "run-1"}


def test_batches_are_processed_in_the_order_of_arrival(world: World) -> None:
    for number in range(5):
        world.push(bad(f"{number}"))
    world.process()
    assert world.calls == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "error",
    [
        RunStoreUnavailable("the disk is full"),
        RunStoreUnusable("no store"),
        ServiceUnavailable("away"),
        ConnectionSettingsError("no token"),
        OSError(28, "No space left"),
        RuntimeError("odd"),
    ],
)
def test_a_start_that_fails_for_the_moment_is_tried_again_and_holds_up_nothing(world: World, error: Exception) -> None:
    world.failing["1"] = error
    world.push(bad("0"), bad("1"), bad("2"))
    world.push(bad("3"))
    first, second = world.process()
    assert (first.started, first.postponed, first.done) == (["run-0", "run-2"], 1, False)
    assert first.problem is not None
    assert (second.started, second.done) == (["run-3"], True)
    world.failing.clear()
    [again] = world.process()
    assert (again.started, again.repeated, again.done) == (["run-1"], 2, True)
    assert world.ledger.refused() == []


@pytest.mark.parametrize("error", [ParameterError("/subject: too long"), CheckRefused("another run has the key")])
def test_a_start_that_can_never_succeed_is_refused_with_its_reason(world: World, error: Exception) -> None:
    world.failing["1"] = error
    world.push(bad("1"), bad("2"))
    [done] = world.process()
    assert (done.started, done.refused, done.done) == (["run-2"], 1, True)
    assert world.reasons() == {"1": str(error)}


def test_a_start_that_fails_for_a_week_is_refused(world: World) -> None:
    world.failing["1"] = RunStoreUnavailable("the disk is full")
    world.push(bad("1"))
    world.process()
    world.clock.set_forward(days=7, minutes=1)
    [done] = world.process()
    assert (done.refused, done.done) == (1, True)
    assert world.reasons() == {"1": "not started for 7 days: the disk is full"}


def test_a_store_that_is_down_is_not_asked_for_every_alert(world: World) -> None:
    alerts = [bad(f"{number}") for number in range(3000)]
    world.failing = {alert["AlertID"]: RunStoreUnavailable("away") for alert in alerts}
    world.push(*alerts)
    [done] = world.process()
    assert not done.done
    assert len(world.calls) == 20
    world.failing.clear()
    [again] = world.process()
    assert (len(again.started), again.done) == (3000, True)


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        ({"FinalDisposition": "malicious"}, "key 'AlertID'"),
        (bad(7), "must be a string"),
        (bad(""), "must be a string that is not empty"),
        (bad("x" * 1_000_000), "longer than 400 characters"),
        ({"AlertID": "1"}, "there is no key 'FinalDisposition'"),
        (b'{"AlertID":"1","FinalDisposition":"malicious","Subject":"a","Subject":"b"}', "the key 'Subject' twice"),
    ],
)
def test_an_alert_for_which_nothing_can_be_started_is_recorded(world: World, alert: Any, reason: str) -> None:
    world.push(alert, bad("2"))
    [done] = world.process()
    assert (done.refused, done.done) == (1, True)
    [refused] = world.ledger.refused()
    assert (reason in refused.reason, refused.line) == (True, 1)
    assert world.calls == ["2"]


def test_ids_with_parts_of_a_path_are_only_text(world: World) -> None:
    names = ["../../etc/passwd", "a/b", "..", "a\0b", "CON", "\N{PARTY POPPER}"]
    world.push(*(bad(name) for name in names))
    [done] = world.process()
    assert done.started == [f"run-{name}" for name in names]


def test_the_list_of_refused_alerts_is_bounded_and_counted(world: World) -> None:
    world.push(*({"AlertID": f"{number}"} for number in range(MOST_REFUSED + 500)))
    world.process()
    assert len(world.ledger.refused()) == MOST_REFUSED
    assert world.ledger.refused()[0].alert_id == f"{MOST_REFUSED + 499}"
    assert world.ledger.refused_count() == MOST_REFUSED + 500


def test_a_batch_that_is_processed_again_has_each_refusal_once(world: World) -> None:
    world.failing["1"] = RunStoreUnavailable("away")
    world.push(bad("1"), {"AlertID": "2"})
    for _ in range(3):
        world.process()
    assert world.ledger.refused_count() == 1


def test_a_damaged_batch_is_kept_aside_and_holds_up_nothing(world: World, tmp_path: Path) -> None:
    for cut in (12, -6, -9):
        batch = world.push(bad("1"), bad("2" * 100))
        batch.path.write_bytes(batch.path.read_bytes()[:cut])
    world.push(bad("3"))
    assert [done.done for done in world.process()] == [False, False, False, True]
    assert world.calls[-1] == "3"
    assert len(list((tmp_path / "inbox" / "damaged").iterdir())) == 3
    assert "damaged" in world.ledger.refused()[0].reason
    assert world.process() == []


def test_without_rules_no_alert_starts_anything(world: World) -> None:
    world.rules = load_rules(None)
    world.push(bad("1"))
    [done] = world.process()
    assert (done.read, done.started, done.done) == (1, [], True)


def test_a_service_that_stops_leaves_the_rest_of_a_batch_for_the_next_start(world: World) -> None:
    world.stopping = lambda: len(world.calls) >= 2
    world.push(*(bad(f"{number}") for number in range(5)))
    [done] = world.process()
    assert (done.done, len(done.started)) == (False, 2)
    assert world.process() == []
    world.stopping = lambda: False
    [again] = world.process()
    assert (again.done, again.started, again.repeated) == (True, ["run-2", "run-3", "run-4"], 2)


def test_events_become_event_files(world: World) -> None:
    world.push({"Operation": "move", "Success": True}, {"Operation": 7}, dataset=EVENTS)
    [done] = world.process()
    assert (done.read, done.refused, done.done) == (2, 1, True)
    assert len(world.events.files()) == 1
    assert "not an event" in world.ledger.refused()[0].reason


def test_a_run_is_known_for_over_a_year(world: World) -> None:
    world.ledger.record({("1", "note"): "run-1"})
    world.clock.set_forward(days=DAYS_KEPT)
    world.ledger.record({("1", "note"): "run-2", ("2", "note"): "run-3"})
    assert world.ledger.runs_of([("1", "note")]) == {("1", "note"): "run-1"}
    world.clock.set_forward(minutes=1)
    world.ledger.record({})
    assert world.ledger.runs_of([("1", "note")]) == {}


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.platforms.alerts.test_processing import World, bad
world = World(Path(sys.argv[1]))
start = world.start
def start_and_die(match):
    run_id = start(match)
    with open(Path(sys.argv[1]) / "runs", "a") as file:
        file.write(run_id + "\\n")
    if match.alert_id == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return run_id
world.start = start_and_die
world.push(*(bad(str(number)) for number in range(3)))
world.process()
"""


def test_a_kill_between_a_start_and_its_record_starts_the_same_run_again(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "runs").read_text().split() == ["run-0", "run-1"]
    world = World(tmp_path)
    [again] = world.process()
    # The key of the playbook makes the second start of alert 1 find its run.
    assert (again.started, again.repeated) == (["run-1", "run-2"], 1)
    assert world.inbox.batches() == []
