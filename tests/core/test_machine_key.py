"""The machine key is created once, is private to this user, and is never silently replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ConnectionSettingsError
from core.machine_key import machine_key

ROOT = Path(__file__).resolve().parents[2]


def test_the_key_is_created_once_with_mode_0600(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = machine_key(tmp_path, "journal.key")
    finally:
        os.umask(before)
    assert len(made) == 32
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert machine_key(tmp_path, "journal.key") == made
    assert machine_key(tmp_path, "other.key") != made


def test_concurrent_processes_get_the_same_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from core.machine_key import machine_key; sys.stdin.read(); "
        f"print(machine_key(Path({str(tmp_path)!r}), 'journal.key').hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    keys = set()
    for process in processes:
        assert process.stdout is not None
        with process.stdout:
            keys.add(process.stdout.read())
        assert process.wait() == 0
    assert len(keys) == 1
    assert keys == {machine_key(tmp_path, "journal.key").hex() + "\n"}


def test_leftover_files_of_a_killed_process_are_harmless(tmp_path: Path) -> None:
    (tmp_path / "journal.key.new").write_text("half")
    (tmp_path / "journal.key.lock").touch(mode=0o600)
    assert len(machine_key(tmp_path, "journal.key")) == 32


def test_an_existing_key_is_read_on_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine_key(tmp_path, "journal.key")
    (tmp_path / "journal.key.lock").unlink()
    opened = os.open

    def read_only(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    assert machine_key(tmp_path, "journal.key") == made
    with pytest.raises(ConnectionSettingsError, match="Read-only file system"):
        machine_key(tmp_path, "other.key")


def make_symbolic_link(path: Path) -> None:
    path.with_name("target").write_text("0" * 64 + "\n")
    path.symlink_to("target")


def make_hard_link(path: Path) -> None:
    path.with_name("target").write_text("0" * 64 + "\n")
    path.with_name("target").chmod(0o600)
    os.link(path.with_name("target"), path)


def make_world_readable(path: Path) -> None:
    path.write_text("0" * 64 + "\n")
    path.chmod(0o644)


def make_file(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(0o600)

    return write


@pytest.mark.parametrize(
    ("plant", "problem"),
    [
        (make_symbolic_link, "can't be used"),
        (make_hard_link, "has 2 hard links"),
        (make_world_readable, r"is accessible to other users \(mode 0644\)"),
        (lambda path: path.mkdir(), "can't be used"),
        (lambda path: os.mkfifo(path, 0o600), "is not a regular file"),
        (make_file(b""), "is damaged"),
        (make_file(b"0" * 64), "is damaged"),
        (make_file(b"0" * 63 + b"\n"), "is damaged"),
        (make_file(b"0" * 65 + b"\n"), "is damaged"),
        (make_file(b"\xff" * 64 + b"\n"), "is damaged"),
    ],
)
def test_an_altered_key_file_is_refused_and_kept(tmp_path: Path, plant: Callable[[Path], object], problem: str) -> None:
    path = tmp_path / "journal.key"
    plant(path)
    before = path.lstat()
    with pytest.raises(ConnectionSettingsError, match=problem) as caught:
        machine_key(tmp_path, "journal.key")
    assert caught.value.help.startswith("Nothing was changed.")
    assert path.lstat().st_ino == before.st_ino
