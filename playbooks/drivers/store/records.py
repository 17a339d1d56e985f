"""The records of the run store: runs and signals, their columns, and their seals.

A seal is an HMAC over every column of a row, under a key that is stored elsewhere (`playbooks.drivers.seal_key`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from core.errors import ParameterError
from core.instants import format_sortable, instant_or_none
from core.json_values import Json, NotPlainJson, canonical, digest, plain, read_json, shown
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.failures import BEGIN_AGAIN
from playbooks.language.errors import RunRecordRefused

Status = Literal["running", "sleeping", "waiting", "completed", "refused", "incomplete", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED = frozenset({"completed", "refused", "incomplete", "failed", "cancelled"})

_SUMMARY = (
    *("run_id", "key", "playbook_id", "playbook_sha256", "directory", "status", "at_step", "wake_at", "waits_for"),
    *("started_at", "updated_at", "revision"),
)
SUMMARY_COLUMNS = ", ".join(_SUMMARY)
_SEALED = {
    "run": (*_SUMMARY, "in_flight", "state"),
    "signal": ("seq", "run_id", "name", "value", "sent_by", "sent_at", "taken_at"),
}

_SORTABLE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", flags=re.ASCII)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where a run is. wake_at: RFC 3339, for a run that sleeps, or waits with a time limit. Raises: ValueError."""

    status: Status
    at_step: str | None = None
    wake_at: str | None = None
    waits_for: str | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"unknown status {self.status!r}")
        if self.wake_at is not None and instant_or_none(self.wake_at) is None:
            raise ValueError(f"wake_at {self.wake_at!r} is not an RFC 3339 date-time")

    def columns(self) -> dict[str, str | None]:
        wake_at = instant_or_none(self.wake_at)
        return {**vars(self), "wake_at": None if wake_at is None else format_sortable(wake_at)}


@dataclass(frozen=True)
class NewRun:
    """A run that is about to begin. key: the playbook's key, such as an alert's ID. state: a JSON text."""

    run_id: str
    key: str | None
    playbook: Mapping[str, Json]
    playbook_id: str
    playbook_sha256: str
    directory: str
    state: str
    progress: Progress

    def columns(self, now: datetime) -> dict[str, Any]:
        """Return the columns of the first revision. Raises: ParameterError for text that UTF-8 can't encode."""
        at = format_sortable(now)
        columns = {
            **{name: getattr(self, name) for name in ("run_id", "key", "playbook_id", "playbook_sha256", "directory")},
            **self.progress.columns(),
            "started_at": at,
            "updated_at": at,
            "revision": 1,
            "in_flight": "[]",
            "state": self.state,
        }
        refuse_unencodable(columns)
        return columns


@dataclass(frozen=True)
class RunSummary:
    """A run without its state. Times are RFC 3339; `status` is one of STATUSES unless the row is damaged."""

    run_id: str
    key: str | None
    playbook_id: str
    playbook_sha256: str
    directory: str
    status: str
    at_step: str | None
    wake_at: str | None
    waits_for: str | None
    started_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, row: Row | sqlite3.Row) -> RunSummary:
        """Return the summary of a row. A value of another type, which only damage explains, becomes text."""
        revision = row["revision"]
        return cls(
            run_id=_text(row["run_id"]),
            key=_optional(row["key"]),
            playbook_id=_text(row["playbook_id"]),
            playbook_sha256=_text(row["playbook_sha256"]),
            directory=_text(row["directory"]),
            status=_text(row["status"]),
            at_step=_optional(row["at_step"]),
            wake_at=_optional(row["wake_at"], _instant),
            waits_for=_optional(row["waits_for"]),
            started_at=_instant(row["started_at"]),
            updated_at=_instant(row["updated_at"]),
            revision=revision if isinstance(revision, int) else 0,
        )


@dataclass(frozen=True)
class StoredRun:
    """A run with its playbook, its state (a JSON text) and the actions that have begun and not ended.

    intact: whether its seal is valid. A run that is not intact can be shown, but not resumed.
    """

    summary: RunSummary
    playbook: dict[str, Json]
    state: str
    in_flight: list[dict[str, Json]]
    intact: bool


@dataclass(frozen=True)
class StoredSignal:
    """A named value that was sent to a run. taken_at: when the run took it. Times are RFC 3339.

    intact: whether its seal is valid. A run refuses a signal that is not intact.
    """

    seq: int
    name: str
    value: Json
    sent_by: str | None
    sent_at: str
    taken_at: str | None
    intact: bool


