"""What a killed process leaves is cleared by the next one; what lives, or is a stranger's, is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remediation.exports.files.locked_temporary import spool_directory, temporary_directory
from remediation.exports.files.whole_file import whole_file

ROOT = Path(__file__).parents[3]

# Each stops where it would be killed, with its temporary name in place.
FILE = """
from remediation.exports.files.whole_file import whole_file
with whole_file(Path("report.html")) as file:
    file.write(b"half")
    file.flush()
    stop()
"""
FOLDER = """
from remediation.exports.files.locked_temporary import temporary_directory
from remediation.exports.files.whole_file import whole_file
with temporary_directory(Path("report.html")) as folder:
    with whole_file(folder / "rows.ndjson") as file:
        stop()
"""
SPOOL = """
from remediation.exports.files.locked_temporary import spool_directory
with spool_directory() as spool:
    (spool / "file.partial").write_bytes(b"rows")
    stop()
"""
# Between the file's two names, where nothing may be replaced.
NAMED = """
import os
from remediation.exports.files.whole_file import whole_file
link = os.link
def killed(*names, **options):
    link(*names, **options)
    stop()
os.link = killed
with whole_file(Path("report.html"), replace=False) as file:
    file.write(b"whole")
"""

Begin = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start a process in the test's directory, and wait until it has stopped at its place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    started: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
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

    yield begin
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
        with whole_file(Path("report.html")) as file:
            file.write(b"next")


def names(at: Path) -> set[str]:
    return {path.name for path in at.iterdir()} - {"report.html"}


@pytest.mark.parametrize("code", [FILE, FOLDER, SPOOL, NAMED], ids=["file", "folder", "spool", "named"])
def test_what_a_killed_process_leaves_is_cleared_by_the_next(code: str, begin: Begin, tmp_path: Path) -> None:
    process = begin(code)
    assert len(names(tmp_path)) == 1
    # It lives: nobody touches what is its own.
    next_run(code)
    assert len(names(tmp_path)) == 1
    process.kill()
    process.communicate()
    next_run(code)
    assert names(tmp_path) == set()


def test_a_file_with_two_names_keeps_the_one_that_counts(begin: Begin, tmp_path: Path) -> None:
    process = begin(NAMED)
    process.kill()
    process.communicate()
    with whole_file(tmp_path / "report.html") as file:
        assert names(tmp_path) == {path.name for path in tmp_path.glob(".cfes-*")}
        assert (tmp_path / "report.html").read_bytes() == b"whole"
        file.write(b"next")


def test_a_living_process_finishes_beside_the_next_one(begin: Begin, tmp_path: Path) -> None:
    process = begin(FILE)
    next_run(FILE)
    assert (tmp_path / "report.html").read_bytes() == b"next"
    process.communicate("go on\n")
    assert process.returncode == 0
    assert (tmp_path / "report.html").read_bytes() == b"half"
    assert names(tmp_path) == set()


def test_a_directory_that_another_process_clears_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def cleared(**arguments: str) -> str:
        made.append(make(**arguments))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "mkdtemp", cleared)
    with spool_directory() as spool:
        assert str(spool) == made[1]
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_ever_removed(begin: Begin, tmp_path: Path) -> None:
    process = begin(FILE)
    [leftover] = tmp_path.glob(".cfes-*")
    process.kill()
    process.communicate()
    begun = leftover.name[: len(".cfes-0123456789abcdef-")]
    (tmp_path / "report.html.ab12.t").write_text("a stranger's")
    (tmp_path / "other.html.ab12.t").touch(mode=0o600)
    (tmp_path / f"{begun}00000001.t").write_text("readable by others: not made here")
    (tmp_path / f"{begun}00000002.t").symlink_to("other.html.ab12.t")
    os.mkfifo(tmp_path / f"{begun}00000003.t", 0o600)
    (tmp_path / f"{begun}00000004.t.keep").touch(mode=0o600)
    (tmp_path / "cfes-spool-abcdefgh").mkdir(mode=0o755)
    (tmp_path / "cfes-spool-abcdefgh2").mkdir(mode=0o700)
    before = names(tmp_path) - {leftover.name}
    next_run(FILE)
    next_run(SPOOL)
    assert names(tmp_path) == before
