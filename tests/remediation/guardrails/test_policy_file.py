"""A policy file is used only if root and this user alone can change or replace it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from core import file_ownership
from core.errors import PolicyUnusable
from remediation.guardrails.policy.loading import load_policy

NOBODY = 65534


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "policy.yaml"
    path.write_text("policy: 1\nmax_messages: 7\n")
    return path


def refusal_of(path: Path | str) -> str:
    with pytest.raises(PolicyUnusable) as caught:
        load_policy(str(path))
    assert caught.value.exit_code == 3
    assert "Nothing was changed" in caught.value.help
    return caught.value.message


class TestMode:
    @pytest.mark.parametrize("mode", [0o644, 0o600, 0o400, 0o444, 0o755])
    def test_a_file_that_only_its_owner_can_write_is_used(self, policy: Path, mode: int) -> None:
        policy.chmod(mode)
        assert load_policy(str(policy)).max_messages == 7

    @pytest.mark.parametrize(
        ("mode", "writers"),
        [
            (0o664, "its group"),
            (0o620, "its group"),
            (0o646, "everyone"),
            (0o602, "everyone"),
            (0o666, "its group and everyone"),
            (0o777, "its group and everyone"),
        ],
    )
    def test_a_file_that_others_can_write_is_refused_with_the_fixing_command(
        self, policy: Path, mode: int, writers: str
    ) -> None:
        policy.chmod(mode)
        message = refusal_of(policy)
        assert f"{policy} is writable by {writers} (mode {mode:04o})" in message
        assert message.endswith(f"To fix it: chmod go-w {policy}")

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o733])
    @pytest.mark.parametrize("above", [1, 2])
    def test_a_directory_that_others_can_write_is_refused(self, policy: Path, mode: int, above: int) -> None:
        directory = policy.parents[above - 1]
        directory.chmod(mode)
        message = refusal_of(policy)
        assert f"{directory} is writable by" in message
        assert f"chmod go-w {directory}" in message

    def test_a_directory_with_the_sticky_bit_is_accepted(self, policy: Path) -> None:
        policy.parent.chmod(0o1777)
        assert load_policy(str(policy)).max_messages == 7

    def test_every_wrong_mode_is_reported_at_once(self, policy: Path) -> None:
        policy.chmod(0o666)
        policy.parent.chmod(0o777)
        assert refusal_of(policy).endswith(f"chmod go-w {policy} && chmod go-w {policy.parent}")

    def test_a_directory_mounted_read_only_is_accepted(self, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        policy.parent.chmod(0o777)
        monkeypatch.setattr(file_ownership, "is_read_only_mount", lambda path: path == policy.parent)
        assert load_policy(str(policy)).max_messages == 7


class TestOwner:
    def test_a_file_of_another_user_is_refused(self, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        owner = policy.stat().st_uid
        monkeypatch.setattr(file_ownership, "root_and_this_user", lambda: frozenset({owner + 1}))
        monkeypatch.setattr("core.trusted_text.root_and_this_user", lambda: frozenset({owner + 1}))
        message = refusal_of(policy)
        assert f"{policy} belongs to another user (user ID {owner})" in message
        assert f"chown {os.geteuid()} {policy}" in message

    def test_a_root_owned_file_is_used_by_every_user(self, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        owner = policy.stat().st_uid
        # Simulate a file owned by root and a process of another user.
        monkeypatch.setattr("core.trusted_text.root_and_this_user", lambda: frozenset({owner, owner + 1}))
        monkeypatch.setattr(file_ownership, "root_and_this_user", lambda: frozenset({0, owner, owner + 1}))
        assert load_policy(str(policy)).max_messages == 7


def usable_as(user: int, path: Path) -> bool:
    """Return whether a process of another user loads the policy."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgid(user)
            os.setuid(user)
            code = 0 if load_policy(str(path)).max_messages == 7 else 2
        except PolicyUnusable as error:
            code = 1 if "can be changed by another user" in error.message else 3
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return code == 0


