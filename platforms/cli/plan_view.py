"""A plan, and a change of named messages, for a person on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from platforms.cli.screen import Screen
from platforms.cli.tables import LONGEST_LIST, Column, facts, grid, named_values, text_of

SAMPLE_COLUMNS = (
    Column("scanned", 20, rank=3),
    Column("from", 24, rank=1),
    Column("subject", 24),
    Column("recipients", 24),
    Column("verdict", 11, rank=2),
)
BREAKDOWN_COLUMNS = (Column("", 20), Column("messages", 8, right=True), Column("share", 6, right=True, rank=1))
CHANGE_COLUMNS = (
    Column("success", 7),
    Column("recipient", 24),
    Column("status", 24, rank=1),
    Column("message", 24, rank=2),
)
BREAKDOWNS = {
    "by_recipient_domain": "recipient domain",
    "by_sender": "sender",
    "by_disposition": "verdict",
    "by_delivery_status": "delivery status",
}


def show_plan(screen: Screen, plan: Mapping[str, Any]) -> None:
    """What would be done, to whom, what stands against it; the hash last, where it is copied from."""
    for key, title in BREAKDOWNS.items():
        if plan[key]:
            _breakdown(screen, title, plan[key], plan["messages"] or 0)
    if plan["sample"]:
        grid(screen.out, SAMPLE_COLUMNS, [_sample_row(message) for message in plan["sample"]])
    undo = plan["reversibility"]
    rows: list[tuple[str, object]] = [
        ("action", f"{plan['action']} to {plan['destination']}" if plan["destination"] else plan["action"]),
        *((f"search: {name}", value) for name, value in named_values(plan["search_params"])),
        ("messages", _number(plan["messages"])),
        ("recipients", _number(plan["recipients"])),
        ("malicious", _number(plan["malicious"])),
        ("the count is", ": ".join([plan["parity"], *plan["parity_notes"]])),
        ("can be undone", f"{text_of(undo['reversible'])}: {undo['how']}"),
        ("may drift by", f"{plan['max_drift']:g} percent before the job is created"),
        ("is cancelled over", f"{_number(plan['cancel_if_discovered_over'])} messages discovered"),
        ("approvals needed", plan["approvals_needed"]),
        *(("protected", one) for one in plan["protected"]),
        *(("may be our own", one) for one in plan["own_senders"]),
        ("asked by", plan["requested_by"] or "nobody said"),
        ("counted at", plan["previewed_at"]),
        ("plan_hash", plan["plan_hash"]),
    ]
    facts(screen.out, rows)
    for refusal in plan["refusals"]:
        screen.say(f"would be refused: {refusal['type']}: {refusal['message']}", "bold red")


def show_change(screen: Screen, result: Mapping[str, Any]) -> None:
    """What was done to each message, then the counts."""
    rows = result["results"]
    if rows:
        # What did not succeed comes first: it is what somebody has to look at.
        shown = sorted(rows, key=lambda row: bool(row.get("success")))[:LONGEST_LIST]
        grid(screen.out, CHANGE_COLUMNS, [_change_row(row) for row in shown])
        if len(rows) > len(shown):
            screen.say(f"{len(shown)} of {len(rows)} rows are shown; --output json has all", "dim")
    left_out = ("results", "warnings", "ids")
    facts(screen.out, list(named_values({name: value for name, value in result.items() if name not in left_out})))
    if result["dry_run"]:
        screen.say("a dry run: nothing was changed; --no-dry-run does it", "yellow")


def _breakdown(screen: Screen, title: str, counts: Mapping[str, int], messages: int) -> None:
    columns = (Column(title, 20), *BREAKDOWN_COLUMNS[1:])
    rows = [
        (name, f"{count:,}", f"{100 * count / messages:.0f} %" if messages else "") for name, count in counts.items()
    ]
    grid(screen.out, columns, rows)
    screen.out.print()


def _sample_row(message: Mapping[str, Any]) -> Sequence[object]:
    recipients = ", ".join(message.get("recipients") or ())
    return (
        message.get("scanned_at"),
        message.get("from"),
        message.get("subject"),
        recipients,
        message.get("final_disposition"),
    )


def _change_row(row: Mapping[str, Any]) -> Sequence[object]:
    success = row.get("success")
    return (
        "not known" if success is None else text_of(bool(success)),
        row.get("recipient"),
        row.get("status"),
        row.get("id") or row.get("message_id"),
    )


def _number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"
