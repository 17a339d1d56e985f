"""The header Idempotency-Key: a repeated request gets the first answer, and runs nothing.

An answer is kept for seven days. One that says "nothing was changed, try again later" is not kept.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.errors import IdempotencyConflict, OutcomeUnknown
from platforms.http.failures import RequestRefused, refused
from platforms.runs.service_database import ServiceDatabase

KEPT_SECONDS = 7 * 86_400
LONGEST_KEY = 255

_TABLE = """
CREATE TABLE IF NOT EXISTS answered_request (
    caller TEXT, key TEXT, digest TEXT NOT NULL, process TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (caller, key)
);
CREATE INDEX IF NOT EXISTS answered_request_at ON answered_request (at);
"""


@dataclass(frozen=True)
class KeyedRequest:
    """A request with an Idempotency-Key. digest: of its method, path, query and body."""

    caller: str
    key: str
    digest: str

    @property
    def derived_key(self) -> str:
        """Return a key for the work of this request, the same for each repetition."""
        return hashlib.sha256(f"{self.caller}\0{self.key}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class StoredAnswer:
    """The first answer. headers: the JSON text of those that a repetition gets too."""

    status: int
    headers: str
    body: bytes


def check_key(key: str) -> str:
    """Return a valid key. Raises: RequestRefused."""
    if not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise refused(
            422,
            f"Idempotency-Key must have 1 to {LONGEST_KEY} printable ASCII characters",
            "Nothing was run. Correct the header Idempotency-Key.",
        )
    return key


class AnsweredRequests:
    """The requests with a key and their first answers, in the service's file. Thread-safe."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._clock = clock
        # Requests that a killed process left have another one.
        self._process = secrets.token_hex(8)
        self._database = ServiceDatabase(directory, _TABLE)

    def close(self) -> None:
        self._database.close()

    def begin(self, request: KeyedRequest, *, safe_to_repeat: bool) -> StoredAnswer | None:
        """Note that a request runs, or return its first answer.

        safe_to_repeat: whether the work of an interrupted request can run again. Raises: IdempotencyConflict for
        another request with this key; RequestRefused while the first one runs; OutcomeUnknown if it was interrupted.
        """
        now = self._clock.now().timestamp()
        with self._database.transaction() as database:
            database.execute("DELETE FROM answered_request WHERE at < ?", (now - KEPT_SECONDS,))
            row = database.execute(
                "SELECT digest, process, status, headers, body FROM answered_request WHERE caller = ? AND key = ?",
                (request.caller, request.key),
            ).fetchone()
            if row is not None:
                digest, process, status, headers, body = row
                if digest != request.digest:
                    raise IdempotencyConflict(
                        "another request was sent with this Idempotency-Key",
                        help="Nothing was run. Send each new request with a new Idempotency-Key.",
                    )
                if status is not None:
                    return StoredAnswer(status, headers, body)
                if process == self._process:
                    raise _still_running()
                if not safe_to_repeat:
                    raise OutcomeUnknown(
                        "the first request with this Idempotency-Key was interrupted: the service was stopped",
                        help="A change may have been made. Check, then send the request with a new Idempotency-Key.",
                    )
            database.execute(
                "INSERT INTO answered_request (caller, key, digest, process, at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET process = excluded.process, at = excluded.at",
                (request.caller, request.key, request.digest, self._process, now),
            )
        return None

    def answer(self, request: KeyedRequest, answer: StoredAnswer) -> None:
        """Keep the answer of a request that has ended."""
        with self._database.transaction() as database:
            database.execute(
                "UPDATE answered_request SET status = ?, headers = ?, body = ? WHERE caller = ? AND key = ?",
                (answer.status, answer.headers, answer.body, request.caller, request.key),
            )

    def forget(self, request: KeyedRequest) -> None:
        """Forget a request that changed nothing and may be sent again."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM answered_request WHERE caller = ? AND key = ?", (request.caller, request.key))


def _still_running() -> RequestRefused:
    error = IdempotencyConflict(
        "the first request with this Idempotency-Key is still running",
        help="Nothing was run. Send the request again in some seconds to get its answer.",
        retryable=True,
        retry_after_seconds=2,
    )
    return RequestRefused(409, error, {"Retry-After": "2"})
