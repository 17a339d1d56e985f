"""Find the messages that a MOVE job moved, in the rows of its export, so that they can be moved back.

A row is also CANCELLED if its message was in flight when the job ended, and the message may have been moved. So such
messages are looked up: one search finds a thousand of them, and the action log is read only for those that show a move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from connectors.email_security import EmailSecurity
from connectors.objects.folders import DELETIONS, PURGES, recovery_from
from connectors.objects.job import Destination
from core.errors import NotRestorable, ParameterError, printable
from core.quantity import counted
from remediation.guardrails.change import Change
from remediation.messages.lookup import LOGS_BEFORE, look_up, read_logs, state_of
from remediation.messages.selection import JobRow, Selection, exported_rows

# A row's folder in the counts, where the row names none or too many different ones are named.
UNKNOWN_FOLDER = "(not reported)"
MOST_FOLDERS = 20


@dataclass(frozen=True)
class InFlight:
    """CANCELLED rows. moved: their messages were moved. unknown: investigate IDs of messages that do not show it."""

    moved: list[JobRow] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return warnings about both."""
        found = []
        if self.moved:
            found.append(
                f"{counted(len(self.moved), 'row is', 'rows are')} CANCELLED, but of a message that was moved: it was "
                "in flight when the job ended"
            )
        if self.unknown:
            found.append(
                f"CANCELLED rows have {counted(len(self.unknown), 'message')} that may have been moved: not changed. "
                "Check, then use move-messages with the IDs in cancelled_unknown"
            )
        return found


@dataclass
class MovedMessages:
    """The messages of COMPLETED rows, and those of CANCELLED rows that were in flight and were moved.

    by_destination: COMPLETED rows by folder. other_rows: rows with another status.
    """

    selection: Selection = field(default_factory=lambda: Selection(from_file=True))
    by_destination: Counter[str] = field(default_factory=Counter)
    other_rows: int = 0
    in_flight: InFlight = field(default_factory=InFlight)

    @property
    def rows_left_alone(self) -> int:
        return self.other_rows - len(self.in_flight.moved)

    @property
    def cancelled_moved(self) -> int:
        """Return how many messages have CANCELLED rows and were moved."""
        return len({row.message.id for row in self.in_flight.moved if row.message is not None})

    def warnings(self) -> list[str]:
        warnings = []
        if self.selection.messages:
            warnings.append("the original folder of the messages is not known: every message is moved to Inbox")
        if further := self.selection.messages_with_other_recipients():
            warnings.append(
                f"{counted(further, 'message has', 'messages have')} more recipients than the rows name: all of them "
                "are affected"
            )
        if deleted := self.by_destination[DELETIONS]:
            warnings.append(
                f"{counted(deleted, 'row was', 'rows were')} moved to {DELETIONS}: whether the API can move such mail "
                f"back is not documented. {recovery_from(DELETIONS)}"
            )
        if unknown := self.by_destination[UNKNOWN_FOLDER]:
            warnings.append(f"{counted(unknown, 'row does', 'rows do')} not name the folder of the move")
        return [*warnings, *self.in_flight.warnings()]


def read_moved_messages(api: EmailSecurity, export: str) -> MovedMessages:
    """Read the export of a MOVE job, and look up the messages of its CANCELLED rows.

    export: as exported_rows. Raises: ParameterError (pointer /export); NotRestorable where messages were purged; what a
    search raises.
    """
    found, cancelled = MovedMessages(), list[JobRow]()
    for number, row in enumerate(exported_rows(export), start=1):
        if row.status != "COMPLETED":
            found.other_rows += 1
            if row.status == "CANCELLED" and row.action_type == "MOVE" and row.message is not None:
                cancelled.append(row)
            continue
        _check_is_move(row, number)
        found.selection.add(row)
        found.by_destination[_folder(row, found.by_destination)] += 1
    rows = found.by_destination.total()
    if not rows and not found.other_rows:
        raise _refusal("has no row: an evidence bundle or NDJSON file of export-job-messages is needed")
    if purged := found.by_destination[PURGES]:
        raise NotRestorable(f"{purged} of {counted(rows, 'row was', 'rows were')} moved to {PURGES}")
    found.in_flight = _find_moved_rows(api, [row for row in cancelled if not found.selection.has(row)])
    for row in found.in_flight.moved:
        if row.destination == PURGES:
            raise NotRestorable(f"row {row.row_id} is CANCELLED, and its message was moved to {PURGES} all the same")
        found.selection.add(row)
    return found


def _find_moved_rows(api: EmailSecurity, rows: Sequence[JobRow]) -> InFlight:
    """Look up the messages of CANCELLED rows of a MOVE job. Reads at most LOGS_BEFORE action logs.

    Raises: what EmailSecurity.search_messages raises.
    """
    by_folder: dict[str | None, dict[str, list[JobRow]]] = {}
    for row in rows:
        if row.message is not None:
            by_folder.setdefault(row.destination, {}).setdefault(row.message.id, []).append(row)
    found = InFlight()
    for name, of_folder in by_folder.items():
        change = Change("MOVE", next((known for known in get_args(Destination) if known == name), None))
        details = look_up(api, of_folder)
        logs = read_logs(api, details, change, LOGS_BEFORE)
        for one, of_message in of_folder.items():
            match state_of(details.get(one), logs.get(one), change):
                case "done" if change.destination is not None:
                    found.moved.extend(of_message)
                case "done" | "unknown":
                    found.unknown.append(one)
                case "not done":
                    pass
    return found


def _check_is_move(row: JobRow, number: int) -> None:
    """Raises: ParameterError if the row is not of a MOVE: a released message is in the mailbox already."""
    name = f"row {number} ({row.row_id})"
    if row.action_type != "MOVE":
        problem = "has no action_type" if row.action_type is None else f"is of a {row.action_type} job"
        raise _refusal(f"{name} {problem}: only messages of a MOVE job can be moved back")
    if row.destination is not None and row.destination not in get_args(Destination):
        raise _refusal(f"{name}: was moved to {row.destination!r}, which is not a known folder")


def _refusal(message: str) -> ParameterError:
    return ParameterError.at("/export", printable(message)[:500])


def _folder(row: JobRow, known: Counter[str]) -> str:
    folder = UNKNOWN_FOLDER if row.destination is None else printable(row.destination)[:100]
    return folder if folder in known or len(known) < MOST_FOLDERS or folder == PURGES else UNKNOWN_FOLDER
