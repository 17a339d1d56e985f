"""Measures the client side of a preview: processor time per message found, and peak memory.

The messages come over TLS from a separate process, in pages of 1,000; two thirds contain raw UTF-8. The time of a
preview without messages is subtracted. `python -m benchmarks.preview [--sizes N ...] [--runs N]`.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from benchmarks.loopback_service import serve
from benchmarks.processes import connection, run, server
from benchmarks.summary import Line, at_most, say, table
from sandbox.message import Attachment, Sender
from sandbox.message_details import message_details
from sandbox.tenant import Tenant

LONGEST_SECONDS = 1800
PAGE = 1000
MOST_MICROSECONDS = 45
SIZES = (20_000, 200_000)
# The growth of memory for ten times as many messages.
MOST_GROWTH = 1.15

# 2026-10-13: before the API removes some fields.
NOON = 1_791_892_800_000_000
MAILBOXES = 2_500
SENDERS = 500
SUBJECTS = (
    "Invoice %d is overdue",
    "Rechnung %d: “sofort” fällig",
    "Re: \u202eexe.%d fdp\u202c attached",
    "فاتورة رقم %d مستحقة الدفع",
    "請求書 %d のお支払い期限",
    "🎁 Your parcel %d is waiting 🎁",
)


class Measured(NamedTuple):
    """The figures of a preview. found: messages. counted: copies in mailboxes, as in the plan.

    seconds: processor time. microseconds: per message found, without the time of a preview that finds none.
    """

    found: int
    counted: int
    recipients: int
    seconds: float
    peak_mb: float
    microseconds: float = 0


def page_of(size: int) -> Callable[[str], bytes]:
    """Return a function that answers a search with `size` results. The cursor is the number of previous messages."""
    tenant = Tenant(seed=1)
    senders = [
        Sender(
            f"billing{number}@shop{number}.example",
            f"Büro “{number}” 東京" if number % 3 else f"Office {number}",
            dmarc=("pass", "fail", "none")[number % 3],
            reasons=("A link leads to a page that asks for a password", "The sender's domain is new"),
            categories=("CredentialHarvester",),
        )
        for number in range(SENDERS)
    ]
    texts = []
    for number in range(min(size, 2 * MAILBOXES)):
        message = tenant.add(
            time=NOON,
            sender=senders[number % SENDERS],
            subject=SUBJECTS[number % len(SUBJECTS)] % number,
            recipients=tuple(
                f"user{(number + other) % MAILBOXES}@corp.example" for other in range(1 + number % 8 // 7)
            ),
            disposition=("MALICIOUS", "NONE", "SPAM", "SUSPICIOUS")[number % 4],
            links=(f"https://shop{number}.example/pay?id={number}", "https://shop.example/password?next=invoice"),
            attachments=(Attachment(f"invoice-{number}.pdf", "application/pdf", "0" * 32, "1" * 40, "2" * 64),),
        )
        item = message_details(tenant, message, NOON)
        texts.append(json.dumps(item, ensure_ascii=False).encode().partition(b'"id": "')[2])

    def page(target: str) -> bytes:
        query = parse_qs(urlsplit(target).query)
        first = int(query.get("cursor", ["0"])[0])
        numbers = range(first, min(first + PAGE, size))
        items = b", ".join(b'{"id": "%08d%s' % (number, texts[number % len(texts)]) for number in numbers)
        follows = f'"{first + PAGE}"' if first + PAGE < size else "null"
        info = f'{{"count": {len(numbers)}, "page": 0, "per_page": {PAGE}, "total_count": 0, "next": {follows}}}'
        head = b'{"success": true, "errors": [], "messages": [], "result_info": %b, "result": [' % info.encode()
        return head + items + b"]}"

    return page


def preview(base_url: str, size: int) -> Measured:
    """Run one preview as a process."""
    params = {
        "action": "MOVE",
        "destination": "JunkEmail",
        "search_params": {"domain": "corp.example", "detections_only": False},
        "limit": 1_000_000,
    }
    used, output = run(["-m", "actions.preview_job"], params, connection(base_url))
    plan = json.loads(output)
    if used.status != 0:
        raise SystemExit(f"the preview failed: {plan}")
    return Measured(size, plan["messages"], plan["recipients"], used.processor, used.peak_mb)


def measure(sizes: Sequence[int] = SIZES, runs: int = 3) -> Iterator[Measured]:
    """Yield the median of the runs for each size."""
    start = 0.0
    for size in (0, *sizes):
        with server("benchmarks.preview", "--serve", str(size)) as (base_url, _):
            middle = sorted((preview(base_url, size) for _ in range(runs)), key=lambda one: one.seconds)[runs // 2]
        if size == 0:
            start = middle.seconds
        else:
            yield middle._replace(microseconds=(middle.seconds - start) / size * 1e6)


def report(figures: Sequence[Measured]) -> str:
    rows = [
        f"| {one.found:,} | {one.counted:,} | {one.recipients:,} | {one.seconds:.1f} | {one.microseconds:.0f} "
        f"| at most {MOST_MICROSECONDS} | {one.peak_mb:.0f} |"
        for one in figures
    ]
    return table("found | counted | recipients | processor time, s | µs a message | goal | peak MB", rows)


def line(figures: Sequence[Measured]) -> Line:
    most = figures[-1]
    goals = (
        at_most(MOST_MICROSECONDS, "µs a message", most.microseconds),
        at_most(MOST_GROWTH, f"times the memory of {figures[0].found:,}", most.peak_mb / figures[0].peak_mb),
    )
    measured = f"{most.microseconds:.0f} µs a message, {most.seconds:.1f} s, {most.peak_mb:.0f} MB"
    return Line(f"preview of {most.found:,}", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of messages found")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(page_of(asked.serve), tls=True)
        return
    signal.alarm(LONGEST_SECONDS)
    say(report(list(measure(asked.sizes, asked.runs))))


if __name__ == "__main__":
    main()
