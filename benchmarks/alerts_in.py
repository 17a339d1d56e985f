"""Measures alerts in: a batch of alerts is accepted, then processed with a rule that 5 of them match.

Alerts have 1.5 KB, two thirds with raw UTF-8. No run is begun: the figures are those of the inbox and the rules.
`python -m benchmarks.alerts_in [--sizes N ...] [--runs N]`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import ROOT, run
from benchmarks.summary import Line, at_most, say, table

LONGEST_SECONDS = 3600
MATCHES = 5
# The goals for a batch of 100,000.
MOST_SECONDS, MOST_MB = 5, 150
SUBJECTS = (
    "Invoice %d is overdue",
    "Rechnung: “sofort” fällig",
    "فاتورة مستحقة الدفع",
    "請求書のお支払い期限",
    "🎁 Parcel x{a}",
    "Offer",
)
RULES = """
alert_rules: 1
rules:
  - id: malicious
    when: "{{ alert.FinalDisposition == 'malicious' and meaning.outsider == 'yes' }}"
    playbook: phish-campaign-purge
    inputs: {alert: "{{ alert }}"}
"""


class Measured(NamedTuple):
    """The figures of a batch: its size in MB as sent and unpacked; seconds and peak memory of each phase.

    processed_seconds: processor time.
    """

    alerts: int
    sent_mb: float
    unpacked_mb: float
    accepted_seconds: float
    accepted_mb: float
    processed_seconds: float
    processed_mb: float


def alert(number: int, chance: random.Random, *, matches: bool) -> dict[str, Any]:
    found = json.loads((ROOT / "examples" / "alert.json").read_text())
    links = [f"https://login{number}.example/open?token={chance.randbytes(60).hex()}"]
    return {
        **found,
        "AlertID": f"{chance.randbytes(8).hex()}-2026-11-20T15:32:35",
        "MessageID": f"<{chance.randbytes(12).hex()}@shop{number % 977}.example>",
        "FinalDisposition": "malicious" if matches else chance.choice(("spam", "bulk", "suspicious", "spoof")),
        "FromName": "Büro “東京”" if number % 3 else "Office",
        "Links": links,
        "Subject": SUBJECTS[number % len(SUBJECTS)],
        "Timestamp": 1_732_116_755_123_456_789 + number,
    }


def write(path: Path, size: int) -> int:
    """Write a gzip body of this many alerts. Return its size when it is unpacked."""
    chance = random.Random(1)  # noqa: S311 -- texts
    every, unpacked = max(size // MATCHES, 1), 0
    with gzip.open(path, "wb", 6) as file:
        for number in range(size):
            entry = alert(number, chance, matches=number % every == 0)
            unpacked += file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
    return unpacked


def measure(sizes: Sequence[int], runs: int) -> Iterator[Measured]:
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            body = Path(folder) / "body.gz"
            unpacked = write(body, size)
            found = [_once(Path(folder) / str(number), body, size) for number in range(runs)]
            accepted, processed = ([one[place] for one in found] for place in (0, 1))
            yield Measured(
                size,
                body.stat().st_size / 1e6,
                unpacked / 1e6,
                statistics.median(seconds for seconds, _ in accepted),
                max(peak for _, peak in accepted),
                statistics.median(seconds for seconds, _ in processed),
                max(peak for _, peak in processed),
            )


def _once(folder: Path, body: Path, size: int) -> list[tuple[float, float]]:
    folder.mkdir(mode=0o700)
    (folder / "rules.yaml").write_text(RULES)
    figures = []
    for phase, expected in (("accept", size), ("process", min(MATCHES, size))):
        given = {"phase": phase, "body": str(body), "folder": str(folder)}
        used, output = run(["-m", "benchmarks.alert_batch"], given, {})
        result = json.loads(output or b"{}")
        if used.status != 0 or result["count"] != expected:
            raise SystemExit(f"{phase} failed: {result}")
        figures.append((result["seconds" if phase == "accept" else "processor"], used.peak_mb))
    return figures


def report(figures: Sequence[Measured]) -> str:
    rows = [
        f"| {one.alerts:,} | {one.sent_mb:.1f}, {one.unpacked_mb:.0f} | {one.accepted_seconds:.1f} "
        f"| {one.accepted_mb:.0f} | {one.processed_seconds:.1f} | {one.processed_mb:.0f} |"
        for one in figures
    ]
    return table("alerts | MB sent, unpacked | accepted, s | peak MB | processed, processor time, s | peak MB", rows)


def line(figure: Measured) -> Line:
    goals = (
        at_most(MOST_SECONDS, "s to accept", figure.accepted_seconds),
        at_most(MOST_MB, "MB", figure.accepted_mb, figure.processed_mb),
    )
    measured = f"{figure.accepted_seconds:.1f} s, {max(figure.accepted_mb, figure.processed_mb):.0f} MB"
    return Line(f"alerts in {figure.alerts:,}", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000], help="numbers of alerts")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size")
    asked = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    say(report(list(measure(asked.sizes, asked.runs))))


if __name__ == "__main__":
    main()
