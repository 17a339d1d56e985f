"""Finds CANCELLED rows whose messages were moved, because they were in flight when the job ended.

The API counts such rows as cancelled (`messages_cancelled`). The message itself decides: one search finds a thousand
messages, and the action log is read only for those that show a move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from connectors.email_security import EmailSecurity
from connectors.objects.job import Destination
from core.quantity import counted
from remediation.guardrails.change import Change
from remediation.messages.lookup import LOGS_BEFORE, look_up, read_logs, state_of
from remediation.messages.selection import JobRow


@dataclass(frozen=True)
class InFlight:
    """moved: rows whose messages were moved. unknown: investigate IDs of messages that do not show it."""

    moved: list[JobRow] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return warnings about both."""
        found = []
        if self.moved:
            found.append(
                counted(
                    len(self.moved),
                    "row is CANCELLED, and its message was moved: it was",
                    "rows are CANCELLED, and their messages were moved: they were",
                )
                + " in flight when the job ended"
            )
        if self.unknown:
            found.append(
                counted(
                    len(self.unknown),
                    "message has CANCELLED rows, and it is not known whether it was moved: it is not changed. Check "
                    "it, then pass it to move-messages",
                    "messages have CANCELLED rows, and it is not known whether they were moved: they are not "
                    "changed. Check them, then pass them to move-messages",
                )
            )
        return found


def find_moved_rows(api: EmailSecurity, rows: Sequence[JobRow]) -> InFlight:
    """Look up the messages of CANCELLED rows of a MOVE job. Reads at most LOGS_BEFORE action logs.

    Raises: what EmailSecurity.search_messages raises.
    """
    by_folder: dict[str | None, dict[str, list[JobRow]]] = {}
    for row in rows:
        if row.message is not None:
            by_folder.setdefault(row.destination, {}).setdefault(row.message.id, []).append(row)
    found = InFlight()
    for name, of_folder in by_folder.items():
        destination: Destination | None = next((known for known in get_args(Destination) if known == name), None)
        change = Change("MOVE", destination)
        details = look_up(api, of_folder)
        logs = read_logs(api, details, change, LOGS_BEFORE)
        for one, of_message in of_folder.items():
            match state_of(details.get(one), logs.get(one), change):
                case "done" if destination is not None:
                    found.moved.extend(of_message)
                case "done" | "unknown":
                    found.unknown.append(one)
                case "not done":
                    pass
    return found
