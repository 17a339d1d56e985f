"""Templates of message rows for the page server, with texts as in real tenants.

Two thirds of the `utf8` rows contain raw UTF-8: half of these smart quotes and no-break spaces, the rest other scripts,
emoji and a right-to-left override. `quotes` has smart quotes in every row. `ascii` is plain, with the same sizes. One
row of a hundred has 20 KB of recipients.
"""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any, Literal, get_args

from sandbox.account import open_account
from sandbox.contract.requests import SearchParams
from sandbox.jobs import JobOrder, job_message_view
from sandbox.settings import Settings

RowKind = Literal["utf8", "quotes", "ascii"]
ROW_KINDS: tuple[RowKind, ...] = get_args(RowKind)

ROW_BYTES = 2900
LONG_ROW_RECIPIENTS = 150
LONGEST_ROW_BYTES = 1_000_000

# The placeholder for the number of the row, eight hex digits.
NUMBER = "00NUMBER"

ASCII = f'Re: "roadmap" review {NUMBER}'
ESCAPED = f"Invoice {NUMBER}\tdue C:\\mail\n\x01"
QUOTES = f"Your “invoice {NUMBER}” is due\u00a0today"
OTHERS = (
    f"فاتورة متأخرة {NUMBER}",
    f"請求書のご確認 {NUMBER}",
    f"🎉 You won {NUMBER}",
    f"invoice_{NUMBER}_\u202efdp.exe",
)


def templates(kind: RowKind, count: int) -> list[list[bytes]]:
    """Return the rows of a page, each as parts to join with its number."""
    example = _example()
    texts = _texts(kind)
    return [_parts(_row(example, next(texts), position), ROW_BYTES) for position in range(count)]


def longest(kind: RowKind) -> list[bytes]:
    """Return a row of 1 MB, as parts to join with its number."""
    return _parts(_row(_example(), next(_texts(kind)), 0), LONGEST_ROW_BYTES, fill=_long_text(kind))


def _texts(kind: RowKind) -> itertools.cycle[str]:
    plain = (ASCII, ESCAPED)
    if kind == "ascii":
        return itertools.cycle(plain)
    if kind == "quotes":
        return itertools.cycle([QUOTES])
    thirds = zip(itertools.cycle(plain), itertools.repeat(QUOTES), OTHERS, strict=False)
    return itertools.cycle(itertools.chain.from_iterable(thirds))


def _long_text(kind: RowKind) -> str:
    return " ".join((ASCII,) if kind == "ascii" else (ASCII, QUOTES, *OTHERS))


def _row(example: dict[str, Any], subject: str, position: int) -> dict[str, Any]:
    row = {"message_id": f"{NUMBER}-a933-4f8b-9c1a-94eb3b35a3c3", **copy.deepcopy(example)}
    message = row["message"]
    message["subject"] = subject
    row["postfix_id"] = message["postfix_id"] = f"4cCY{NUMBER}xcW"
    row["email_message_id"] = message["message_id"] = f"<20261028041200.{NUMBER}@corp.example>"
    message["id"] = f"4cCY{NUMBER}xcW-2026-10-28T04:12:00-{NUMBER}"
    recipients = [f"user{position}@corp.example", "marco@corp.example"]
    if position % 100 == 50:
        recipients += [f"colleague{number}@corp.example" for number in range(LONG_ROW_RECIPIENTS)]
    row["action_params"]["client_recipient"] = recipients[0]
    message["to"] = message["envelope_to"] = message["client_recipients"] = recipients
    message["to_name"] = [address.split("@")[0].title() for address in recipients]
    return row


def _parts(row: dict[str, Any], size: int, fill: str = "a link to a domain registered 3 days ago, ") -> list[bytes]:
    """Return the row filled up to this size, as parts to join with its number."""
    finding = row["message"]["findings"] = [{"detail": ""}]
    missing = size - len(_write_row(row))
    finding[0]["detail"] = fill * (missing // len(fill.encode())) if missing > 0 else ""
    return _write_row(row).split(NUMBER.encode())


def _write_row(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _example() -> dict[str, Any]:
    """Return a row of the sandbox, without its ID."""
    account = open_account(Settings(messages=40, manual_clock=True)).account
    search = SearchParams(sender=account.tenant.domain, detections_only=False)
    order = JobOrder(
        action="MOVE",
        destination="JunkEmail",
        expected_disposition=None,
        comment=None,
        criteria=search.criteria(),
        search_params=search.view(),
        action_log=search.action_log,
    )
    with account.present() as now:
        job = account.jobs.create(order, now, "benchmark", None)
    account.advance(3600)
    with account.present() as now:
        rows = [
            job_message_view(account.tenant, job, row, now) for row in job.list_rows(None, account.settings.row_order)
        ]
    row: dict[str, Any] = max(rows, key=lambda found: len(json.dumps(found)))
    del row["message_id"]
    row["status"] = "COMPLETED"
    return row
