"""Places where no file can be: refused at once, with the reason, and nothing is written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actions import export_job_messages, reconcile_job, render_report
from core.errors import PackError, ParameterError
from platforms.cli.plan_only import PlanFile
from remediation.exports.files.whole_file import whole_file
from tests.connectors.scripted import JOB_ID, Scripted, connected, job

# Time enough for a loaded machine; a loop would take all of it.
SECONDS = 60


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError("it does not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def removed(at: Path) -> str:
    at.joinpath("gone").mkdir()
    os.chdir(at / "gone")
    at.joinpath("gone").rmdir()
    return "rows.ndjson"


def bound(_: Path) -> str:
    # A socket's name is short.
    place = tempfile.mkdtemp()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{place}/s")
    return f"{place}/s"


def linked(target: str) -> Callable[[Path], str]:
    def make(at: Path) -> str:
        at.mkdir(exist_ok=True)
        at.joinpath("link").symlink_to(target)
        return str(at / "link")

    return make


def piped(_: Path) -> str:
    reading, writing = os.pipe()
    os.close(reading)
    return f"/dev/fd/{writing}"


def fifo(at: Path) -> str:
    os.mkfifo(at / "fifo")
    return str(at / "fifo")


def directory(at: Path) -> str:
    at.joinpath("directory").mkdir()
    return str(at / "directory")


PLACES: dict[str, Callable[[Path], str]] = {
    "below /proc": lambda _: "/proc/rows.ndjson",
    "below /proc/self": lambda _: "/proc/self/rows.ndjson",
    "below /sys": lambda _: "/sys/rows.ndjson",
    "below /dev/fd": lambda _: "/dev/fd/rows.ndjson",
    "a pipe of the shell": piped,
    "a FIFO": fifo,
    # As /dev/stdout is one. Nothing of the machine's own is named: were it taken, it would be replaced.
    "standard output": linked("/proc/self/fd/1"),
    "a link to standard output": lambda at: linked(linked("/proc/self/fd/1")(at))(at / "on"),
    "a socket": bound,
    "a directory": directory,
    "the root": lambda _: "/",
    "the working directory": lambda _: ".",
    "a link to nothing": linked("nowhere"),
    "a link into /proc": linked("/proc/none"),
    "a link to itself": linked("link"),
    "a link to a device": linked("/dev/full"),
    "a link to a pipe of the shell": lambda at: linked(piped(at))(at),
    "a link to a directory": linked("."),
    "a removed working directory": removed,
    "no such directory": lambda at: str(at / "missing" / "rows.ndjson"),
    "a file's child": lambda _: f"{__file__}/rows.ndjson",
    "a name that is too long": lambda at: str(at / ("n" * 256)),
    "a path that is too long": lambda at: f"{at}/" + "d/" * 2030 + "rows",
    "a NUL character": lambda at: str(at / "a\0b"),
    "only spaces": lambda _: "  ",
}

WRITERS: dict[str, Callable[[str, bool], Any]] = {
    "rows": lambda path, over: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": over}, connected(Scripted())
    ),
    "rows as CSV": lambda path, over: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": over, "format": "csv"}, connected(Scripted())
    ),
    "a bundle": lambda path, over: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": over, "evidence": "bundle"}, connected(Scripted())
    ),
    "a report": lambda path, _: render_report.run({"destination": path, "job": job()}),
    "a list of mismatches": lambda path, over: reconcile_job.run(
        {"job_id": JOB_ID, "events": [__file__], "destination": path, "overwrite": over}, connected(Scripted())
    ),
    "a plan": lambda path, _: PlanFile(path).check(),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_place_where_no_file_can_be_is_refused_at_once(
    place: str, writer: str, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = PLACES[place](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    # Nothing is asked for either: the script has no answer.
    with pytest.raises(ParameterError) as caught:
        WRITERS[writer](path, overwrite)
    assert caught.value.exit_code == 2
    # What it is told to do about it would help.
    assert place in ("a directory", "a FIFO") or "set overwrite" not in caught.value.message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_to_a_regular_file_is_replaced_where_that_is_said(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    path = str(tmp_path / "link")
    if overwrite:
        render_report.run({"destination": path, "job": job()})
        assert not (tmp_path / "link").is_symlink()
    else:
        with pytest.raises(ParameterError, match="already exists"):
            WRITERS["rows"](path, False)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_name_as_long_as_a_name_can_be_gets_its_file(tmp_path: Path) -> None:
    render_report.run({"destination": str(tmp_path / ("n" * 255)), "job": job()})
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


@pytest.mark.parametrize("shell", ["{run} >(cat)", "mkdir gone; cd gone; rmdir ../gone; {run} rows"])
def test_a_process_that_is_given_such_a_place_ends_with_2(shell: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    script = (
        f'give() {{ printf \'{{"job": %s, "destination": "%s"}}\' \'{json.dumps(job())}\' "$1" | '
        f"PYTHONPATH={root} {sys.executable} -m actions.render_report; }}; " + shell.format(run="give")
    )
    ended = subprocess.run(
        ["/bin/bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 2, ended
    assert json.loads(ended.stdout)["error"]["type"] == "ParameterError"


def test_an_error_is_typed_where_the_directory_vanishes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(PackError), whole_file(tmp_path / "d" / "f") as file:
        file.write(b"x")
        for path in (tmp_path / "d").iterdir():
            path.unlink()
        (tmp_path / "d").rmdir()
