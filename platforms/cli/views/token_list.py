"""Show the tokens of callers: a new one with its secret, and the list without secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.instants import format_instant
from platforms.callers.records import SCOPES, CallerRecord
from platforms.cli.views.layout import facts, whole
from platforms.cli.views.palette import QUIET, STRONG
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import Column, grid

_COLUMNS = (
    Column("NAME", 12, whole=True),
    Column("STATUS", 8),
    Column("SCOPES", 12),
    Column("EXPIRES", 20, rank=1),
    Column("LAST USED", 20, rank=2),
    Column("SHARE", 5, rank=3, right=True),
    Column("CREATED", 20, rank=4),
    Column("TOKEN ID", 10, rank=3),
)


def show_new(screen: Screen, token: str, record: CallerRecord, now: datetime) -> None:
    """Show a new token. Only this output ever has its secret."""
    if screen.json:
        screen.write_json({"token": token, **_document(record, now)})
    else:
        whole(screen.out, token, STRONG)
        facts(screen.out, _facts(record))
    screen.say("Store the token now, in a secret store: it is shown only once.")


def show_tokens(screen: Screen, records: Sequence[CallerRecord], now: datetime) -> None:
    """Show a list of tokens."""
    if screen.json:
        screen.write_json({"tokens": [_document(record, now) for record in records]})
        return
    if not records:
        screen.say("There are no tokens. To create one: cfes token create NAME --scopes SCOPES", QUIET)
        return
    grid(screen.out, _COLUMNS, [_row(record, now) for record in records])


def _row(record: CallerRecord, now: datetime) -> tuple[str, ...]:
    return (
        *(record.name, record.status(now), _scopes(record), _second(record.expires_at, "never")),
        *(_second(record.last_used_at, "never"), f"{record.rate_share:g}"),
        *(_second(record.created_at, ""), record.token_id),
    )


def _facts(record: CallerRecord) -> list[tuple[str, object]]:
    return [
        ("name", record.name),
        ("scopes", _scopes(record)),
        ("expires", _second(record.expires_at, "never")),
        ("rate share", f"{record.rate_share:g}"),
    ]


def _document(record: CallerRecord, now: datetime) -> dict[str, Any]:
    return {
        "name": record.name,
        "token_id": record.token_id,
        "status": record.status(now),
        "scopes": [scope for scope in SCOPES if scope in record.scopes],
        "rate_share": record.rate_share,
        "created_at": format_instant(record.created_at),
        "expires_at": _instant(record.expires_at),
        "revoked_at": _instant(record.revoked_at),
        "last_used_at": _instant(record.last_used_at),
    }


def _scopes(record: CallerRecord) -> str:
    return ", ".join(scope for scope in SCOPES if scope in record.scopes)


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else format_instant(moment)


def _second(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else format_instant(moment.replace(microsecond=0))