def stored_run(row: Row, key: SealKey) -> StoredRun:
    """Return the run of a row, which has its playbook as `document`. Raises: RunRecordRefused if it can't be read."""
    try:
        playbook, in_flight, state = read_json(row["document"]), read_json(row["in_flight"]), row["state"]
        intact = _is_sealed("run", row, key) and digest(playbook) == row["playbook_sha256"]
    except (ValueError, TypeError, RecursionError):
        raise _damaged(row) from None
    if not isinstance(playbook, dict) or not isinstance(in_flight, list) or not isinstance(state, str):
        raise _damaged(row)
    return StoredRun(RunSummary.of(row), playbook, state, in_flight, intact)


def stored_signal(row: Row, key: SealKey) -> StoredSignal:
    """Return the signal of a row. A value that can't be read becomes None, and is not intact."""
    try:
        value, readable = read_json(row["value"]), True
    except (ValueError, TypeError, RecursionError):
        value, readable = None, False
    return StoredSignal(
        seq=row["seq"],
        name=_text(row["name"]),
        value=value,
        sent_by=_optional(row["sent_by"]),
        sent_at=_instant(row["sent_at"]),
        taken_at=_optional(row["taken_at"], _instant),
        intact=readable and _is_sealed("signal", row, key),
    )


def sealed_run(columns: Row, key: SealKey) -> dict[str, Any]:
    """Return the row of a run with its seal."""
    return _sealed("run", columns, key)


def sealed_signal(columns: Row, key: SealKey) -> dict[str, Any]:
    """Return the row of a signal with its seal."""
    return _sealed("signal", columns, key)


def refuse_tampered(row: Row, key: SealKey, *, intact: bool) -> None:
    """Raise RunRecordRefused for a row whose seal is invalid."""
    if intact:
        return
    if isinstance(row["sealed_by"], str) and row["sealed_by"] != key.id:
        raise RunRecordRefused(
            f"the run {shown(row['run_id'])} was sealed with another key than the one of this process ({key.source})",
            help="Nothing was run. Resume the run as the same user on the same machine, with the same CFES_PLAN_KEY or "
            f"CFES_STATE_DIR. {BEGIN_AGAIN}",
        )
    raise _damaged(row)


def json_text(value: object) -> str:
    """Return a value as canonical JSON. Half of a surrogate pair becomes U+FFFD. Raises: ParameterError."""
    try:
        return canonical(plain(value)).decode("ascii")
    except NotPlainJson as error:
        raise ParameterError(f"the value can't be stored: {error}", help="Nothing was stored.") from None


def refuse_unencodable(columns: Row) -> None:
    """Raise ParameterError if a text has half of a surrogate pair."""
    for name, value in columns.items():
        try:
            value.encode() if isinstance(value, str) else None
        except UnicodeEncodeError:
            raise ParameterError(
                f"the {name} {shown(value)} can't be stored: it is not valid Unicode", help="Nothing was run."
            ) from None


def _sealed(kind: str, columns: Row, key: SealKey) -> dict[str, Any]:
    own = {name: columns[name] for name in _SEALED[kind]}
    return {**own, "sealed_by": key.id, "seal": key.seal(_document(kind, columns))}


def _is_sealed(kind: str, row: Row, key: SealKey) -> bool:
    return row["sealed_by"] == key.id and key.verify(row["seal"], _document(kind, row))


def _document(kind: str, row: Row) -> dict[str, Any]:
    # The kind keeps the seal of one kind of record from being valid for another one.
    return {"record": kind, **{name: row[name] for name in _SEALED[kind]}}


def _damaged(row: Row) -> RunRecordRefused:
    return RunRecordRefused(
        f"the record of run {shown(row['run_id'])} is damaged or was edited: its seal is invalid",
        help=f"Nothing was run. Find out who changed the run store, then begin a new run. {BEGIN_AGAIN}",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _instant(value: object) -> str:
    """Return an instant of `format_sortable` as `format_shortest` writes it."""
    text = _text(value)
    return text[:-1].rstrip("0").rstrip(".") + "Z" if _SORTABLE.fullmatch(text) else text


def _optional(value: object, read: Callable[[object], str] = _text) -> str | None:
    return None if value is None else read(value)
