"""The run store refuses edited rows, files of other users, network file systems and files that it can't read."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.file_system import network_file_system_of
from playbooks.language.errors import (
    RunRecordRefused,
    RunRecordUnwritable,
    RunStoreUnavailable,
    RunStoreUnusable,
)
from tests.playbooks.run_stores import KEY, RUNNING, execute, new_run, open_store, without_room


def columns_of(path: Path, table: str) -> list[str]:
    return [name for (name,) in execute(path, "SELECT name FROM pragma_table_info(?)", table)]


def other_value(column: str) -> object:
    return {
        "revision": 7,
        "taken_at": "2026-11-20T16:02:35.000000Z",
        "in_flight": '[{"step_id": "move"}]',
        "value": '{"approved": true}',
    }.get(column, "2026-11-20T16:02:36.000000Z" if column.endswith("_at") else "edited")


class TestSeals:
    def test_a_run_with_an_edited_column_is_not_resumed(self, store: RunStore, path: Path) -> None:
        store.create(new_run("run-2")).release()
        execute(path, "INSERT INTO playbook VALUES ('edited', ?)", '{"id": "edited"}')
        edited = [name for name in columns_of(path, "run") if name != "run_id"]
        assert len(edited) == 15
        for number, column in enumerate(edited):
            run_id = f"edited-{number}"
            store.create(new_run(run_id)).release()
            execute(path, f"UPDATE run SET {column} = ? WHERE run_id = ?", other_value(column), run_id)  # noqa: S608 -- names of the schema
            with pytest.raises(RunRecordRefused) as caught:
                store.hold(run_id)
            assert caught.value.help.startswith("Nothing was run.")
            assert not store.read(run_id).intact, column
        assert len(store.runs()) == 16

    def test_a_run_with_the_record_of_another_run_is_not_resumed(self, store: RunStore, path: Path) -> None:
        store.create(new_run()).release()
        execute(path, "UPDATE run SET run_id = 'run-2'")
        with pytest.raises(RunRecordRefused, match="the record of run 'run-2' is damaged or was edited"):
            store.hold("run-2")

    def test_a_run_whose_playbook_was_edited_is_not_resumed(self, store: RunStore, path: Path) -> None:
        store.create(new_run()).release()
        execute(path, "UPDATE playbook SET document = ?", '{"id": "another"}')
        with pytest.raises(RunRecordRefused, match="is damaged or was edited"):
            store.hold("run-1")
        execute(path, "DELETE FROM playbook")
        with pytest.raises(RunRecordRefused, match="is damaged or was edited"):
            store.hold("run-1")

    def test_an_edit_during_a_run_is_found(self, store: RunStore, path: Path) -> None:
        with store.create(new_run()) as held:
            execute(path, "UPDATE run SET state = '{}'")
            with pytest.raises(RunRecordRefused):
                held.stored()

    def test_a_run_with_an_edited_signal_takes_none(self, store: RunStore, path: Path) -> None:
        store.create(new_run("run-2")).release()
        for column in columns_of(path, "signal"):
            if column in ("seq", "run_id"):
                continue
            with store.create(new_run(f"edited-{column.replace('_', '-')}")) as held:
                sent = store.send_signal(held.run_id, "go", {"approved": False}, "bob")
                execute(path, f"UPDATE signal SET {column} = ? WHERE seq = ?", other_value(column), sent.seq)  # noqa: S608 -- names of the schema
                assert not store.signals(held.run_id)[0].intact, column
                if column != "taken_at":
                    with pytest.raises(RunRecordRefused):
                        held.untaken_signals()

    def test_an_edited_signal_does_not_get_a_new_seal(self, store: RunStore, path: Path) -> None:
        with store.create(new_run()) as held:
            sent = store.send_signal("run-1", "approved", None, "bob")
            execute(path, "UPDATE signal SET sent_by = 'alice'")
            with pytest.raises(RunRecordRefused):
                held.write("{}", RUNNING, taken=[sent.seq])
        assert not store.signals("run-1")[0].intact
        assert store.read("run-1").state == '{"position": 0}'

    @pytest.mark.parametrize("statement", ["seq = 77", "run_id = 'run-2'", "taken_at = NULL"])
    def test_a_signal_is_not_sent_again_by_an_edit(self, store: RunStore, path: Path, statement: str) -> None:
        store.create(new_run("run-2")).release()
        with store.create(new_run()) as held:
            sent = store.send_signal("run-1", "approved", None, None)
            if "taken_at" in statement:
                held.write("{}", RUNNING, taken=[sent.seq])
        execute(path, f"UPDATE signal SET {statement}")  # noqa: S608 -- the parameters above
        with store.hold("run-2" if "run_id" in statement else "run-1") as held, pytest.raises(RunRecordRefused):
            held.untaken_signals()

    def test_a_run_sealed_with_another_key_names_the_key(self, store: RunStore, path: Path) -> None:
        store.create(new_run()).release()
        with open_store(path, SealKey(b"another key of 16 bytes", "in journal.key")) as other:
            with pytest.raises(RunRecordRefused, match=r"another key than the one of this process \(in journal.key\)"):
                other.hold("run-1")
            with pytest.raises(RunRecordRefused, match="another key"):
                other.send_signal("run-1", "go", None, None)
            assert [run.run_id for run in other.runs()] == ["run-1"]

    @pytest.mark.parametrize("value", [b"\xff\xfe", 7, 1.5, "", "\ud7ff{", b"\0" * 10])
    def test_damaged_rows_can_be_listed(self, store: RunStore, path: Path, value: object) -> None:
        store.create(new_run()).release()
        names = [name for name in columns_of(path, "run") if name not in ("run_id", "playbook_sha256")]
        execute(path, f"UPDATE run SET {', '.join(f'{name} = ?1' for name in names)}", value)  # noqa: S608 -- names of the schema
        [found] = store.runs()
        assert (found, found.run_id) == (store.find("run-1"), "run-1")
        assert all(isinstance(text, str) for text in (found.status, found.started_at, found.directory))
        with pytest.raises(RunRecordRefused, match=r"is damaged or was edited|another key"):
            store.hold("run-1")


def make_hard_link(path: Path) -> None:
    path.touch(0o600)
    os.link(path, path.with_name("second"))


def make_symbolic_link(path: Path) -> None:
    path.with_name("elsewhere").touch(0o600)
    path.symlink_to("elsewhere")


class TestFiles:
    @pytest.mark.parametrize("name", ["runs.db", "runs.db-wal", "runs.db-shm", "runs.db-journal"])
    @pytest.mark.parametrize(
        ("prepare", "problem"),
        [
            (make_symbolic_link, "is not a regular file"),
            (make_hard_link, "has 2 hard links"),
            (os.mkfifo, "is not a regular file"),
            (lambda path: path.mkdir(), "is not a regular file"),
            (lambda path: path.touch(0o640), r"is accessible to other users \(mode 0640\)"),
        ],
    )
    def test_a_file_that_others_could_use_is_refused(
        self, path: Path, name: str, prepare: Callable[[Path], object], problem: str
    ) -> None:
        path.parent.mkdir(mode=0o700)
        prepare(path.with_name(name))
        with pytest.raises(RunStoreUnusable, match=problem) as caught:
            open_store(path)
        assert caught.value.help.startswith("Nothing was run. Set CFES_STATE to ")

    @pytest.mark.parametrize(
        ("prepare", "problem"),
        [
            (lambda folder: folder.mkdir(mode=0o755), "is accessible to other users"),
            (lambda folder: folder.symlink_to("."), "is a symbolic link"),
            (lambda folder: folder.write_text(""), "is not a directory"),
        ],
    )
    @pytest.mark.parametrize("name", ["cfes", "cfes/runs.db.locks"])
    def test_a_folder_that_others_could_use_is_refused(
        self, tmp_path: Path, name: str, prepare: Callable[[Path], object], problem: str
    ) -> None:
        (tmp_path / name).parent.mkdir(mode=0o700, exist_ok=True)
        prepare(tmp_path / name)
        with pytest.raises(RunStoreUnusable, match=problem):
            open_store(tmp_path / "cfes" / "runs.db")
        assert not (tmp_path / "cfes" / "runs.db").exists()

    def test_a_store_of_another_user_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        open_store(path).close()
        monkeypatch.setattr("os.geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(RunStoreUnusable, match="belongs to another user"):
            open_store(path)

    @pytest.mark.parametrize("prepare", [make_symbolic_link, make_hard_link, os.mkfifo])
    def test_a_lock_that_others_could_hold_is_refused(
        self, store: RunStore, path: Path, prepare: Callable[[Path], object]
    ) -> None:
        prepare(path.parent / "runs.db.locks" / "run-1.lock")
        with pytest.raises(RunStoreUnusable):
            store.create(new_run())
        assert store.runs() == []

    @pytest.mark.parametrize(
        "bad", ["/", "/proc/self/nowhere/a", "/dev/null/a", "/a\0b/a", "{}/a\0b", "{}/" + "a" * 300]
    )
    def test_a_path_that_cannot_be_created_is_reported(self, tmp_path: Path, bad: str) -> None:
        with pytest.raises(RunStoreUnusable, match=r"can't be used|is not the path of a file"):
            open_store(Path(bad.format(tmp_path)))

    @pytest.mark.usefixtures("store")
    def test_opening_a_store_keeps_the_locks_of_a_transaction(self, path: Path) -> None:
        """POSIX locks end when the process closes any descriptor of the file."""
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            open_store(path).close()
            # A forked process would share what SQLite remembers of this process's locks.
            code = (
                "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)"
                ".execute('BEGIN IMMEDIATE')"
            )
            other = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / {}/home rw - nfs4 server:/home rw
31 22 0:41 / {}/home/local rw - xfs /dev/sdb1 rw
32 22 0:42 / {}/with\\040space rw master:2 propagate_from:1 - fuse.sshfs host:/ rw
33 22 0:43 / {}/covered rw - cifs //server/share rw
34 33 0:44 / {}/covered rw - tmpfs tmpfs rw
a line that is not a mount
"""


