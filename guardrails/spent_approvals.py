"""Approvals that were used, recorded outside the jobs: an approval counts once, also after its job was deleted.

One file of the state directory, a JSON object a line; the last line about an approval counts. Every access holds a
lock, and every line is on the disk before anything is sent. Where the record can't be read or written, no approval
counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from connectors.errors import ApprovalRefused, ConnectionSettingsError
from connectors.policy import LONGEST_APPROVAL_HOURS
from connectors.state_directory import check_private_file, private_directory
from guardrails.approval_token import CLOCK_SKEW_SECONDS, ReadToken

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity

FILE = "spent-approvals.ndjson"
LOCK = "spent-approvals.lock"
NEW = "spent-approvals.new"

# About 16 MB. An organisation that signs a hundred approvals an hour has fewer that have not expired.
MOST_ENTRIES = 50_000
LARGEST_BYTES = 64 * 1024 * 1024

# An approval that has expired counts nowhere. Entries are kept a day longer, for a clock that is set back.
KEPT_SECONDS = 86_400
LONGEST_LIFE_SECONDS = int(LONGEST_APPROVAL_HOURS * 3600) + KEPT_SECONDS

# Above so many lines, a file of which the half is out of date is written anew.
LINES_BEFORE_CLEANING = 1000

# 64 bits: as much of a plan's hash as the shortest stamp has.
SHORTEST_PLAN_DIGEST = 16

_HEX = re.compile(r"[0-9a-f]{0,64}")
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

HELP = (
    "Nothing was changed. Approvals are used once, and CFES_STATE_DIR names the directory that records them: set it to "
    "a directory that only this user can read and write, the same for every process that runs the actions."
)
AGAIN = "Nothing was changed. Let the plan be approved again: `cfes approve PLAN --key FILE`."


@dataclass(frozen=True)
class Entry:
    """What is recorded about one approval; or, where `approval` is empty, about all approvals of a deleted job's plan.

    approval: ReadToken.id. plan: the plan's hash; of a deleted job, the digest in its stamp. intent: the call that the
    approval is reserved for. expires, at: seconds since 1970; when the approval expires, and when this was recorded.
    """

    approval: str
    plan: str
    intent: str
    state: Literal["reserved", "used"]
    expires: int
    at: int


def intent_of(plan_hash: str, key: str = "") -> str:
    """The digest that stands for one call. key: its idempotency key."""
    return hashlib.sha256(f"{plan_hash}\0{key}".encode(errors="surrogatepass")).hexdigest()


def reserve_approvals(api: EmailSecurity, approvals: Sequence[ReadToken], *, plan_hash: str, intent: str) -> None:
    """Reserve the approvals for one call, before it sends anything. The same call may do so again until they are used.

    Raises: ApprovalRefused where one was used or is reserved for another call, or where that can't be recorded.
    """
    if not approvals:
        return
    now = _seconds(api.clock.now())
    with _record(api.connection.state_directory) as record:
        known = record.read(now)
        for approval in approvals:
            _check_unspent(approval, plan_hash, intent, known)
        new = [
            Entry(approval.id, plan_hash, intent, "reserved", approval.expires_at, now)
            for approval in approvals
            if approval.id not in known
        ]
        if not _observes(api):
            record.append(new)


def spend_approvals(api: EmailSecurity, plan_hash: str) -> None:
    """Record that what was approved is done: every approval of the plan that is reserved is used.

    Raises: ApprovalRefused where that can't be recorded.
    """
    now = _seconds(api.clock.now())
    with _record(api.connection.state_directory) as record:
        reserved = [one for one in record.read(now).values() if one.plan == plan_hash and one.state == "reserved"]
        record.append([replace(one, state="used", at=now) for one in reserved])


def spend_approvals_of_job(api: EmailSecurity, plan_digest: str) -> None:
    """Record that the approvals of a job that is about to be deleted are used: all that were signed before now.

    plan_digest: the beginning of the plan's hash, as the job's stamp has it; one that is too short is ignored.
    Raises: ApprovalRefused where that can't be recorded.
    """
    if len(plan_digest) < SHORTEST_PLAN_DIGEST or not _HEX.fullmatch(plan_digest) or _observes(api):
        return
    now = _seconds(api.clock.now())
    with _record(api.connection.state_directory) as record:
        record.read(now)
        record.append([Entry("", plan_digest, "", "used", now + LONGEST_LIFE_SECONDS, now)])


def _observes(api: EmailSecurity) -> bool:
    """Whether the policy lets nothing be changed: then nothing is used either."""
    return api.has_policy and api.policy.observe


def _check_unspent(approval: ReadToken, plan_hash: str, intent: str, known: dict[str, Entry]) -> None:
    """Raises: ApprovalRefused."""
    whose = f"the approval that {approval.approver} signed"
    entry = known.get(approval.id)
    if entry is not None and entry.state == "used":
        raise ApprovalRefused(f"{whose} was used already, and an approval counts once", help=AGAIN)
    if entry is not None and entry.intent != intent:
        raise ApprovalRefused(
            f"{whose} is reserved for another call of this plan, and an approval counts once",
            help="Nothing was changed. Run that call again with its own idempotency_key; or let the plan be approved "
            "again: `cfes approve PLAN --key FILE`.",
        )
    for other in known.values():
        deleted = not other.approval and plan_hash.startswith(other.plan)
        if deleted and approval.issued_at <= other.at + CLOCK_SKEW_SECONDS:
            raise ApprovalRefused(f"{whose} was used already: its job was made, and deleted", help=AGAIN)


class _Record:
    """The record, locked. directory: a descriptor of the state directory, so that it can't be exchanged meanwhile."""

    def __init__(self, directory: int, path: Path) -> None:
        self._directory = directory
        self._path = path
        self._file = self._open(FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._entries: dict[str, Entry] = {}

    def _open(self, name: str, flags: int) -> int:
        descriptor = os.open(name, flags | _FLAGS, 0o600, dir_fd=self._directory)
        try:
            check_private_file(self._path / name, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, now: int) -> dict[str, Entry]:
        """The entries that have not expired, the latest about each approval. Raises: ApprovalRefused, OSError."""
        size = os.fstat(self._file).st_size
        if size > LARGEST_BYTES:
            raise _unusable(f"{FILE} is larger than {LARGEST_BYTES} bytes")
        data = b""
        while len(data) < size and (part := os.pread(self._file, size - len(data), len(data))):
            data += part
        lines = data.split(b"\n")
        if torn := lines.pop():
            # A process ended while it wrote, so before it sent anything: the line says nothing.
            os.ftruncate(self._file, len(data) - len(torn))
        self._entries = {}
        for number, line in enumerate(lines, start=1):
            entry = _entry(line, number)
            self._entries[entry.approval or f"job {entry.plan}"] = entry
        current = {name: one for name, one in self._entries.items() if one.expires + KEPT_SECONDS > now}
        if len(lines) > LINES_BEFORE_CLEANING and 2 * len(current) < len(lines):
            self._replace(current.values())
        self._entries = current
        return current

    def append(self, entries: Sequence[Entry]) -> None:
        """Record the entries; they are on the disk when this returns. Raises: ApprovalRefused, OSError."""
        if not entries:
            return
        if len(self._entries) + len(entries) > MOST_ENTRIES:
            raise _unusable(f"{FILE} holds {MOST_ENTRIES} approvals that have not expired")
        _write(self._file, entries)

    def _replace(self, entries: Iterable[Entry]) -> None:
        with suppress(FileNotFoundError):
            os.unlink(NEW, dir_fd=self._directory)
        new = self._open(NEW, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            _write(new, list(entries))
            os.rename(NEW, FILE, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            os.fsync(self._directory)
        except BaseException:
            os.close(new)
            raise
        os.close(self._file)
        self._file = new

    def close(self) -> None:
        os.close(self._file)


@contextmanager
def _record(setting: str | None) -> Iterator[_Record]:
    """The record, locked. Raises: ApprovalRefused where it can't be used."""
    try:
        path = private_directory(setting)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=directory)
            try:
                check_private_file(path / LOCK, os.fstat(lock))
                fcntl.flock(lock, fcntl.LOCK_EX)
                record = _Record(directory, path)
                try:
                    os.fsync(directory)
                    yield record
                finally:
                    record.close()
            finally:
                os.close(lock)
        finally:
            os.close(directory)
    except OSError as error:
        raise _unusable(error.strerror or "it can't be read or written") from None
    except ConnectionSettingsError as error:
        raise ApprovalRefused(f"used approvals can't be recorded: {error.message}", help=error.help) from None


def _write(descriptor: int, entries: Sequence[Entry]) -> None:
    data = b"".join(json.dumps(asdict(one), separators=(",", ":")).encode() + b"\n" for one in entries)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _entry(line: bytes, number: int) -> Entry:
    """Raises: ApprovalRefused."""
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        raise _unusable(f"line {number} of {FILE} can't be read") from None
    texts: tuple[object, ...] = (entry.approval, entry.plan, entry.intent)
    times: tuple[object, ...] = (entry.expires, entry.at)
    if not (
        all(isinstance(text, str) and _HEX.fullmatch(text) for text in texts)
        and len(entry.plan) >= SHORTEST_PLAN_DIGEST
        and entry.state in ("reserved", "used")
        and all(type(time) is int for time in times)
    ):
        raise _unusable(f"line {number} of {FILE} can't be read")
    return entry


def _unusable(reason: str) -> ApprovalRefused:
    return ApprovalRefused(f"used approvals can't be recorded in CFES_STATE_DIR: {reason}", help=HELP)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
