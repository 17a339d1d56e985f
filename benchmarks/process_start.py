"""From process start to exit: one create, by our action, by a bare script, by the official SDK, in turns.

Each is run once to warm up and then in turns, so that a machine that gets slower gets slower for all; the ratios are
those of neighbours. `python -m benchmarks.process_start [--runs N] [--python PATH]`.
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
from pathlib import Path

from sandbox.server import start
from sandbox.settings import Settings

ROOT = Path(__file__).parent.parent
PARAMETERS = {
    "search_params": {
        "sender": "billing@invoice-portal.example",
        "start": "2026-11-13T15:32:35Z",
        "detections_only": False,
    },
    "destination": "JunkEmail",
    "comment": "case 42",
}
PROGRAMS = {
    "actions.create_move_job": ["-m", "actions.create_move_job"],
    "bare httpx + pydantic + tenacity": ["-m", "benchmarks.bare_create"],
    "official SDK": ["-m", "benchmarks.sdk_create"],
}
# The whole measurement is ended by SIGALRM where a program hangs.
LONGEST_SECONDS = 600
GOALS = {"bare httpx + pydantic + tenacity": 1.0, "official SDK": 0.62}


def timed(python: str, program: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds from start to exit, and those of the processor.

    Raises: CalledProcessError where the create did not succeed.
    """
    with tempfile.TemporaryFile() as parameters:
        parameters.write(json.dumps(PARAMETERS).encode())
        parameters.seek(0)
        began, used = time.perf_counter(), processor_seconds()
        # No timeout here: with one, subprocess looks for the end every 50 ms instead of waiting for it.
        subprocess.run(  # noqa: S603 -- this repo's own programs
            [python, *program],
            stdin=parameters,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=ROOT,
            check=True,
        )
        return time.perf_counter() - began, processor_seconds() - used


def processor_seconds() -> float:
    """Of all processes that were run so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=20, help="counted runs of each program")
    parser.add_argument("--python", default=sys.executable, help="the Python to run them with")
    arguments = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    with start(Settings(messages=100, quota=1_000_000)) as sandbox:
        environment = {
            "PATH": os.environ["PATH"],
            "CLOUDFLARE_API_TOKEN": sandbox.token,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_BASE_URL": sandbox.base_url,
        }
        for turn in range(arguments.runs + 1):
            for name, program in PROGRAMS.items():
                took = timed(arguments.python, program, environment)
                if turn > 0:
                    seconds[name].append(took)
        made = len(sandbox.state.truth()["jobs"])
    if made != (arguments.runs + 1) * len(PROGRAMS):
        raise SystemExit(f"{made} jobs were made, not one for each run: these figures mean nothing")
    ours = seconds["actions.create_move_job"]
    lines = [
        "| program | median s | processor time, median s | ours / this | of processor time | goal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, taken in seconds.items():
        medians = [statistics.median(one[n] for one in taken) for n in (0, 1)]
        ratios = [statistics.median(a[n] / b[n] for a, b in zip(ours, taken, strict=True)) for n in (0, 1)]
        shown = " | ".join(f"{ratio:.2f}" if name in GOALS else "" for ratio in ratios)
        goal = f"at most {GOALS[name]}" if name in GOALS else ""
        lines.append(f"| {name} | {medians[0]:.3f} | {medians[1]:.3f} | {shown} | {goal} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
