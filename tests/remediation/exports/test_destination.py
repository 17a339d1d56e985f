"""Unusable destinations are refused at once, with the reason, and nothing is written."""

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
from remediation.exports.files.atomic_file import atomic_file
from tests.connectors.scripted import JOB_ID, Scripted, connected, job
from tests.exhaustive import exhaustive_unless

# Enough for a loaded machine. An endless loop fails the test.
SECONDS = 60


@pytest.fixture(autouse=True)
def _time_limit() -> Iterator[None]:
    def raise_timeout(*_: object) -> None:
        raise TimeoutError("the test did not end in time")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def removed_working_directory(folder: Path) -> str:
    folder.joinpath("gone").mkdir()
    os.chdir(folder / "gone")
    folder.joinpath("gone").rmdir()
    return "rows.ndjson"


def socket_path(_: Path) -> str:
    # The path of a socket must be short.
    place = tempfile.mkdtemp()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/s")
    return f"{place}/s"


def link_to(target: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        folder.joinpath("link").symlink_to(target)
        return str(folder / "link")

    return make


def closed_pipe(_: Path) -> str:
    reading, writing = os.pipe()
    os.close(reading)
    return f"/dev/fd/{writing}"


def fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo")
    return str(folder / "fifo")


def directory(folder: Path) -> str:
    folder.joinpath("directory").mkdir()
    return str(folder / "directory")


PLACES: dict[str, Callable[[Path], str]] = {
    "below /proc": lambda _: "/proc/rows.ndjson",
    "below /proc/self": lambda _: "/proc/self/rows.ndjson",
    "below /sys": lambda _: "/sys/rows.ndjson",
    "below /dev/fd": lambda _: "/dev/fd/rows.ndjson",
    "a pipe of the shell": closed_pipe,
    "a FIFO": fifo,
    # Like /dev/stdout, which is not named here: a defect would replace it.
    "standard output": link_to("/proc/self/fd/1"),
    "a link to standard output": lambda folder: link_to(link_to("/proc/self/fd/1")(folder))(folder / "on"),
    "a socket": socket_path,
    "a directory": directory,
    "the root": lambda _: "/",
    "the working directory": lambda _: ".",
    "a link to nothing": link_to("nowhere"),
    "a link into /proc": link_to("/proc/none"),
    "a link to itself": link_to("link"),
    "a link to a device": link_to("/dev/full"),
    "a link to a pipe of the shell": lambda folder: link_to(closed_pipe(folder))(folder),
    "a link to a directory": link_to("."),
    "a removed working directory": removed_working_directory,
    "no such directory": lambda folder: str(folder / "missing" / "rows.ndjson"),
    "a file's child": lambda _: f"{__file__}/rows.ndjson",
    "a name that is too long": lambda folder: str(folder / ("n" * 256)),
    "a path that is too long": lambda folder: f"{folder}/" + "d/" * 2030 + "rows",
    "a NUL character": lambda folder: str(folder / "a\0b"),
    "only spaces": lambda _: "  ",
}

WRITERS: dict[str, Callable[[str, bool], Any]] = {
    "rows": lambda path, overwrite: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": overwrite}, connected(Scripted())
    ),
    "rows as CSV": lambda path, overwrite: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": overwrite, "format": "csv"}, connected(Scripted())
    ),
    "a bundle": lambda path, overwrite: export_job_messages.run(
        {"job_id": JOB_ID, "destination": path, "overwrite": overwrite, "evidence": "bundle"}, connected(Scripted())
    ),
    "a report": lambda path, _: render_report.run({"destination": path, "job": job()}),
    "a list of mismatches": lambda path, overwrite: reconcile_job.run(
        {"job_id": JOB_ID, "events": [__file__], "destination": path, "overwrite": overwrite}, connected(Scripted())
    ),
    "a plan": lambda path, _: PlanFile(path).check(),
}


@pytest.mark.parametrize("overwrite", exhaustive_unless({True}, [False, True]))
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", PLACES)
def test_an_unusable_destination_is_refused_before_any_request(
    place: str, writer: str, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = PLACES[place](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    # Nothing is requested either: the script has no responses.
    with pytest.raises(ParameterError) as caught:
        WRITERS[writer](path, overwrite)
    assert caught.value.exit_code == 2
    # The advice in the message would help.
    assert place in ("a directory", "a FIFO") or "set overwrite" not in caught.value.message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_to_a_regular_file_is_replaced_only_with_overwrite(overwrite: bool, tmp_path: Path) -> None:
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


def test_the_longest_file_name_is_accepted(tmp_path: Path) -> None:
    render_report.run({"destination": str(tmp_path / ("n" * 255)), "job": job()})
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


@pytest.mark.parametrize(
    "shell",
    exhaustive_unless({"{run} >(cat)"}, ["{run} >(cat)", "mkdir gone; cd gone; rmdir ../gone; {run} rows"]),
)
def test_a_process_with_an_unusable_destination_exits_with_2(shell: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    script = (
        f'give() {{ printf \'{{"job": %s, "destination": "%s"}}\' \'{json.dumps(job())}\' "$1" | '
        f"PYTHONPATH={root} {sys.executable} -m actions.render_report; }}; " + shell.format(run="give")
    )
    completed = subprocess.run(
        ["/bin/bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert completed.returncode == 2, completed
    assert json.loads(completed.stdout)["error"]["type"] == "ParameterError"


def test_a_directory_removed_during_the_write_is_an_error_of_the_pack(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(PackError), atomic_file(tmp_path / "d" / "f") as file:
        file.write(b"x")
        for path in (tmp_path / "d").iterdir():
            path.unlink()
        (tmp_path / "d").rmdir()
