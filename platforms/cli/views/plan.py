"""A plan, and a change of named messages, for a person on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.quantity import counted
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import BAD, QUIET, STRONG, WARNING
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import IN_JSON, LONGEST_LIST, Column, grid, named_values, text_of

if TYPE_CHECKING:
    from rich.console import Console

    from actions.contract.action import Action
    from remediation.guardrails.plans.plan import Reversibility

SAMPLE_COLUMNS = (
    Column("scanned", 20, rank=3),
    Column("from", 24, rank=2),
    Column("subject", 24),
    Column("recipients", 24),
    Column("verdict", 11, rank=1),
)
BREAKDOWN_COLUMNS = (Column("", 20), Column("messages", 8, right=True), Column("share", 6, right=True, rank=1))
CHANGE_COLUMNS = (
    Column("success", 7),
    Column("recipient", 24),
    Column("status", 24, rank=1),
    Column("message", 24, rank=2, whole=True),
)
BREAKDOWNS = {
    "by_recipient_domain": "recipient domain",
    "by_sender": "sender",
    "proved_clean": "clean, of a proved sender",
    "by_disposition": "verdict",
    "by_delivery_status": "delivery status",
}


# As mail programs name them.
FOLDERS = {
    "JunkEmail": "Junk Email",
    "DeletedItems": "Deleted Items",
    "RecoverableItemsDeletions": "Recoverable Items (Deletions)",
    "RecoverableItemsPurges": "Recoverable Items (Purges)",
}

MOVED_BACK = "move-messages with the same IDs moves them to Inbox; the folder that each came from is not known."

# What a change of named messages came to: of no use before it is made.
OUTCOME = {
    *("dry_run", "done", "succeeded", "failed", "unknown", "not_sent", "unaccounted", "truncated"),
    "rows_without_id",
}


def show_plan(screen: Screen, plan: Mapping[str, Any], console: Console | None = None) -> None:
    """Show what would be done, to whom, and what would refuse it; the hash last, where it is copied from.

    console: where a person is asked; else the result goes to standard output, and what would refuse it to standard
    error.
    """
    out = console or screen.out
    for key, title in BREAKDOWNS.items():
        if len(plan.get(key) or ()) > 1:
            _breakdown(out, title, plan[key], plan["messages"] or 0)
    if plan["sample"]:
        hint = "" if console is not None else IN_JSON
        grid(out, SAMPLE_COLUMNS, [_sample_row(message) for message in plan["sample"]], hint=hint)
    undo = undo_of(None, plan)
    rows: list[tuple[str, object]] = [
        ("action", f"{plan['action']} to {plan['destination']}" if plan["destination"] else plan["action"]),
        *((f"search: {name}", value) for name, value in named_values(plan["search_params"])),
        ("messages", _number(plan["messages"])),
        ("recipients", _number(plan["recipients"])),
        *_single_values(plan),
        ("malicious", _number(plan["malicious"])),
        ("sender not proved", _number(plan["unproved"])),
        ("the count is", ": ".join([plan["parity"], *plan["parity_notes"]])),
        ("can be undone", f"{text_of(undo.reversible)}: {undo.how}"),
        ("drift allowed", f"{plan['max_drift']:g} percent until the job is created"),
        (
            "discovery limit",
            f"{_number(plan['cancel_if_discovered_over'])}; a job with more messages is cancelled",
        ),
        ("approvals needed", plan["approvals_needed"]),
        *(("protected", one) for one in plan["protected"]),
        *(("may be our own", one) for one in plan["own_senders"]),
        ("asked by", (plan["requested_by"] or "not stated") + ("" if plan["requester_proved"] else " (not proved)")),
        ("counted at", plan["previewed_at"]),
        ("plan_hash", plan["plan_hash"]),
    ]
    facts(out, rows)
    _show_refusals(screen, plan["refusals"], console)
    if console is None:
        paragraph(out, effect_of(None, plan), STRONG)


def _show_refusals(screen: Screen, refusals: Iterable[Mapping[str, Any]], console: Console | None) -> None:
    for refusal in refusals:
        line = f"would be refused: {refusal['type']}: {refusal['message']}"
        if console is None:
            screen.say(line, BAD)
        else:
            paragraph(console, line, BAD)


def undo_of(action: Action[Any, Any] | None, shown: Mapping[str, Any]) -> Reversibility:
    """Return whether what a call does can be undone, and how.

    It is computed from the call's own action and folder, as a plan or a dry run shows them: an action's worst case may
    be irreversible, and a move to JunkEmail is not. What a plan says of it is not read.
    """
    from remediation.guardrails.plans.plan import Reversibility, reversibility_of  # noqa: PLC0415 -- brings the search's models

    if shown.get("action") in ("MOVE", "RELEASE"):
        undo = reversibility_of(shown["action"], shown.get("destination"))
        if undo.reversible and "dry_run" in shown:
            # restore-messages reads a job's rows, and named messages have none.
            return Reversibility(reversible=True, how=MOVED_BACK)
        return undo
    reversible = action is not None and action.effect != "irreversible"
    return Reversibility(reversible=reversible, how="by another call" if reversible else "What it does is permanent.")


def effect_of(action: Action[Any, Any] | None, shown: Mapping[str, Any] | None) -> str:
    """Return in one line what a call does, to how many, and whether it can be undone. shown: by its preview, if any."""
    shown = shown or {}
    undo = "can be undone" if undo_of(action, shown).reversible else "can't be undone"
    if shown.get("action") not in ("MOVE", "RELEASE"):
        return f"{action.title if action is not None else 'Change mail'}; {undo}"
    count, recipients = shown.get("messages"), shown.get("recipients")
    messages = counted(count, "message") if isinstance(count, int) else "an unknown number of messages"
    of = f" of {counted(recipients, 'recipient')}" if isinstance(recipients, int) else ""
    folder = str(shown.get("destination"))
    if shown["action"] == "MOVE":
        return f"Move {messages}{of} to {FOLDERS.get(folder, folder)}; {undo}"
    return f"Release {messages}{of}; {undo}"


def show_change(screen: Screen, result: Mapping[str, Any], console: Console | None = None) -> None:
    """Show what was done to each message, or in a dry run what the messages are; then the counts.

    console: where a person is asked about a dry run.
    """
    out = console or screen.out
    for key, title in BREAKDOWNS.items():
        if len(result.get(key) or ()) > 1:
            _breakdown(out, title, result[key], sum(result[key].values()))
    if result.get("sample"):
        hint = "" if console is not None else IN_JSON
        grid(out, SAMPLE_COLUMNS, [_sample_row(message) for message in result["sample"]], hint=hint)
    rows = result["results"]
    if rows:
        # What did not succeed comes first: it is what somebody has to look at.
        shown = sorted(rows, key=lambda row: bool(row.get("success")))[:LONGEST_LIST]
        grid(out, CHANGE_COLUMNS, [_change_row(row) for row in shown], hint="" if console is not None else IN_JSON)
        if len(rows) > len(shown):
            screen.say(f"{len(shown)} of {counted(len(rows), 'row')} shown; --output json has all", QUIET)
    left_out = {"results", "warnings", "ids", "sample", "refusals", *BREAKDOWNS}
    if console is not None:
        left_out |= OUTCOME
    told = list(named_values({name: value for name, value in result.items() if name not in left_out}))
    if result["dry_run"]:
        undo = undo_of(None, result)
        told.append(("can be undone", f"{text_of(undo.reversible)}: {undo.how}"))
    facts(out, [*told, *_single_values(result)])
    _show_refusals(screen, result.get("refusals", ()), console)
    if result["dry_run"] and console is None:
        screen.say("a dry run: nothing was changed; --no-dry-run does it", WARNING)


def _breakdown(out: Console, title: str, counts: Mapping[str, int], messages: int) -> None:
    columns = (Column(title, 20), *BREAKDOWN_COLUMNS[1:])
    rows = [
        (name, f"{count:,}", f"{100 * count / messages:.0f} %" if messages else "") for name, count in counts.items()
    ]
    grid(out, columns, rows)
    out.print()


def _single_values(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what all messages have in common: a table of one row would say no more."""
    for key, title in BREAKDOWNS.items():
        counts = shown.get(key) or {}
        if len(counts) == 1:
            [(name, count)] = counts.items()
            yield title, name if count == shown.get("messages") else f"{name} ({counted(count, 'message')})"


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