class TestNetworkFileSystems:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("", None),
            ("home", "nfs4"),
            ("home/bob", "nfs4"),
            ("home/local", None),
            ("homely", None),
            ("with space", "fuse.sshfs"),
            ("covered", None),
        ],
    )
    def test_the_innermost_mount_counts(self, tmp_path: Path, name: str, kind: str | None) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(MOUNTS.replace("{}", str(tmp_path)))
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        assert network_file_system_of(tmp_path / name, mounts) == kind
        (tmp_path / "link").symlink_to(tmp_path / name)
        assert network_file_system_of(tmp_path / "link", mounts) == kind

    def test_without_a_table_of_mounts_nothing_is_known(self, tmp_path: Path) -> None:
        assert network_file_system_of(tmp_path, tmp_path / "missing") is None

    def test_a_store_on_a_network_file_system_is_refused(self, path: Path) -> None:
        with pytest.raises(RunStoreUnusable, match=r"is on a network file system \(nfs4\)") as caught:
            open_store(path, network_file_system_of=lambda _: "nfs4")
        assert caught.value.help == "Nothing was run. Set CFES_STATE to a file on a local disk."
        assert list(path.parent.iterdir()) == []


class TestFailures:
    def test_on_a_full_disk_a_write_is_refused_and_keeps_the_state(self, store: RunStore) -> None:
        with store.create(new_run()) as held:
            error = without_room(lambda: held.write("x" * 100_000, RUNNING))
            assert isinstance(error, RunRecordUnwritable)
            assert re.search(
                "the run store '.*' can't be used: (disk I/O error|database or disk is full)", error.message
            )
            assert held.stored().state == '{"position": 0}'
            held.write('{"position": 1}', RUNNING)
        assert store.read("run-1").intact

    def test_on_a_full_disk_nothing_else_is_stored(self, store: RunStore) -> None:
        store.create(new_run()).release()
        for act in (lambda: store.create(new_run("run-2")), lambda: store.send_signal("run-1", "go", None, None)):
            error = without_room(act)
            assert isinstance(error, RunStoreUnavailable)
            assert (error.exit_code, error.retryable) == (6, True)
        store.create(new_run("run-2")).release()

    def test_a_store_that_has_no_room_at_first_is_created_later(self, path: Path) -> None:
        assert isinstance(without_room(lambda: open_store(path)), RunStoreUnavailable)
        with open_store(path) as store:
            assert store.runs() == []

    def test_a_transaction_of_another_process_is_waited_for_a_limited_time(self, store: RunStore, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as writer, store.create(new_run()) as held:
            writer.execute("BEGIN IMMEDIATE")
            with pytest.raises(RunStoreUnavailable, match="is locked by another process for more than 0 s"):
                store.create(new_run("run-2"))
            with pytest.raises(RunRecordUnwritable, match="is locked by another process"):
                held.write("{}", RUNNING)
            assert store.read("run-1").state == '{"position": 0}'

    def test_a_newer_schema_is_refused(self, path: Path) -> None:
        open_store(path).close()
        execute(path, "PRAGMA user_version = 2")
        with pytest.raises(RunStoreUnusable, match="its schema is 2, and this version reads up to 1"):
            open_store(path)

    @pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8192])
    def test_a_file_that_is_no_run_store_is_refused_and_kept(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700)
        path.touch(0o600)
        path.write_bytes(content)
        with pytest.raises(RunStoreUnusable, match="is damaged or another kind of file") as caught:
            open_store(path)
        assert "Restore the file from a backup" in caught.value.help
        assert path.read_bytes() == content

    def test_another_sqlite_file_is_refused_and_kept(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700)
        path.touch(0o600)
        execute(path, "CREATE TABLE run (a)")
        before = path.read_bytes()
        with pytest.raises(RunStoreUnusable, match="it was not made by this program"):
            open_store(path)
        assert path.read_bytes() == before

    def test_damaged_pages_are_reported(self, path: Path) -> None:
        with open_store(path) as store:
            for number in range(20):
                store.create(new_run(f"run-{number}", state="x" * 10_000)).release()
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
        with open_store(path) as store, pytest.raises(RunStoreUnusable, match="is damaged"):
            store.runs()

    def test_no_error_shows_the_key(self, store: RunStore) -> None:
        assert KEY.secret.decode() not in repr(store) + repr(store.create(new_run()).stored())
