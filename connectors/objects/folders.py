"""What becomes of a message in each of the folders that a move can name, and who can get it back.

Sources: the vendor's pages on auto-moves and on the message search (docs/reference/remote-api.md). They say it for
Microsoft 365; the pairing of the API's folder names with the words on those pages is inferred.
Retention is the organisation's own.
"""

from __future__ import annotations

DELETIONS, PURGES = "RecoverableItemsDeletions", "RecoverableItemsPurges"

_RECOVERY = {
    DELETIONS: "On Microsoft 365 a user can restore messages from RecoverableItemsDeletions until the retention there "
    "ends. On Google Workspace this deletion is not offered, and what the API does there is not documented.",
    PURGES: "On Microsoft 365 only an administrator can restore messages from RecoverableItemsPurges, while single "
    "item recovery or a hold keeps them. What Google Workspace keeps is not documented.",
}


def recovery_from(destination: str | None) -> str | None:
    """Return who can get messages back that were moved there; None for a folder that users see."""
    return _RECOVERY.get(destination or "")