if os.geteuid() == 0:

    def test_a_user_loads_only_policies_owned_by_root_or_that_user() -> None:
        with tempfile.TemporaryDirectory() as temporary:  # pytest's own directories are closed to other users
            Path(temporary).chmod(0o755)
            directory = Path(temporary) / "etc"
            directory.mkdir()
            path = directory / "policy.yaml"
            path.write_text("policy: 1\nmax_messages: 7\n")
            assert usable_as(NOBODY, path), "root's own file"
            for owned in (path, directory):
                os.chown(owned, NOBODY + 7, -1)
                assert not usable_as(NOBODY, path), owned
                os.chown(owned, NOBODY, -1)
                assert usable_as(NOBODY, path), owned
                assert f"{owned} belongs to another user (user ID {NOBODY})" in refusal_of(path)
                os.chown(owned, 0, -1)


class TestLinks:
    def test_a_kubernetes_config_map_mount_is_used(self, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mount = policy.parent
        (mount / "..2026_11_20").mkdir(mode=0o755)
        policy.rename(mount / "..2026_11_20" / "policy.yaml")
        (mount / "..data").symlink_to("..2026_11_20")
        policy.symlink_to("..data/policy.yaml")
        assert load_policy(str(policy)).max_messages == 7
        mount.chmod(0o777)
        assert f"{mount} is writable by" in refusal_of(policy)
        monkeypatch.setattr(file_ownership, "is_read_only_mount", lambda path: path == mount)
        assert load_policy(str(policy)).max_messages == 7

    def test_the_target_of_a_link_is_checked_and_named(self, policy: Path) -> None:
        link = policy.parent.parent / "link.yaml"
        link.symlink_to(policy)
        assert load_policy(str(link)).max_messages == 7
        policy.chmod(0o666)
        assert f"{policy} is writable by" in refusal_of(link)

    def test_the_directories_of_a_link_and_of_its_target_are_checked(self, policy: Path) -> None:
        (policy.parent.parent / "links").mkdir()
        link = policy.parent.parent / "links" / "policy.yaml"
        link.symlink_to("../etc/policy.yaml")
        for directory in (link.parent, policy.parent):
            directory.chmod(0o777)
            assert f"{directory} is writable by" in refusal_of(link)
            directory.chmod(0o755)
        assert load_policy(str(link)).max_messages == 7

    def test_a_linked_parent_directory_is_followed(self, policy: Path) -> None:
        (policy.parent.parent / "current").symlink_to("etc")
        path = policy.parent.parent / "current" / ".." / "current" / "policy.yaml"
        assert load_policy(str(path)).max_messages == 7
        policy.parent.chmod(0o777)
        assert f"{policy.parent} is writable by" in refusal_of(path)

    def test_a_link_of_another_user_is_refused(self, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        link = policy.parent / "link.yaml"
        link.symlink_to("policy.yaml")
        lstat = Path.lstat

        def lstat_of_another(path: Path) -> os.stat_result:
            status = lstat(path)
            return os.stat_result((*status[:4], NOBODY, *status[5:10])) if path == link else status

        monkeypatch.setattr(Path, "lstat", lstat_of_another)
        assert f"{link} belongs to another user" in refusal_of(link)

    def test_circular_links_are_refused(self, policy: Path) -> None:
        (policy.parent / "a").symlink_to("b")
        (policy.parent / "b").symlink_to("a")
        assert "can't be read" in refusal_of(policy.parent / "a")


class TestKind:
    def test_only_a_regular_file_is_read(self, policy: Path) -> None:
        os.mkfifo(policy.parent / "pipe")
        for path in (policy.parent / "pipe", "/dev/null", "/dev/zero"):
            assert "is not a regular file" in refusal_of(path)
        assert "Is a directory" in refusal_of(policy.parent)

    def test_a_shell_pipe_is_refused(self) -> None:
        reader, writer = os.pipe()
        try:
            assert "is not a regular file" in refusal_of(f"/dev/fd/{reader}")
        finally:
            os.close(reader)
            os.close(writer)

    def test_a_relative_path_is_resolved_from_the_working_directory(
        self, policy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(policy.parent)
        assert load_policy("policy.yaml").max_messages == 7
        policy.parent.chmod(0o777)
        assert f"{policy.parent} is writable by" in refusal_of("policy.yaml")
