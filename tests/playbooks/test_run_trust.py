"""A run needs a directory that only this user can write to, and a record with a valid seal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playbooks.drivers import local
from playbooks.drivers.drive import Hooks
from playbooks.drivers.outcome import Outcome
from playbooks.drivers.seal_key import SealKey
from playbooks.language.errors import DirectoryUnusable, RunRecordRefused
from playbooks.language.format import Playbook
from tests.playbooks.conftest import KEY
from tests.playbooks.driving import resume, run, store_beside, store_of
from tests.playbooks.run_stores import execute

Build = Callable[..., Any]
OTHER = SealKey(b"o" * 32, "of another machine")


class Killed(BaseException):
    """An exception that no driver catches."""


@pytest.fixture
def run_purge(purge: Playbook, alert: dict[str, Any], clock: Any) -> Callable[..., Outcome]:
    def run_it(run_action: Any, directory: Path) -> Outcome:
        given: dict[str, Any] = {"clock": clock, "key": KEY, "run_id": "run-1"}
        return run(purge, {"alert": alert}, run_action=run_action, directory=directory, **given)

    return run_it


@pytest.fixture
def killed_run(run_purge: Build, remote: Build, tmp_path: Path) -> Path:
    """The directory of a run killed in its create; a resume runs the create with the same parameters."""

    def kill_at_create(action: str, params: dict[str, Any]) -> Any:
        if action == "create-move-job":
            raise Killed
        return remote()(action, params)

    with pytest.raises(Killed):
        run_purge(kill_at_create, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def resume_run(remote: Build, clock: Any) -> Build:
    """A function that resumes a run and returns the actions that ran."""

    def run_it(directory: Path, key: SealKey = KEY) -> list[str]:
        actions = remote()
        resume(directory, run_action=actions, clock=clock, key=key)
        return [action for action, _ in actions.calls]

    return run_it


@pytest.fixture
def refuse_resume(remote: Build, clock: Any) -> Build:
    """A function that returns the refusal of a resume and checks that nothing ran."""

    def run_it(directory: Path, key: SealKey = KEY) -> RunRecordRefused:
        actions = remote()
        with pytest.raises(RunRecordRefused) as caught:
            resume(directory, run_action=actions, clock=clock, key=key)
        assert actions.calls == []
        assert (caught.value.exit_code, caught.value.applied) == (2, "no")
        assert caught.value.help.startswith("Nothing was run.")
        return caught.value

    return run_it


class TestSeal:
    def test_an_unchanged_run_is_resumed(self, killed_run: Path, resume_run: Build) -> None:
        assert resume_run(killed_run)[0] == "create-move-job"

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ('"destination":"JunkEmail"', '"destination":"Trash"'),
            ('"idempotency_key":"A/1:2"', '"idempotency_key":"another"'),
            ('"destination":"JunkEmail"', '"destination":"JunkEmail","allow_malicious":true'),
            ('"max_messages":100', '"max_messages":100000'),
        ],
    )
    def test_edited_parameters_of_the_next_action_are_refused(
        self, killed_run: Path, refuse_resume: Build, before: str, after: str
    ) -> None:
        path = store_of(killed_run)
        ((state,),) = execute(path, "SELECT state FROM run")
        assert before in state
        execute(path, "UPDATE run SET state = ?", state.replace(before, after))
        assert "was edited: its seal is invalid" in refuse_resume(killed_run).message
        execute(path, "UPDATE run SET in_flight = '[]', state = ?", state)
        assert "was edited: its seal is invalid" in refuse_resume(killed_run).message

    def test_a_run_sealed_with_another_key_is_refused_with_the_settings_to_check(
        self, killed_run: Path, refuse_resume: Build
    ) -> None:
        error = refuse_resume(killed_run, OTHER)
        assert "sealed with another key than the one of this process (of another machine)" in error.message
        assert "CFES_PLAN_KEY or CFES_STATE_DIR" in error.help

    def test_the_key_is_not_in_its_repr_or_the_run_store(self, killed_run: Path) -> None:
        assert "k" * 16 not in repr(KEY)
        for file in store_of(killed_run).parent.rglob("runs.db*"):
            if file.is_file():
                assert KEY.secret.hex().encode() not in file.read_bytes()
                assert KEY.secret not in file.read_bytes()
        with pytest.raises(ValueError, match="at least 16 bytes"):
            SealKey(b"short", "a test")


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def link_twice(path: Path) -> None:
    elsewhere = path.parent.with_name("elsewhere")
    elsewhere.touch()
    os.link(elsewhere, path)


def make_named_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_writable(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


def make_writable_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def make_directory_with_link(path: Path) -> None:
    path.mkdir()
    (path / "inner").symlink_to("/etc/hostname")


PLANTED = [
    (link, "is a symbolic link"),
    (link_twice, "has 2 hard links"),
    (make_named_pipe, "is not a regular file"),
    (make_writable, r"is writable by its group and everyone \(mode 0666\)"),
    (make_writable_directory, r"is writable by its group and everyone \(mode 0777\)"),
    (make_directory_with_link, "is a symbolic link"),
]
NAMES = ["calls.ndjson", "rows.ndjson"]


class TestDirectory:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("plant", "message"), PLANTED)
    def test_a_planted_file_is_refused_on_resume(
        self, killed_run: Path, refuse_resume: Build, plant: Callable[[Path], None], message: str, name: str
    ) -> None:
        (killed_run / name).unlink(missing_ok=True)
        plant(killed_run / name)
        error = refuse_resume(killed_run)
        assert "the run's directory can't be trusted" in error.message
        assert name in error.message
        assert re.search(message, error.message)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("plant", "message"), PLANTED)
    def test_a_planted_file_is_refused_at_the_start_of_a_run(
        self, run_purge: Build, remote: Build, tmp_path: Path, plant: Callable[[Path], None], message: str, name: str
    ) -> None:
        (tmp_path / "run").mkdir(mode=0o700)
        plant(tmp_path / "run" / name)
        actions = remote()
        with pytest.raises(DirectoryUnusable, match=message) as caught:
            run_purge(actions, tmp_path / "run")
        assert actions.calls == []
        assert "choose a directory that does not exist yet" in caught.value.help

    def test_a_hard_link_left_by_a_killed_export_is_accepted(self, killed_run: Path, resume_run: Build) -> None:
        (killed_run / "rows.ndjson.ab12.t").touch(mode=0o600)
        os.link(killed_run / "rows.ndjson.ab12.t", killed_run / "rows.ndjson")
        assert resume_run(killed_run)

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o775, 0o777, 0o1777])
    def test_a_directory_writable_by_others_is_refused_with_the_chmod_command(
        self,
        run_purge: Build,
        remote: Build,
        killed_run: Path,
        refuse_resume: Build,
        resume_run: Build,
        tmp_path: Path,
        mode: int,
    ) -> None:
        killed_run.chmod(mode)
        error = refuse_resume(killed_run)
        assert f"(mode {mode:04o})" in error.message
        assert f"chmod go-w {killed_run}" in error.help
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(mode)
        with pytest.raises(DirectoryUnusable):
            run_purge(remote(), tmp_path / "open")
        killed_run.chmod(0o700)
        assert resume_run(killed_run)

    def test_a_directory_of_another_user_is_refused(
        self,
        killed_run: Path,
        refuse_resume: Build,
        run_purge: Build,
        remote: Build,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "empty").mkdir(mode=0o700)
        owner = killed_run.stat().st_uid
        monkeypatch.setattr("playbooks.drivers.run_directory.this_user", lambda: frozenset({owner + 1}))
        error = refuse_resume(killed_run)
        assert f"belongs to another user (user ID {owner})" in error.message
        with pytest.raises(DirectoryUnusable, match="belongs to another user"):
            run_purge(remote(), tmp_path / "empty")

    def test_a_link_to_a_directory_is_refused_and_names_the_directory(
        self, killed_run: Path, refuse_resume: Build, run_purge: Build, remote: Build, tmp_path: Path
    ) -> None:
        killed_run.rename(tmp_path / "moved")
        killed_run.symlink_to(tmp_path / "moved")
        error = refuse_resume(killed_run)
        assert "is a symbolic link" in error.message
        assert f"Name the directory itself: {tmp_path / 'moved'}" in error.help
        (tmp_path / "empty").mkdir(mode=0o700)
        for target in ("empty", "nowhere"):
            (tmp_path / f"to-{target}").symlink_to(tmp_path / target)
            with pytest.raises(DirectoryUnusable, match="is a symbolic link"):
                run_purge(remote(), tmp_path / f"to-{target}")
        assert list((tmp_path / "empty").iterdir()) == []

    def test_files_of_the_run_itself_are_accepted(
        self, run_purge: Build, remote: Build, purge: Playbook, alert: dict[str, Any], clock: Any, tmp_path: Path
    ) -> None:
        before = os.umask(0)
        try:
            (tmp_path / "run").mkdir(mode=0o755)
            assert run_purge(remote(), tmp_path / "run").status == "completed"
            with store_beside(tmp_path / "run", clock) as store:
                hooks = Hooks(remote(), clock)
                given: dict[str, Any] = {"run_id": "run-2", "directory": tmp_path / "new" / "deep", "hooks": hooks}
                assert local.run(purge, {"alert": alert}, store=store, **given).status == "completed"
        finally:
            os.umask(before)
        assert [p.stat().st_mode & 0o777 for p in (tmp_path / "new" / "deep", tmp_path / "new")] == [0o700, 0o755]
