"""A run that the version before the run store began is finished from its journal.json, if nobody edited it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playbooks.drivers import local
from playbooks.drivers.drive import Hooks
from playbooks.drivers.seal_key import SealKey
from playbooks.language.errors import RunInProgress, RunMoved, RunNotFound, StateRefused
from playbooks.language.format import Playbook
from tests.playbooks.conftest import KEY, Remote
from tests.playbooks.driving import store_beside
from tests.playbooks.old_journals import store_journal, write_journal

Build = Callable[..., Any]
OTHER = SealKey(b"o" * 32, "of another machine")


@pytest.fixture
def case(purge: Playbook, alert: dict[str, Any], remote: Build, tmp_path: Path) -> Path:
    """The directory of a run that was killed in its create."""
    write_journal(tmp_path / "run", purge, {"alert": alert}, remote(), KEY, killed_at="create-move-job")
    return tmp_path / "run"


@pytest.fixture
def finish(clock: Any, remote: Build) -> Build:
    """A function that adopts and resumes a run. It returns the outcome and the calls."""

    def finish_run(directory: Path, key: SealKey = KEY) -> tuple[Any, Remote]:
        actions: Remote = remote()
        with store_beside(directory, clock, key) as store:
            run_id = local.adopt_journal(directory, store=store, key=key)
            return local.resume(run_id, store=store, hooks=Hooks(actions, clock)), actions

    return finish_run


@pytest.fixture
def refuse(clock: Any) -> Build:
    """A function that returns the refusal of a journal, and checks that the run store has no run of it."""

    def refused(directory: Path, key: SealKey = KEY) -> StateRefused:
        with store_beside(directory, clock, key) as store:
            with pytest.raises(StateRefused) as caught:
                local.adopt_journal(directory, store=store, key=key)
            assert store.runs() == []
        assert (caught.value.exit_code, caught.value.applied) == (2, "no")
        assert caught.value.help.startswith("Nothing was run.")
        return caught.value

    return refused


def document(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "journal.json").read_text())
    return found


def test_an_interrupted_run_is_finished_with_the_same_parameters(case: Path, finish: Build) -> None:
    outcome, actions = finish(case)
    assert outcome.status == "completed"
    assert [action for action, _ in actions.calls] == ["create-move-job", *["wait-for-job"] * 3, "export-job-messages"]
    assert actions.of("create-move-job") == [{"idempotency_key": "A/1:2", "destination": "JunkEmail"}]


def test_a_run_is_adopted_once_and_then_goes_on_in_the_run_store(case: Path, finish: Build) -> None:
    first, _ = finish(case)
    again, actions = finish(case)
    assert (again.run_id, again.outputs, actions.calls) == (first.run_id, first.outputs, [])


@pytest.mark.parametrize("name", ["journal", "playbook", "state", "in_flight", "key", "seal", "extra"])
def test_an_edited_journal_is_refused(case: Path, refuse: Build, name: str) -> None:
    edited = document(case)
    edited[name] = {**edited[name], "x": 1} if isinstance(edited.get(name), dict) else "x"
    (case / "journal.json").write_text(json.dumps(edited))
    refuse(case)


def test_edited_parameters_of_the_next_action_are_refused(case: Path, refuse: Build) -> None:
    edited = document(case)
    edited["state"]["pending"]["params"]["destination"] = "Trash"
    (case / "journal.json").write_text(json.dumps(edited))
    assert "was edited: its seal is invalid" in refuse(case).message


@pytest.mark.parametrize("seal", [None, "", "0" * 64, 5, [], {}, "é" * 64, "\ud800"])
def test_an_invalid_seal_is_refused(case: Path, refuse: Build, seal: Any) -> None:
    (case / "journal.json").write_text(json.dumps({**document(case), "seal": seal}))
    assert "its seal is invalid" in refuse(case).message


def test_a_journal_sealed_with_another_key_is_refused_with_the_settings_to_check(case: Path, refuse: Build) -> None:
    error = refuse(case, OTHER)
    assert "sealed with another key than the one of this process (of another machine)" in error.message
    assert "CFES_PLAN_KEY or CFES_STATE_DIR" in error.help


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-40], "it is not a JSON document"),
        (lambda _: "", "it is not a JSON document"),
        (lambda _: "[" * 100_000, "it is not a JSON document"),
        (lambda _: "[1]", "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": 3'), "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": true'), "another version"),
        (lambda text: text.replace('"journal": 2', '"journal": 1'), "an older version of this program"),
        (lambda _: '{"journal": 2}', "damaged or was edited"),
        (lambda _: '{"journal": 2, "x": NaN}', "damaged or was edited"),
    ],
)
def test_a_damaged_journal_is_refused(case: Path, refuse: Build, damage: Callable[[str], str], message: str) -> None:
    path = case / "journal.json"
    path.write_text(damage(path.read_text()))
    assert message in refuse(case).message


def test_a_journal_with_an_unknown_playbook_version_is_refused(case: Path, refuse: Build) -> None:
    journal = document(case)
    store_journal(case, {**journal, "playbook": {**journal["playbook"], "playbook": 2}}, KEY)
    assert "this version can't read the run's playbook" in refuse(case).message


@pytest.mark.parametrize("kind", ["moved", "copied"])
def test_a_moved_or_copied_run_is_refused_with_both_paths(case: Path, refuse: Build, tmp_path: Path, kind: str) -> None:
    if kind == "moved":
        case.rename(tmp_path / "else")
    else:
        shutil.copytree(case, tmp_path / "else")
    error = refuse(tmp_path / "else")
    assert isinstance(error, RunMoved)
    assert f"began in '{tmp_path}/run'" in error.message
    assert f"is now in '{tmp_path}/else'" in error.message


def test_a_run_that_a_process_of_the_earlier_version_has_is_left_to_it(case: Path, finish: Build, clock: Any) -> None:
    lock = os.open(case / "journal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with store_beside(case, clock) as store:
            with pytest.raises(RunInProgress, match="another process uses the run"):
                local.adopt_journal(case, store=store, key=KEY)
            assert store.runs() == []
    finally:
        os.close(lock)
    assert finish(case)[0].status == "completed"


@pytest.mark.parametrize("name", ["journal.json", "journal.lock"])
def test_a_journal_that_is_a_link_or_has_a_second_name_is_refused(
    case: Path, refuse: Build, tmp_path: Path, name: str
) -> None:
    (case / name).touch(mode=0o600)
    os.link(case / name, case / "second-name")
    assert f"{name}' has 2 hard links" in refuse(case).message
    (case / "second-name").unlink()
    (case / name).rename(tmp_path / "elsewhere")
    (case / name).symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in refuse(case).message


def test_a_directory_without_a_journal_is_reported_and_left_empty(clock: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with store_beside(tmp_path / "run", clock) as store:
        for name in ("empty", "nowhere"):
            with pytest.raises(RunNotFound, match="there is no run with its files in") as caught:
                local.adopt_journal(tmp_path / name, store=store, key=KEY)
            assert "cfes playbook runs" in caught.value.help
    assert list((tmp_path / "empty").iterdir()) == []
