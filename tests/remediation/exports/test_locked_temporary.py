"""The next run removes the leftovers of a killed process, but no file of a running process or another program."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remediation.exports.files.atomic_file import atomic_file
from remediation.exports.files.locked_temporary import spool_directory, temporary_directory

ROOT = Path(__file__).parents[3]

# Each program pauses where the test kills it, while its temporary file exists.
FILE = """
from remediation.exports.files.atomic_file import atomic_file
with atomic_file(Path("report.html")) as file:
    file.write(b"half")
    file.flush()
    stop()
"""
FOLDER = """
from remediation.exports.files.locked_temporary import temporary_directory
from remediation.exports.files.atomic_file import atomic_file
with temporary_directory(Path("report.html")) as folder:
    with atomic_file(folder / "rows.ndjson") as file:
        stop()
"""
SPOOL = """
from remediation.exports.files.locked_temporary import spool_directory
with spool_directory() as spool:
    (spool / "file.partial").write_bytes(b"rows")
    stop()
"""
# This one pauses while the file has two names, because nothing may be replaced.
LINKED_FILE = """
import os
from remediation.exports.files.atomic_file import atomic_file
link = os.link
def killed(*names, **options):
    link(*names, **options)
    stop()
os.link = killed
with atomic_file(Path("report.html"), replace=False) as file:
    file.write(b"whole")
"""

StartProcess = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartProcess]:
    """Return a function that starts a process in the test's directory and waits until it pauses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    started: list[subprocess.Popen[str]] = []

    def start_process(code: str) -> subprocess.Popen[str]:
        stop = "from pathlib import Path\ndef stop():\n    print('here', flush=True)\n    input()\n"
        process = subprocess.Popen(
            [sys.executable, "-c", stop + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        return process

    yield start_process
    for process in started:
        process.kill()
        process.communicate()
    monkeypatch.setattr(tempfile, "tempdir", None)


def next_run(code: str) -> None:
    if code is SPOOL:
        with spool_directory():
            pass
    elif code is FOLDER:
        with temporary_directory(Path("report.html")):
            pass
    else:
        with atomic_file(Path("report.html")) as file:
            file.write(b"next")


def other_names(at: Path) -> set[str]:
    return {path.name for path in at.iterdir()} - {"report.html"}


@pytest.mark.parametrize("code", [FILE, FOLDER, SPOOL, LINKED_FILE], ids=["file", "folder", "spool", "named"])
def test_the_next_run_removes_leftovers_of_a_killed_process(
    code: str, start_process: StartProcess, tmp_path: Path
) -> None:
    process = start_process(code)
    assert len(other_names(tmp_path)) == 1
    # The process is still running, so its files are kept.
    next_run(code)
    assert len(other_names(tmp_path)) == 1
    process.kill()
    process.communicate()
    next_run(code)
    assert other_names(tmp_path) == set()


def test_a_file_with_two_names_keeps_its_final_name(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(LINKED_FILE)
    process.kill()
    process.communicate()
    with atomic_file(tmp_path / "report.html") as file:
        assert other_names(tmp_path) == {path.name for path in tmp_path.glob(".cfes-*")}
        assert (tmp_path / "report.html").read_bytes() == b"whole"
        file.write(b"next")


def test_a_running_process_finishes_despite_the_next_run(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(FILE)
    next_run(FILE)
    assert (tmp_path / "report.html").read_bytes() == b"next"
    process.communicate("go on\n")
    assert process.returncode == 0
    assert (tmp_path / "report.html").read_bytes() == b"half"
    assert other_names(tmp_path) == set()


def test_a_directory_removed_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []
    make = tempfile.mkdtemp

    def remove_first(**arguments: str) -> str:
        created.append(make(**arguments))
        if len(created) == 1:
            Path(created[0]).rmdir()
        return created[-1]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "mkdtemp", remove_first)
    with spool_directory() as spool:
        assert str(spool) == created[1]
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_programs_are_not_removed(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(FILE)
    [leftover] = tmp_path.glob(".cfes-*")
    process.kill()
    process.communicate()
    prefix = leftover.name[: len(".cfes-0123456789abcdef-")]
    (tmp_path / "report.html.ab12.t").write_text("of another program")
    (tmp_path / "other.html.ab12.t").touch(mode=0o600)
    (tmp_path / f"{prefix}00000001.t").write_text("readable by others: not made here")
    (tmp_path / f"{prefix}00000002.t").symlink_to("other.html.ab12.t")
    os.mkfifo(tmp_path / f"{prefix}00000003.t", 0o600)
    (tmp_path / f"{prefix}00000004.t.keep").touch(mode=0o600)
    (tmp_path / "cfes-spool-abcdefgh").mkdir(mode=0o755)
    (tmp_path / "cfes-spool-abcdefgh2").mkdir(mode=0o700)
    before = other_names(tmp_path) - {leftover.name}
    next_run(FILE)
    next_run(SPOOL)
    assert other_names(tmp_path) == before
