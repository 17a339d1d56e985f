"""Measures one create from process start to exit: with our action, a bare script and the official SDK, in turns.

Each program runs once to warm up, then in turns, so that a change of the machine's speed affects all. The ratios are
those of neighboring runs. `python -m benchmarks.process_start [--runs N] [--python PATH]`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.processes import ROOT
from benchmarks.summary import Line, at_most, say, table
from sandbox.server import start
from sandbox.settings import Settings

PARAMETERS = {
    "search_params": {
        "sender": "billing@invoice-portal.example",
        "start": "2026-11-13T15:32:35Z",
        "detections_only": False,
    },
    "destination": "JunkEmail",
    "comment": "case 42",
}
OURS, BARE, SDK = "actions.create_move_job", "bare httpx + pydantic + tenacity", "official SDK"
PROGRAMS = {
    OURS: ["-m", "actions.create_move_job"],
    BARE: ["-m", "benchmarks.bare_create"],
    SDK: ["-m", "benchmarks.sdk_create"],
}
RUNS = 20
# SIGALRM ends the benchmark if a program hangs.
LONGEST_SECONDS = 600
GOALS = {BARE: 1.0, SDK: 0.62}


class Took(NamedTuple):
    """The time of a process from start to exit, in seconds."""

    seconds: float
    processor: float


Figures = Mapping[str, Sequence[Took]]


def time_process(python: str, program: list[str], environment: dict[str, str]) -> Took:
    """Run a program and return its time. Raises: CalledProcessError if it failed."""
    with tempfile.TemporaryFile() as parameters:
        parameters.write(json.dumps(PARAMETERS).encode())
        parameters.seek(0)
        began, used = time.perf_counter(), processor_seconds()
        # Without a timeout: with one, subprocess polls every 50 ms instead of waiting.
        subprocess.run(  # noqa: S603 -- this repo's own programs
            [python, *program],
            stdin=parameters,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
            check=True,
        )
        return Took(time.perf_counter() - began, processor_seconds() - used)


def processor_seconds() -> float:
    """Return the processor time of all processes so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def measure(runs: int = RUNS, python: str = sys.executable) -> Figures:
    """Run each program `runs` times, in turns."""
    found: dict[str, list[Took]] = {name: [] for name in PROGRAMS}
    with start(Settings(messages=100, quota=1_000_000)) as sandbox:
        environment = {
            "PATH": os.environ["PATH"],
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
        }
        for turn in range(runs + 1):
            for name, program in PROGRAMS.items():
                took = time_process(python, program, environment)
                if turn > 0:
                    found[name].append(took)
        made = len(sandbox.state.truth()["jobs"])
    if made != (runs + 1) * len(PROGRAMS):
        raise SystemExit(f"{made} jobs were created instead of one per run: the figures are invalid")
    return found


def medians(figures: Figures, name: str) -> Took:
    return Took(*(statistics.median(each) for each in zip(*figures[name], strict=True)))


def ratios(figures: Figures, name: str) -> Took:
    """Return the median ratio of our time to the program's over neighboring runs."""
    pairs = list(zip(figures[OURS], figures[name], strict=True))
    return Took(*(statistics.median(ours[n] / this[n] for ours, this in pairs) for n in (0, 1)))


def report(figures: Figures) -> str:
    rows = []
    for name in figures:
        seconds, processor = medians(figures, name)
        shown = " | ".join(f"{ratio:.2f}" if name in GOALS else "" for ratio in ratios(figures, name))
        goal = f"at most {GOALS[name]}" if name in GOALS else ""
        rows.append(f"| {name} | {seconds:.3f} | {processor:.3f} | {shown} | {goal} |")
    return table("program | median s | processor time, median s | ours / this | of processor time | goal", rows)


def line(figures: Figures) -> Line:
    bare, sdk = (ratios(figures, name).processor for name in (BARE, SDK))
    measured = f"{medians(figures, OURS).processor:.3f} s, {bare:.2f} of bare httpx, {sdk:.2f} of the SDK"
    goals = (at_most(GOALS[BARE], "of bare httpx", bare), at_most(GOALS[SDK], "of the SDK", sdk))
    return Line("process start", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="counted runs of each program")
    parser.add_argument("--python", default=sys.executable, help="Python interpreter to use")
    arguments = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    say(report(measure(arguments.runs, arguments.python)))


if __name__ == "__main__":
    main()
