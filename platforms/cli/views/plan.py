"""Show a plan, or a change of named messages, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from actions.contract.action import Action
from core.quantity import counted
from platforms.cli.views.layout import facts, paragraph
from platforms.cli.views.palette import BAD, QUIET, STRONG, WARNING
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import IN_JSON, LONGEST_LIST, Column, grid, named_values, text_of
from remediation.guardrails.plans.plan import Reversibility, reversibility_of

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
    "proved_clean": "clean, sender proved",
    "by_disposition": "verdict",
    "by_delivery_status": "delivery status",
}


# The names that mail programs show.
FOLDERS = {
    "JunkEmail": "Junk Email",
    "DeletedItems": "Deleted Items",
    "RecoverableItemsDeletions": "Recoverable Items (Deletions)",
    "RecoverableItemsPurges": "Recoverable Items (Purges)",
}

MOVED_BACK = "move-messages with the same IDs moves them to Inbox. Their original folders are not known."

# Fields about the outcome, which are not shown before the change.
OUTCOME = {
    *("dry_run", "done", "succeeded", "failed", "unknown", "not_sent", "unaccounted", "truncated"),
    "rows_without_id",
}


def show_plan(screen: Screen, plan: Mapping[str, Any], console: Console | None = None) -> None:
    """Show a plan: its effect, its recipients, the reasons for refusal, and the hash last.

    console: where a person is asked for confirmation. Without it the plan goes to standard output, and the reasons for
    refusal go to standard error.
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
        ("messages", number_of(plan["messages"])),
        ("recipients", number_of(plan["recipients"])),
        *_single_values(plan),
        ("malicious", number_of(plan["malicious"])),
        ("sender not proved", number_of(plan["unproved"])),
        ("count", ": ".join([plan["parity"], *plan["parity_notes"]])),
        ("can be undone", f"{text_of(undo.reversible)}: {undo.how}"),
        ("allowed drift", f"{plan['max_drift']:g} percent until the job is created"),
        (
            "discovery limit",
            f"{number_of(plan['cancel_if_discovered_over'])}; a job with more messages is cancelled",
        ),
        ("approvals needed", plan["approvals_needed"]),
        *(("protected", one) for one in plan["protected"]),
        *(("may be our own", one) for one in plan["own_senders"]),
        ("requested by", _requester(plan)),
        ("counted at", plan["previewed_at"]),
        ("plan_hash", plan["plan_hash"]),
    ]
    facts(out, rows)
    _show_refusals(screen, plan["refusals"], console)
    if console is None:
        paragraph(out, effect_of(None, plan), STRONG)


def _requester(plan: Mapping[str, Any]) -> str:
    if plan["requested_by"] is None:
        return "not set"
    return str(plan["requested_by"]) + ("" if plan["requester_proved"] else " (not proved)")


def _show_refusals(screen: Screen, refusals: Iterable[Mapping[str, Any]], console: Console | None) -> None:
    for refusal in refusals:
        line = (
            f"This call would be refused: {refusal['type']}: {refusal['message']}. {refusal.get('next', '')}".rstrip()
        )
        if console is None:
            screen.say(line, BAD)
        else:
            paragraph(console, line, BAD)


def undo_of(action: Action[Any, Any] | None, shown: Mapping[str, Any]) -> Reversibility:
    """Return whether a call can be undone, and how.

    The answer comes from the call's own action and folder: an action's maximum impact may be irreversible while this
    move to JunkEmail is not. The plan's own field for it is not read.
    """
    if shown.get("action") in ("MOVE", "RELEASE"):
        undo = reversibility_of(shown["action"], shown.get("destination"))
        if undo.reversible and "dry_run" in shown:
            # restore-messages needs a job's rows, and named messages have no job.
            return Reversibility(reversible=True, how=MOVED_BACK)
        return undo
    reversible = action is not None and action.effect != "irreversible"
    return Reversibility(reversible=reversible, how="by another call" if reversible else "The change is permanent.")


def effect_of(action: Action[Any, Any] | None, shown: Mapping[str, Any] | None) -> str:
    """Describe a call in one line: action, number of messages, whether it can be undone. shown: its preview, if any."""
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
    """Show the outcome of each message, or in a dry run the messages, and then the counts.

    console: where a person is asked for confirmation of a dry run.
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
        # Failures come first.
        shown = sorted(rows, key=lambda row: bool(row.get("success")))[:LONGEST_LIST]
        grid(out, CHANGE_COLUMNS, [_change_row(row) for row in shown], hint="" if console is not None else IN_JSON)
        if len(rows) > len(shown):
            screen.say(f"Showing {len(shown)} of {counted(len(rows), 'row')}. Use --output json to see all.", QUIET)
    left_out = {"results", "warnings", "ids", "sample", "refusals", *BREAKDOWNS}
    if console is not None:
        left_out |= OUTCOME
    values = list(named_values({name: value for name, value in result.items() if name not in left_out}))
    if result["dry_run"]:
        undo = undo_of(None, result)
        values.append(("can be undone", f"{text_of(undo.reversible)}: {undo.how}"))
    facts(out, [*values, *_single_values(result)])
    _show_refusals(screen, result.get("refusals", ()), console)
    if result["dry_run"] and console is None:
        screen.say("This was a dry run: nothing was changed. Add --no-dry-run to make the change.", WARNING)


def _breakdown(out: Console, title: str, counts: Mapping[str, int], messages: int) -> None:
    columns = (Column(title, 20), *BREAKDOWN_COLUMNS[1:])
    rows = [
        (name, f"{count:,}", f"{100 * count / messages:.0f} %" if messages else "") for name, count in counts.items()
    ]
    grid(out, columns, rows)
    out.print()


def _single_values(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the breakdowns with a single value, which need no table."""
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


def number_of(value: int | None) -> str:
    """Format a number, or that it is not known."""
    return "not known" if value is None else f"{value:,}"
