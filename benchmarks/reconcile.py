"""Measures reconcile-job for equal numbers of rows and Logpush events: processor time and peak memory.

Rows have 2.4 KB as in an export, events 1.0 KB as in Logpush, in another order; two thirds contain raw UTF-8, and one
of 100 is a mismatch. `python -m benchmarks.reconcile [--sizes N ...] [--runs N] [--against PATH]`. --against: another
checkout, whose runs alternate with those of this one.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from actions.shapes.example_job import JOB_ID, example_job
from benchmarks.processes import ROOT, run
from benchmarks.summary import Line, at_most, say, table
from sandbox.message import Attachment, Sender
from sandbox.message_details import message_details
from sandbox.tenant import Tenant

LONGEST_SECONDS = 3600
# 2026-10-13: before the API removes some fields.
NOON = 1_791_892_800_000_000
TEMPLATES = 60
# The goals for a million rows.
MOST_SECONDS, MOST_MB = 80, 130
SUBJECTS = (
    "Invoice %d is overdue",
    "Rechnung: “sofort” fällig",
    "فاتورة مستحقة الدفع",
    "請求書のお支払い期限",
    "🎁 Parcel",
    "Offer",
)


class Measured(NamedTuple):
    """The figures for `size` rows and events. seconds: processor time. of_other: relative to the other checkout."""

    size: int
    disagreements: int
    seconds: float
    peak_mb: float
    of_other: float | None


def templates() -> list[tuple[str, str]]:
    """Return rows and events as text, with NUMBER in place of their own numbers."""
    tenant, found = Tenant(seed=1), []
    for number in range(TEMPLATES):
        name = f"Büro “{number}” 東京" if number % 3 else f"Office {number}"
        reasons = ("A link leads to a page that asks for a password", "The sender's domain is new")
        message = tenant.add(
            time=NOON,
            sender=Sender(f"billing@shop{number}.example", name, reasons=reasons),
            subject=SUBJECTS[number % len(SUBJECTS)],
            recipients=("userNUMBER@corp.example",),
            disposition="MALICIOUS",
            links=(f"https://shop{number}.example/pay?id={number}", "https://shop.example/password?next=invoice"),
            attachments=(Attachment(f"invoice-{number}.pdf", "application/pdf", "0" * 32, "1" * 40, "2" * 64),),
            message_id="<20261113120000.NUMBER@shop.example>",
            postfix_id="4vLpKNUMBER",
        )
        details = message_details(tenant, message, NOON)
        row = {
            "message_id": "NUMBER-a933-4f8b-9c1a-94eb3b35a3c3",
            "status": "COMPLETED",
            "action_type": "MOVE",
            "action_params": {
                "type": "MOVE",
                "destination": "JunkEmail",
                "client_recipient": "userNUMBER@corp.example",
            },
            "email_message_id": details["message_id"],
            "postfix_id": details["postfix_id"],
            "status_message": None,
            "retry_count": 0,
            "created_at": "2026-11-20T16:02:36.120000Z",
            "processed_at": "2026-11-20T16:03:12.480000Z",
            "message": details,
        }
        event = {
            "AlertID": f"4vLpKNUMBER-{details['sent_date']}",
            "CompletedAt": "2026-11-20T16:03:12.480000Z",
            "Destination": "JunkEmail",
            "FinalDisposition": "malicious",
            "Folder": "JunkEmail",
            "From": details["from"],
            "FromName": details["from_name"],
            "MessageID": details["message_id"],
            "MessageTimestamp": details["scanned_at"],
            "MicrosoftTenantID": "",
            "Operation": "move",
            "PostfixID": details["postfix_id"],
            "Reasons": list(reasons),
            "Recipient": "userNUMBER@corp.example",
            "RequestedAt": "2026-11-20T16:02:35Z",
            "RequestedBy": "soar@corp.example",
            "RequestedDisposition": "",
            "Status": "OK",
            "Subject": details["subject"],
            "Success": True,
            "To": details["to"],
        }
        found.append((json.dumps(row, ensure_ascii=False), json.dumps(event, ensure_ascii=False)))
    return found


def write(folder: Path, size: int) -> dict[str, Any]:
    """Write rows and events; return the parameters of the action."""
    texts = templates()
    numbers = list(range(size))
    with (folder / "rows.ndjson").open("w") as file:
        for number in numbers:
            file.write(texts[number % TEMPLATES][0].replace("NUMBER", f"{number:08x}") + "\n")
    random.Random(1).shuffle(numbers)  # noqa: S311 -- an order
    with (folder / "events.ndjson").open("w") as file:
        for number in numbers:
            text = texts[number % TEMPLATES][1].replace("NUMBER", f"{number:08x}")
            if number % 100 == 0:
                text = text.replace('"Success": true', '"Success": false')
            file.write(text + "\n")
    job = example_job(
        status="COMPLETED",
        total_messages_discovered=size,
        messages_successful=size,
        messages_failed=0,
        messages_skipped=0,
        messages_pending=0,
        created_at="2026-11-20T16:02:35Z",
        completed_at="2026-11-20T16:59:35Z",
    )
    return {
        "job_id": JOB_ID,
        "job": job,
        "rows": str(folder / "rows.ndjson"),
        "events": [str(folder / "events.ndjson")],
        "destination": str(folder / "found.ndjson"),
        "overwrite": True,
    }


def reconcile(params: dict[str, Any], checkout: Path) -> tuple[dict[str, Any], float, float]:
    """Run reconcile-job as a process. Return its result, processor time in seconds, and peak memory in MB."""
    used, output = run(["-m", "actions.reconcile_job"], params, {}, checkout=checkout)
    result = json.loads(output)
    if used.status not in (0, 8):
        raise SystemExit(f"reconcile-job failed: {result}")
    return result, used.processor, used.peak_mb


def measure(sizes: Sequence[int], runs: int, against: Path | None = None) -> Iterator[Measured]:
    """Yield the medians for each size. against: another checkout, whose runs alternate with those of this one."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            params = write(Path(folder), size)
            found, ratios = [], []
            for _ in range(runs):
                found.append(reconcile(params, ROOT))
                if against is not None:
                    result, seconds, _ = reconcile(params, against)
                    ratios.append(found[-1][1] / seconds)
                    if {**result, "files": 0} != {**found[-1][0], "files": 0}:
                        raise SystemExit("the other checkout's result differs")
        yield Measured(
            size,
            sum(found[0][0]["by_kind"].values()),
            statistics.median(seconds for _, seconds, _ in found),
            max(peak_mb for *_, peak_mb in found),
            statistics.median(ratios) if ratios else None,
        )


def report(figures: Sequence[Measured]) -> str:
    rows = [
        f"| {one.size:,} | {one.disagreements:,} | {one.seconds:.1f} | {one.seconds / one.size * 1e6:.0f} "
        f"| {one.peak_mb:.0f} | {'' if one.of_other is None else f'{one.of_other:.2f}'} |"
        for one in figures
    ]
    return table(
        "rows, events | disagreements | processor time, s | us a row and event | peak MB | of the other checkout", rows
    )


def line(figure: Measured) -> Line:
    goals = (at_most(MOST_SECONDS, "s", figure.seconds), at_most(MOST_MB, "MB", figure.peak_mb))
    return Line(f"reconcile {figure.size:,}", f"{figure.seconds:.1f} s, {figure.peak_mb:.0f} MB", goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000], help="numbers of rows and events")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size")
    parser.add_argument("--against", type=Path, help="another checkout to compare with")
    asked = parser.parse_args()
    signal.alarm(LONGEST_SECONDS)
    say(report(list(measure(asked.sizes, asked.runs, asked.against))))


if __name__ == "__main__":
    main()
