"""The state directory is private to this user, and refused if another user could change or replace it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from core import file_ownership
from core.errors import ConnectionSettingsError
from core.state_directory import check_private_file, private_directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestLocation:
    def test_the_setting_is_used(self, tmp_path: Path) -> None:
        assert private_directory(str(tmp_path / "state"), {}) == tmp_path / "state"

    def test_the_default_is_in_the_state_home(self, tmp_path: Path) -> None:
        environment = {"XDG_STATE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path / "home")}
        assert private_directory(None, environment) == tmp_path / "xdg" / "cfes"

    @pytest.mark.parametrize("state_home", [{}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative/state"}])
    def test_without_a_state_home_the_default_is_in_the_home_directory(
        self, tmp_path: Path, state_home: dict[str, str]
    ) -> None:
        made = private_directory(None, {**state_home, "HOME": str(tmp_path)})
        assert made == tmp_path / ".local" / "state" / "cfes"

    @pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "relative"}])
    def test_without_a_home_directory_the_setting_is_required(self, environment: dict[str, str]) -> None:
        with pytest.raises(ConnectionSettingsError, match="set CFES_STATE_DIR"):
            private_directory(None, environment)

    @pytest.mark.parametrize("setting", ["state", "./state", "~/state", " /state"])
    def test_a_relative_path_is_refused(self, setting: str) -> None:
        with pytest.raises(ConnectionSettingsError, match="must be an absolute path"):
            private_directory(setting, {})


def test_every_created_directory_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = private_directory(str(tmp_path / "a" / "b" / "state"), {})
    finally:
        os.umask(before)
    assert [mode(path) for path in (made, made.parent, made.parent.parent)] == [0o700] * 3


def test_an_existing_directory_is_reused(tmp_path: Path) -> None:
    made = private_directory(str(tmp_path / "state"), {})
    (made / "kept").write_text("kept")
    assert private_directory(str(tmp_path / "state"), {}) == made
    assert (made / "kept").read_text() == "kept"


def make_symbolic_link(path: Path) -> None:
    (path.parent / "other").mkdir(mode=0o700)
    path.symlink_to(path.parent / "other")


def make_parent_world_writable(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda path: path.write_text("a file"), "is not a directory"),
        (make_symbolic_link, "is a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "can't be created or opened: File exists"),
        (lambda path: path.mkdir(mode=0o755), r"is accessible to other users \(mode 0755\)"),
        (lambda path: path.mkdir(mode=0o750), r"is accessible to other users \(mode 0750\)"),
        (make_parent_world_writable, "can be replaced by another user"),
    ],
)
def test_a_directory_that_others_could_change_is_refused(
    tmp_path: Path, prepare: Callable[[Path], object], problem: str
) -> None:
    (tmp_path / "home").mkdir()
    path = tmp_path / "home" / "state"
    prepare(path)
    with pytest.raises(ConnectionSettingsError, match=problem) as caught:
        private_directory(str(path), {})
    assert caught.value.help.startswith("Nothing was changed. Set CFES_STATE_DIR")


def test_the_error_has_the_command_that_fixes_the_mode(tmp_path: Path) -> None:
    (tmp_path / "my state").mkdir(mode=0o755)
    with pytest.raises(ConnectionSettingsError) as caught:
        private_directory(str(tmp_path / "my state"), {})
    assert caught.value.help.endswith(f"Or run: chmod 700 '{tmp_path}/my state'")


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = private_directory(str(tmp_path / "state"), {})
    monkeypatch.setattr("os.geteuid", lambda: made.stat().st_uid + 1)
    with pytest.raises(ConnectionSettingsError, match="belongs to another user"):
        private_directory(str(made), {})


def test_a_parent_writable_only_by_the_users_own_group_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = private_directory(str(tmp_path / "home" / "state"), {})
    made.parent.chmod(0o770)
    for own, accepted in ((True, True), (False, False)):
        monkeypatch.setattr(file_ownership, "is_own_group", lambda _, own=own: own)
        if accepted:
            assert private_directory(str(made), {}) == made
        else:
            with pytest.raises(ConnectionSettingsError, match=r"is writable by its group \(mode 0770\)"):
                private_directory(str(made), {})


def test_nothing_is_created_in_a_directory_that_others_can_change(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(ConnectionSettingsError, match="can be replaced by another user"):
        private_directory(None, {"HOME": str(tmp_path / "home")})
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("bad", ["/proc/self/nowhere/state", "/dev/null/state", "/a\0b"])
def test_a_directory_that_cannot_be_created_is_reported_without_a_traceback(bad: str) -> None:
    with pytest.raises(ConnectionSettingsError, match="can't be used"):
        private_directory(bad, {})


def make_hard_link(path: Path) -> None:
    path.touch(mode=0o600)
    os.link(path, f"{path}.2")


class TestFiles:
    def test_a_private_file_passes(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger"
        path.touch(mode=0o600)
        check_private_file(path, path.stat())

    @pytest.mark.parametrize(
        ("prepare", "problem"),
        [
            (lambda path: path.mkdir(mode=0o700), "is not a regular file"),
            (lambda path: path.touch(mode=0o640), "is accessible to other users"),
            (make_hard_link, "has 2 hard links"),
        ],
    )
    def test_an_unsafe_file_is_refused(self, tmp_path: Path, prepare: Callable[[Path], object], problem: str) -> None:
        path = tmp_path / "ledger"
        prepare(path)
        with pytest.raises(ConnectionSettingsError, match=problem):
            check_private_file(path, path.lstat())
