"""The run store: runs are created once, listed, written under a revision, and forgotten."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.errors import ConnectionSettingsError, ParameterError
from playbooks.drivers.run_store import LONGEST_SIGNAL, RunStore
from playbooks.drivers.store.database import Database
from playbooks.drivers.store.location import default_path
from playbooks.drivers.store.records import Progress, Status
from playbooks.language.errors import (
    RevisionConflict,
    RunEnded,
    RunExists,
    RunNotEnded,
    RunNotFound,
)
from tests.clock import FakeClock
from tests.playbooks.run_stores import KEY, PLAYBOOK, RUNNING, execute, new_run, open_store

LATER = datetime.fromisoformat("2027-01-01T00:00:00Z")


class TestLocation:
    def test_cfes_state_names_the_file_of_the_store(self) -> None:
        assert default_path({"CFES_STATE": "/srv/cfes/mine.db"}) == Path("/srv/cfes/mine.db")

    @pytest.mark.parametrize(
        ("environment", "path"),
        [
            ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/cfes/runs.db"),
            ({"HOME": "/home/a"}, "/home/a/.local/state/cfes/runs.db"),
            ({"CFES_STATE_DIR": "/srv/cfes", "XDG_STATE_HOME": "/state"}, "/srv/cfes/runs.db"),
        ],
    )
    def test_the_default_is_in_the_state_directory(self, environment: dict[str, str], path: str) -> None:
        assert default_path(environment) == Path(path)

    @pytest.mark.parametrize(
        ("value", "problem"), [("runs.db", "CFES_STATE must be an absolute path"), ("", "CFES_STATE is set but empty")]
    )
    def test_a_setting_that_names_no_certain_file_is_refused(self, value: str, problem: str) -> None:
        with pytest.raises(ConnectionSettingsError, match=problem) as caught:
            default_path({"CFES_STATE": value, "HOME": "/home/a"})
        assert caught.value.help.startswith("Nothing was")


class TestFiles:
    def test_every_file_and_folder_is_private_under_any_umask(self, path: Path) -> None:
        before = os.umask(0)
        try:
            with open_store(path) as store, store.create(new_run()):
                modes = {
                    str(each.relative_to(path.parent.parent)): stat.S_IMODE(each.stat().st_mode)
                    for each in path.parent.rglob("*")
                }
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert modes.pop("cfes/runs.db.locks") == 0o700
        assert {"cfes/runs.db", "cfes/runs.db-wal", "cfes/runs.db.locks/run-1.lock"} < set(modes)
        assert set(modes.values()) == {0o600}

    @pytest.mark.usefixtures("store")
    def test_the_database_has_a_write_ahead_log(self, path: Path) -> None:
        assert execute(path, "PRAGMA journal_mode") == [("wal",)]

    def test_each_transaction_waits_for_the_disk(self, path: Path) -> None:
        open_store(path).close()
        with (
            closing(Database(path, path.parent / "creation", FakeClock())) as database,
            database.reading() as connection,
        ):
            assert connection.execute("PRAGMA synchronous").fetchone()["synchronous"] == 2

    def test_a_copy_made_by_sqlite_is_a_store_again(self, store: RunStore, path: Path, tmp_path: Path) -> None:
        store.create(new_run()).release()
        copy = tmp_path / "copy" / "runs.db"
        copy.parent.mkdir(mode=0o700)
        execute(path, "VACUUM INTO ?", str(copy))
        copy.chmod(0o600)
        with open_store(copy) as restored, restored.hold("run-1") as held:
            assert held.stored().state == '{"position": 0}'


class TestCreation:
    def test_a_created_run_is_stored_and_held(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            found = held.stored()
        assert (found.playbook, found.state, found.in_flight, found.intact) == (PLAYBOOK, '{"position": 0}', [], True)
        assert (found.summary.run_id, found.summary.key, found.summary.status) == ("run-1", "alert-1", "running")
        assert found.summary.started_at == found.summary.updated_at == "2026-11-20T16:02:35Z"

    def test_a_run_is_created_once(self, store: RunStore) -> None:
        with store.create(new_run()):
            pass
        with pytest.raises(RunExists, match="the run 'run-1' already exists: running") as caught:
            store.create(new_run(state="{}"))
        assert caught.value.run_id == "run-1"
        assert store.read("run-1").state == '{"position": 0}'

    def test_of_concurrent_creators_exactly_one_succeeds(self, path: Path) -> None:
        start, go = os.pipe()
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                code = 99
                try:
                    os.close(go)
                    os.read(start, 1)  # ends for all at once
                    with RunStore(path, KEY, SystemClock()) as store:
                        try:
                            store.create(new_run())
                            code = 0
                        except RunExists:
                            code = 1
                finally:
                    os._exit(code)
            children.append(child)
        os.close(go)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(start)
        assert sorted(codes) == [0, *[1] * 7]

    def test_a_run_that_could_not_be_stored_can_be_created_again(self, store: RunStore) -> None:
        with pytest.raises(ParameterError, match=r"the directory '/runs/.*' can't be stored: it is not valid Unicode"):
            store.create(new_run(directory="/runs/\udcff"))
        store.create(new_run()).release()

    @pytest.mark.parametrize(
        "run_id", ["", "../run", "a/b", ".hidden", "-rf", "a b", "a\0b", "é", "a" * 201, "a\n", "\udcff"]
    )
    def test_a_run_id_that_is_no_file_name_is_refused(self, store: RunStore, path: Path, run_id: str) -> None:
        with pytest.raises(ParameterError, match="is not valid") as caught:
            store.create(new_run(run_id))
        assert caught.value.message.isprintable()
        for refused in (store.hold, store.find, store.read, store.signals):
            with pytest.raises(RunNotFound):
                refused(run_id)
        assert [each.name for each in (path.parent / "runs.db.locks").iterdir()] == ["creation"]


class TestWriting:
    def test_a_write_replaces_the_state(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            action = {"step_id": "move", "since": "2026-11-20T16:02:35Z"}
            held.write('{"position": 1}', Progress("running", "move"), [action])
            assert (held.stored().state, held.stored().in_flight) == ('{"position": 1}', [action])
            held.write('{"position": 2}', Progress("waiting", "ask", waits_for="approval"))
        found = store.read("run-1")
        assert (found.state, found.in_flight, found.intact) == ('{"position": 2}', [], True)
        assert (found.summary.status, found.summary.at_step, found.summary.waits_for) == ("waiting", "ask", "approval")

    def test_a_write_after_another_process_wrote_the_run_is_refused(self, store: RunStore, path: Path) -> None:
        with store.create(new_run()) as held:
            execute(path, "UPDATE run SET revision = revision + 1")
            with pytest.raises(RevisionConflict, match="another process has written the run 'run-1'") as caught:
                held.write("{}", RUNNING)
            assert not caught.value.retryable
        assert store.read("run-1").state == '{"position": 0}'

    @pytest.mark.parametrize("progress", [{"status": "lost"}, {"status": "sleeping", "wake_at": "tomorrow"}])
    def test_an_invalid_progress_is_a_defect_of_the_caller(self, progress: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"unknown status|not an RFC 3339"):
            Progress(**progress)

    def test_a_held_run_continues_after_its_stored_revision(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            held.write('{"position": 1}', RUNNING)
        with store.hold("run-1") as again:
            again.write('{"position": 2}', RUNNING)
            assert again.stored().summary.revision == 3


class TestListing:
    def test_the_newest_run_comes_first(self, path: Path) -> None:
        clock = FakeClock()
        store = open_store(path, clock=clock)
        for number in range(4):
            store.create(new_run(f"run-{number}")).release()
            clock.advance(0.5)
        assert [run.run_id for run in store.runs()] == ["run-3", "run-2", "run-1", "run-0"]
        assert [run.run_id for run in store.runs(limit=2)] == ["run-3", "run-2"]

    def test_runs_are_selected_by_status_playbook_and_time(self, path: Path) -> None:
        clock = FakeClock()
        store = open_store(path, clock=clock)
        chosen: list[tuple[Status, str]] = [("running", "purge"), ("completed", "purge"), ("completed", "release")]
        for status, playbook in chosen:
            store.create(new_run(f"{status}-{playbook}", playbook_id=playbook, progress=Progress(status))).release()
            clock.advance(1)
        assert [run.run_id for run in store.runs(status={"completed", "failed"}, playbook_id="purge")] == [
            "completed-purge"
        ]
        assert store.runs(status=[]) == []
        before = clock.now() - timedelta(seconds=1)
        assert [run.run_id for run in store.runs(updated_before=before)] == ["completed-purge", "running-purge"]

    @pytest.mark.parametrize(
        ("wake_at", "due"),
        [
            ("2026-11-20T17:00:00Z", True),
            ("2026-11-20T16:59:59.999999Z", True),
            ("2026-11-20T17:00:00.5Z", False),
            ("2026-11-20T18:00:00+01:00", True),
            ("2026-11-20T17:30:00+00:00", False),
            (None, False),
        ],
    )
    def test_a_run_is_due_at_its_instant(self, store: RunStore, wake_at: str | None, due: bool) -> None:
        store.create(new_run(progress=Progress("sleeping", "wait", wake_at))).release()
        found = store.runs(status=["sleeping"], due_before=datetime.fromisoformat("2026-11-20T17:00:00Z"))
        assert bool(found) == due

    def test_the_beginning_of_an_id_finds_its_only_run(self, store: RunStore) -> None:
        for run_id in ("purge-1", "purge-12", "release-1"):
            store.create(new_run(run_id)).release()
        assert store.find("rel").run_id == "release-1"
        assert store.find("purge-1").run_id == "purge-1"
        with pytest.raises(RunNotFound, match="begins with 'purge', such as 'purge-12', 'purge-1'") as caught:
            store.find("purge")
        assert caught.value.help == "Nothing was run. Give more characters of the ID."

    def test_a_mistyped_id_gets_a_suggestion(self, store: RunStore) -> None:
        store.create(new_run("purge-20261120")).release()
        with pytest.raises(RunNotFound, match=r"there is no run 'prge-20261120'; did you mean 'purge-20261120'\?"):
            store.hold("prge-20261120")


class TestSignals:
    def test_a_signal_is_taken_with_the_state_that_has_it(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            sent = store.send_signal("run-1", "approval", {"by": "bob"}, "bob@corp.example")
            assert held.untaken_signals() == store.signals("run-1") == [sent]
            assert (sent.name, sent.value, sent.sent_by) == ("approval", {"by": "bob"}, "bob@corp.example")
            held.write("{}", RUNNING, taken=[sent.seq])
            assert held.untaken_signals() == []
            [taken] = store.signals("run-1")
            assert (taken.taken_at, taken.intact) == ("2026-11-20T16:02:35Z", True)

    def test_a_signal_that_was_taken_is_not_taken_again(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            sent = store.send_signal("run-1", "go", None, None)
            held.write("{}", RUNNING, taken=[sent.seq])
            with pytest.raises(ValueError, match="is not an untaken signal of run run-1"):
                held.write('{"twice": true}', RUNNING, taken=[sent.seq])
            assert held.stored().state == "{}"

    def test_signals_keep_their_order_and_their_numbers(self, store: RunStore) -> None:
        store.create(new_run(progress=Progress("completed"))).release()
        store.create(new_run("run-2")).release()
        numbers = [store.send_signal("run-2", "go", number, None).seq for number in range(3)]
        assert [signal.value for signal in store.signals("run-2")] == [0, 1, 2]
        with store.hold("run-2") as held:
            held.write("{}", Progress("cancelled"))
        store.forget("run-2", ended_before=LATER)
        store.create(new_run("run-2")).release()
        assert store.send_signal("run-2", "go", 3, None).seq > max(numbers)

    @pytest.mark.parametrize("status", ["completed", "refused", "incomplete", "cancelled"])
    def test_a_run_that_has_ended_takes_no_signal(self, store: RunStore, status: Any) -> None:
        store.create(new_run(progress=Progress(status))).release()
        with pytest.raises(RunEnded, match=f"the run 'run-1' has ended: {status}"):
            store.send_signal("run-1", "go", None, None)
        assert store.signals("run-1") == []

    def test_a_failed_run_takes_signals_because_it_can_be_resumed(self, store: RunStore) -> None:
        store.create(new_run(progress=Progress("failed"))).release()
        store.send_signal("run-1", "go", None, None)

    @pytest.mark.parametrize("value", [float("nan"), 1 << 300, {1: 2}, object()])
    def test_a_value_that_is_not_plain_json_is_refused(self, store: RunStore, value: object) -> None:
        store.create(new_run()).release()
        with pytest.raises(ParameterError, match="can't be stored"):
            store.send_signal("run-1", "go", value, None)

    def test_a_signal_has_a_longest_length(self, store: RunStore) -> None:
        store.create(new_run()).release()
        with pytest.raises(ParameterError, match="more than 1048576 characters"):
            store.send_signal("run-1", "go", "a" * LONGEST_SIGNAL, None)

    def test_a_signal_to_an_unknown_run_is_refused(self, store: RunStore) -> None:
        with pytest.raises(RunNotFound):
            store.send_signal("run-1", "go", None, None)


class TestForgetting:
    def test_an_ended_run_is_deleted_with_all_that_belongs_to_it(self, store: RunStore, path: Path) -> None:
        for number in range(50):
            with store.create(new_run(f"run-{number}")) as held:
                store.send_signal(f"run-{number}", "go", None, None)
                held.write("x" * 50_000, Progress("completed"))
        for number in range(50):
            store.forget(f"run-{number}", ended_before=LATER)
        store.close()
        left = "SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM signal), (SELECT count(*) FROM playbook)"
        assert execute(path, left) == [(0, 0, 0)]
        assert path.stat().st_size < 100_000
        assert [each.name for each in (path.parent / "runs.db.locks").iterdir()] == ["creation"]

    def test_the_playbook_of_another_run_is_kept(self, store: RunStore) -> None:
        store.create(new_run(progress=Progress("completed"))).release()
        store.create(new_run("run-2")).release()
        store.forget("run-1", ended_before=LATER)
        assert store.read("run-2").playbook == PLAYBOOK

    @pytest.mark.parametrize(
        ("status", "ended_before"), [("running", "2027-01-01"), ("waiting", "2027-01-01"), ("completed", "2026-11-20")]
    )
    def test_a_run_that_did_not_end_before_is_kept(self, store: RunStore, status: Any, ended_before: str) -> None:
        store.create(new_run(progress=Progress(status))).release()
        with pytest.raises(RunNotEnded, match=f"the run 'run-1' is not one that ended before .*: {status}"):
            store.forget("run-1", ended_before=datetime.fromisoformat(f"{ended_before}T00:00:00Z"))
        assert len(store.runs()) == 1


HOSTILE = [
    "{{ 7 * 7 }}{% for x in y %}",
    "../../../../etc/passwd",
    "\x1b]0;owned\x07\x1b[2J",
    "'; DROP TABLE run; --\") OR 1=1",
    "a\0b",
    "\u202egnp.exe\r\n",
    "\N{PILE OF POO}" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_stored_exactly_in_every_field(store: RunStore, text: str) -> None:
    values: dict[str, Any] = {
        "key": text,
        "playbook": {"id": text},
        "playbook_id": text,
        "directory": text,
        "state": text,
    }
    with store.create(new_run(**values)) as held:
        progress = Progress("waiting", text, waits_for=text)
        held.write(text, progress, [{text: text}])
        store.send_signal("run-1", text, {text: [text]}, text)
        [signal] = held.untaken_signals()
        found = held.stored()
    summary = found.summary
    assert (found.playbook, found.state, found.in_flight) == ({"id": text}, text, [{text: text}])
    assert {summary.key, summary.playbook_id, summary.directory, summary.at_step, summary.waits_for} == {text}
    assert (signal.name, signal.value, signal.sent_by) == (text, {text: [text]}, text)
    assert store.runs(playbook_id=text) == [summary]


def test_half_of_a_surrogate_pair_is_refused_in_text_and_replaced_in_values(store: RunStore) -> None:
    half = "\ud800"
    for field in ("key", "playbook_id", "directory", "state"):
        with pytest.raises(ParameterError, match="is not valid Unicode"):
            store.create(new_run(**{field: half}))
    store.create(new_run()).release()
    for refused in (lambda: store.send_signal("run-1", half, None, None), lambda: store.runs(playbook_id=half)):
        with pytest.raises(ParameterError, match="is not valid Unicode"):
            refused()
    assert store.send_signal("run-1", "go", half, None).value == "\N{REPLACEMENT CHARACTER}"
