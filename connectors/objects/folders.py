"""Who can recover messages from each destination folder.

Sources: the vendor's pages on auto-moves and on the message search (docs/reference/remote-api.md), for Microsoft 365.
Which of the API's folder names these pages mean is inferred.
"""

from __future__ import annotations

DELETIONS, PURGES = "RecoverableItemsDeletions", "RecoverableItemsPurges"

_RECOVERY = {
    DELETIONS: "On Microsoft 365, users can restore messages from RecoverableItemsDeletions until the retention period "
    "ends. Google Workspace has no such folder, and what the API does there is not documented.",
    PURGES: "On Microsoft 365, only an administrator can restore messages from RecoverableItemsPurges, while single "
    "item recovery or a hold keeps them. What Google Workspace keeps is not documented.",
}


def recovery_from(destination: str | None) -> str | None:
    """Return who can recover messages from a folder, or None for a folder that users see."""
    return _RECOVERY.get(destination or "")
