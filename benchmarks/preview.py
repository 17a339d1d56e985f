"""What a preview costs on the client's side: processor time for each message found, and peak memory.

The messages come over TLS from a process of their own, in pages of 1,000; two thirds hold raw UTF-8. The time of a
preview without messages is taken off. `python -m benchmarks.preview [--sizes N ...] [--runs N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from benchmarks.loopback_service import serve, service
from benchmarks.page_server import CERTIFICATE
from sandbox.message import Attachment, Sender
from sandbox.message_details import message_details
from sandbox.tenant import Tenant

ROOT = Path(__file__).parent.parent
LONGEST_SECONDS = 1800
PAGE = 1000
MOST_MICROSECONDS = 45

# 2026-10-13: before the date from which some fields are left out.
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
    """messages: as the plan counts them, a copy in each mailbox."""

    messages: int
    recipients: int
    seconds: float
    peak_mb: float


def page_of(size: int) -> Callable[[str], bytes]:
    """Return what answers a search that finds `size` messages; the cursor is the number of those before it."""
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
    for number in range(2 * MAILBOXES):
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


def measured(base_url: str) -> Measured:
    """One preview as a process of its own. seconds: of the processor."""
    params = {
        "action": "MOVE",
        "destination": "JunkEmail",
        "search_params": {"domain": "corp.example", "detections_only": False},
        "limit": 1_000_000,
    }
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out:
        environment = {
            **os.environ,
            "CLOUDFLARE_API_TOKEN": "of-no-use-elsewhere",
            "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef0123456789abcdef",
            "CLOUDFLARE_BASE_URL": base_url,
            "SSL_CERT_FILE": str(CERTIFICATE),
            "CFES_STATE_DIR": str(Path(directory) / "state"),
            "CFES_LOG": "off",
        }
        given.write(json.dumps(params).encode())
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "actions.preview_job"], stdin=given, stdout=out, env=environment, cwd=ROOT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        plan = json.loads(out.read())
    if process.returncode != 0:
        raise SystemExit(f"the preview failed: {plan}")
    # Linux counts in KiB.
    return Measured(plan["messages"], plan["recipients"], used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000], help="messages that are found")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(page_of(asked.serve), tls=True)
        return
    signal.alarm(LONGEST_SECONDS)
    sys.stdout.write("| found | counted | recipients | processor time, s | µs a message | goal | peak MB |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- | --- |\n")
    with service("benchmarks.preview", "0") as base_url:
        start = statistics.median(measured(base_url).seconds for _ in range(asked.runs))
    for size in asked.sizes:
        with service("benchmarks.preview", str(size)) as base_url:
            runs = sorted((measured(base_url) for _ in range(asked.runs)), key=lambda run: run.seconds)
        found = runs[len(runs) // 2]
        sys.stdout.write(
            f"| {size:,} | {found.messages:,} | {found.recipients:,} | {found.seconds:.1f} | "
            f"{(found.seconds - start) / size * 1e6:.0f} | at most {MOST_MICROSECONDS} | {found.peak_mb:.0f} |\n"
        )


if __name__ == "__main__":
    main()
