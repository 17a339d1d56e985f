"""A run is begun and resumed only in a directory that is this user's alone, from a journal that this program sealed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.json_values import canonical, digest
from playbooks.drivers.journal import Entry, Journal
from playbooks.drivers.journal_key import JournalKey
from playbooks.drivers.local import Outcome, resume, run
from playbooks.language.errors import DirectoryUnusable, JournalRefused, RunMoved
from playbooks.language.format import Playbook
from tests.playbooks.conftest import KEY

Build = Callable[..., Any]
OTHER = JournalKey(b"o" * 32, "of another machine")


class Killed(BaseException):
    """What no driver catches."""


@pytest.fixture
def go(purge: Playbook, alert: dict[str, Any], clock: Any) -> Callable[..., Outcome]:
    def start(run_action: Any, directory: Path) -> Outcome:
        given: dict[str, Any] = {"clock": clock, "key": KEY, "run_id": "run-1"}
        return run(purge, {"alert": alert}, run_action=run_action, directory=directory, **given)

    return start


@pytest.fixture
def killed(go: Build, remote: Build, tmp_path: Path) -> Path:
    """The directory of a run that was killed within its create: the next resume runs that with the same parameters."""

    def dies(action: str, params: dict[str, Any]) -> Any:
        if action == "create-move-job":
            raise Killed
        return remote()(action, params)

    with pytest.raises(Killed):
        go(dies, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def resumed(remote: Build, clock: Any) -> Build:
    """Resumes a run; gives the actions that ran."""

    def start(directory: Path, key: JournalKey = KEY) -> list[str]:
        side = remote()
        resume(directory, run_action=side, clock=clock, key=key)
        return [action for action, _ in side.calls]

    return start


@pytest.fixture
def refused(remote: Build, clock: Any) -> Build:
    """The refusal of a resume that runs nothing."""

    def start(directory: Path, key: JournalKey = KEY) -> JournalRefused:
        side = remote()
        with pytest.raises(JournalRefused) as caught:
            resume(directory, run_action=side, clock=clock, key=key)
        assert side.calls == []
        assert (caught.value.exit_code, caught.value.applied) == (2, "no")
        assert caught.value.help.startswith("Nothing was run.")
        return caught.value

    return start


def document(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "journal.json").read_text())
    return found


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a document, from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in paths_of(item, (*path, key)))]


def changed_at(value: Any, path: tuple[Any, ...]) -> Any:
    """The document with another value at one place."""
    if not path:
        match value:
            case bool():
                return not value
            case int() | float():
                return value + 1
            case str():
                return value + "x"
            case None:
                return "x"
            case list():
                return [*value, "x"]
            case _:
                return {**value, "x": "x"}
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed_at(value[path[0]], path[1:])
    return copied


class TestSeal:
    def test_an_untouched_run_is_resumed(self, killed: Path, resumed: Build) -> None:
        assert resumed(killed)[0] == "create-move-job"

    def test_every_value_that_is_edited_is_refused(self, killed: Path, refused: Build) -> None:
        whole = document(killed)
        places = paths_of(whole)[1:]
        assert len(places) > 100
        assert {place[0] for place in places} == {"journal", "playbook", "state", "in_flight", "key", "seal"}
        for place in places:
            (killed / "journal.json").write_text(json.dumps(changed_at(whole, place)))
            refused(killed)

    def test_every_value_that_is_taken_out_or_added_is_refused(self, killed: Path, refused: Build) -> None:
        whole = document(killed)
        for name in whole:
            (killed / "journal.json").write_text(json.dumps({key: v for key, v in whole.items() if key != name}))
            refused(killed)
        (killed / "journal.json").write_text(json.dumps({**whole, "extra": 1}))
        refused(killed)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("destination", "Trash"),
            ("idempotency_key", "another"),
            ("max_messages", 100_000),
            ("allow_malicious", True),
        ],
    )
    def test_the_parameters_of_the_action_that_is_next_can_not_be_edited(
        self, killed: Path, refused: Build, name: str, value: Any
    ) -> None:
        whole = document(killed)
        whole["state"]["pending"]["params"][name] = value
        (killed / "journal.json").write_text(json.dumps(whole))
        assert "was edited: its seal is invalid" in refused(killed).message

    @pytest.mark.parametrize("seal", [None, "", "0" * 64, 5, [], {}, "é" * 64, "\ud800"])
    def test_a_seal_that_is_none_is_refused(self, killed: Path, refused: Build, seal: Any) -> None:
        (killed / "journal.json").write_text(json.dumps({**document(killed), "seal": seal}))
        assert "its seal is invalid" in refused(killed).message

    def test_an_edited_journal_with_a_digest_in_place_of_the_seal_is_refused(
        self, killed: Path, refused: Build
    ) -> None:
        whole = document(killed)
        whole["state"]["pending"]["params"]["destination"] = "Trash"
        unsealed = {key: value for key, value in whole.items() if key != "seal"}
        for forged in (
            {**unsealed, "seal": digest(unsealed)},
            {**unsealed, "sha256": digest(unsealed)},
            {**unsealed, "journal": 1, "sha256": digest({**unsealed, "journal": 1})},
            {**unsealed, "key": OTHER.id, "seal": OTHER.seal({**unsealed, "key": OTHER.id})},
            {**unsealed, "seal": OTHER.seal(unsealed)},
        ):
            (killed / "journal.json").write_text(json.dumps(forged))
            refused(killed)

    def test_an_older_journal_without_a_seal_names_the_next_step(self, killed: Path, refused: Build) -> None:
        old = {"journal": 1, **{name: document(killed)[name] for name in ("playbook", "state", "in_flight")}}
        (killed / "journal.json").write_bytes(canonical({**old, "sha256": digest(old)}))
        error = refused(killed)
        assert "an older version of this program, without a seal" in error.message
        assert "Begin a new run." in error.help

    def test_another_key_is_named_with_what_to_set(self, killed: Path, refused: Build) -> None:
        error = refused(killed, OTHER)
        assert "sealed with another key than the one of this process (of another machine)" in error.message
        assert "CFES_PLAN_KEY or CFES_STATE_DIR" in error.help

    def test_a_journal_of_another_run_is_refused(
        self, go: Build, remote: Build, killed: Path, clock: Any, tmp_path: Path
    ) -> None:
        go(remote(), tmp_path / "other")
        shutil.copy(killed / "journal.json", tmp_path / "other" / "journal.json")
        side = remote()
        with pytest.raises(RunMoved):
            resume(tmp_path / "other", run_action=side, clock=clock, key=KEY)
        assert side.calls == []

    def test_an_entry_of_one_key_is_not_read_with_another(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "run", KEY, create=True) as journal:
            journal.write(Entry({"a": 1}, {"b": 2}))
            assert journal.read() == Entry({"a": 1}, {"b": 2})
        with Journal(tmp_path / "run", OTHER, create=False) as journal, pytest.raises(JournalRefused):
            journal.read()

    def test_the_key_shows_nowhere(self, killed: Path) -> None:
        assert "k" * 16 not in repr(KEY)
        assert KEY.secret.hex() not in (killed / "journal.json").read_text()
        with pytest.raises(ValueError, match="at least 16 bytes"):
            JournalKey(b"short", "a test")


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def linked_twice(path: Path) -> None:
    elsewhere = path.parent.with_name("elsewhere")
    elsewhere.touch()
    os.link(elsewhere, path)


def named_pipe(path: Path) -> None:
    os.mkfifo(path)


def writable(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


def writable_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def link_in_a_directory(path: Path) -> None:
    path.mkdir()
    (path / "inner").symlink_to("/etc/hostname")


PLANTED = [
    (link, "is a symbolic link"),
    (linked_twice, "has 2 hard links"),
    (named_pipe, "is not a regular file"),
    (writable, r"is writable by its group and everyone \(mode 0666\)"),
    (writable_directory, r"is writable by its group and everyone \(mode 0777\)"),
    (link_in_a_directory, "is a symbolic link"),
]
NAMES = ["journal.json", "journal.lock", "journal.json.new", "calls.ndjson", "rows.ndjson"]


class TestDirectory:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("plant", "said"), PLANTED)
    def test_what_others_may_have_put_there_is_refused_on_resume(
        self, killed: Path, refused: Build, plant: Callable[[Path], None], said: str, name: str
    ) -> None:
        (killed / name).unlink(missing_ok=True)
        plant(killed / name)
        error = refused(killed)
        assert "the run's directory can't be trusted" in error.message
        assert name in error.message
        assert re.search(said, error.message)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("plant", "said"), PLANTED)
    def test_and_where_a_run_begins(
        self, go: Build, remote: Build, tmp_path: Path, plant: Callable[[Path], None], said: str, name: str
    ) -> None:
        (tmp_path / "run").mkdir(mode=0o700)
        plant(tmp_path / "run" / name)
        side = remote()
        with pytest.raises(DirectoryUnusable, match=said) as caught:
            go(side, tmp_path / "run")
        assert side.calls == []
        assert "choose a directory that does not exist yet" in caught.value.help

    def test_a_file_with_two_names_in_the_directory_is_what_a_killed_export_leaves(
        self, killed: Path, refused: Build, resumed: Build
    ) -> None:
        (killed / "rows.ndjson.ab12.t").touch(mode=0o600)
        os.link(killed / "rows.ndjson.ab12.t", killed / "rows.ndjson")
        os.link(killed / "journal.json", killed / "copy.json")
        assert "journal.json has 2 hard links" in refused(killed).message.replace("'", "")
        (killed / "copy.json").unlink()
        assert resumed(killed)

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o775, 0o777, 0o1777])
    def test_a_directory_that_others_can_write_to_is_refused_with_the_command(
        self, go: Build, remote: Build, killed: Path, refused: Build, resumed: Build, tmp_path: Path, mode: int
    ) -> None:
        killed.chmod(mode)
        error = refused(killed)
        assert f"(mode {mode:04o})" in error.message
        assert f"chmod go-w {killed}" in error.help
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(mode)
        with pytest.raises(DirectoryUnusable):
            go(remote(), tmp_path / "open")
        killed.chmod(0o700)
        assert resumed(killed)

    def test_a_directory_of_another_user_is_refused(
        self, killed: Path, refused: Build, go: Build, remote: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "empty").mkdir(mode=0o700)
        owner = killed.stat().st_uid
        monkeypatch.setattr("playbooks.drivers.run_directory.this_user", lambda: frozenset({owner + 1}))
        error = refused(killed)
        assert f"belongs to another user (user ID {owner})" in error.message
        with pytest.raises(DirectoryUnusable, match="belongs to another user"):
            go(remote(), tmp_path / "empty")

    def test_a_link_to_a_directory_is_refused_and_names_the_directory(
        self, killed: Path, refused: Build, go: Build, remote: Build, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(killed)
        error = refused(tmp_path / "link")
        assert "is a symbolic link" in error.message
        assert f"Name the directory itself: {killed}" in error.help
        (tmp_path / "empty").mkdir(mode=0o700)
        for target in ("empty", "nowhere"):
            (tmp_path / f"to-{target}").symlink_to(tmp_path / target)
            with pytest.raises(DirectoryUnusable, match="is a symbolic link"):
                go(remote(), tmp_path / f"to-{target}")
        assert list((tmp_path / "empty").iterdir()) == []

    def test_what_a_run_writes_itself_is_no_obstacle(self, go: Build, remote: Build, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            (tmp_path / "run").mkdir(mode=0o755)
            assert go(remote(), tmp_path / "run").status == "completed"
            assert go(remote(), tmp_path / "new" / "deep").status == "completed"
        finally:
            os.umask(before)
        assert [p.stat().st_mode & 0o777 for p in (tmp_path / "new" / "deep", tmp_path / "new")] == [0o700, 0o755]

    def test_a_directory_that_is_renamed_while_it_is_open_does_not_lead_the_journal_elsewhere(
        self, tmp_path: Path
    ) -> None:
        with Journal(tmp_path / "run", KEY, create=True) as journal:
            (tmp_path / "run").rename(tmp_path / "moved")
            (tmp_path / "run").mkdir()
            journal.write(Entry({"a": 1}, {}))
        assert list((tmp_path / "run").iterdir()) == []
        assert (tmp_path / "moved" / "journal.json").is_file()
