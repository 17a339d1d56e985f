"""Create, rotate and revoke the tokens of callers, and find out who sent a request."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from connectors.connection import PERSON
from core.clock import Clock, SystemClock
from core.errors import AuthenticationFailed, ConnectionSettingsError, PackError, ParameterError
from core.json_values import did_you_mean
from platforms.callers.records import SCOPES, Caller, CallerRecord, Scope
from platforms.callers.store import CallerStore, StoredToken, change_tokens, note_last_use, read_tokens
from platforms.callers.tokens import Token, new_token

# A revocation in another process takes effect after this time at the latest.
RELOAD_SECONDS = 0.5

# The last use of a token is written at most this often.
LAST_USE_SECONDS = 60.0

_NOBODY = bytes(32)
_HEADER = "Send the header `Authorization: Bearer TOKEN`."


@dataclass(frozen=True)
class _Loaded:
    """The tokens that are not revoked, by ID, as they were at this moment of the monotonic clock."""

    at: float
    tokens: Mapping[str, StoredToken]
    error: PackError | None = None


class Callers:
    """The callers in the state directory. Thread-safe; other processes may change the same file.

    state_directory: the value of CFES_STATE_DIR. random: returns so many random bytes.
    Every method raises ConnectionSettingsError if the file can't be used.
    """

    def __init__(
        self,
        state_directory: str | None,
        clock: Clock | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._directory = state_directory
        self._clock = clock or SystemClock()
        self._random = random
        self._started = self._clock.now(), self._clock.monotonic()
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None
        self._writing = threading.Lock()
        # One entry for each token that was used.
        self._use_written: dict[str, float] = {}

    def create(
        self, name: str, scopes: Iterable[Scope], *, expires_at: datetime | None, rate_share: float = 1.0
    ) -> str:
        """Create a caller and return its token, which nothing can show again.

        Raises: ParameterError, also if the caller has a token that is not revoked.
        """
        now = self._clock.now()
        _check_caller(name, frozenset(scopes), rate_share)
        _check_expiry(expires_at, now)
        text, made = self._new(CallerRecord("", name, frozenset(scopes), rate_share, now, expires_at, None, None))
        with self._change_tokens() as store:
            if _tokens_of(store, name):
                raise ParameterError(
                    f"the caller {name!r} already has a token",
                    help=f"Nothing was created. To replace the token: cfes token rotate {name}. To end it: cfes token "
                    f"revoke {name}",
                )
            store.insert(made)
        return text

    def rotate(self, name: str, *, expires_at: datetime | None, overlap: timedelta) -> str:
        """Create another token with the same scopes and return it. Earlier ones stay valid for `overlap` at most.

        Raises: ParameterError if the caller is unknown or revoked.
        """
        now = self._clock.now()
        _check_expiry(expires_at, now)
        if overlap < timedelta(0):
            raise ParameterError("the overlap must not be negative", help="Nothing was created.")
        with self._change_tokens() as store:
            earlier = _tokens_of(store, name)
            if not earlier:
                raise _no_caller(store, name, "Nothing was created.")
            record = earlier[-1].record
            text, made = self._new(replace(record, created_at=now, expires_at=expires_at, last_used_at=None))
            store.insert(made)
            for token in earlier:
                _end_token(store, token.record, now, now + overlap)
        return text

    def revoke(self, name: str) -> int:
        """Revoke every token of a caller, and return how many there were: 0 if they are already revoked.

        Raises: ParameterError if the caller is unknown.
        """
        now = self._clock.now()
        with self._change_tokens() as store:
            found = _tokens_of(store, name)
            if not found and all(token.record.name != name for token in store.tokens()):
                raise _no_caller(store, name, "Nothing was revoked.")
            for token in found:
                store.revoke(token.record.token_id, now)
        return len(found)

    def records(self) -> list[CallerRecord]:
        """Return every token's record, the oldest first, with those that have expired or are revoked."""
        return [token.record for token in read_tokens(self._directory, revoked=True)]

    def any(self) -> bool:
        """Return whether a token exists that is valid now."""
        now = self._now()
        return any(token.record.status(now) == "active" for token in self._tokens().values())

    def authenticate(self, token: str | None) -> Caller:
        """Return who sent a request. token: the text after `Bearer `, whatever a client sent.

        A token that is not valid costs a hash and no access to the disk. Twice a second a call reads the file, and may
        then wait for another process, a second at most: an event loop calls this in a thread.
        Raises: AuthenticationFailed, with the same message for every token that is not valid.
        """
        if token is None:
            raise AuthenticationFailed("the request has no token", help=f"Nothing was run. {_HEADER}")
        given = Token.of(token)
        if given is None:
            raise _refused()
        found = self._tokens().get(given.token_id)
        # Compared for an unknown ID too, so that the time does not show which IDs exist.
        same = hmac.compare_digest(given.digest, _NOBODY if found is None else found.digest)
        if found is None or not same or found.record.status(self._now()) != "active":
            raise _refused()
        self._note_use(given.token_id)
        return found.record.caller

    def authenticate_at_once(self, token: str | None) -> Caller | None:
        """Return who sent a request if that is known without waiting for the disk; None: call `authenticate`."""
        given, loaded = Token.of(token), self._loaded
        if given is None or loaded is None or loaded.error is not None or self._is_old(loaded):
            return None
        found, used = loaded.tokens.get(given.token_id), self._use_written.get(given.token_id)
        is_noted = used is not None and self._clock.monotonic() - used < LAST_USE_SECONDS
        if found is None or not is_noted or not hmac.compare_digest(given.digest, found.digest):
            return None
        return found.record.caller if found.record.status(self._now()) == "active" else None

    def _new(self, record: CallerRecord) -> tuple[str, StoredToken]:
        """Return the text of a new token, and what is stored of it."""
        text = new_token(self._random)
        token = Token.of(text)
        assert token is not None  # noqa: S101 -- both have the same form
        return text, StoredToken(replace(record, token_id=token.token_id), token.digest)

    def _now(self) -> datetime:
        """Return the time, which never goes back: a clock that is set back does not revive an expired token."""
        started, monotonic = self._started
        return max(self._clock.now(), started + timedelta(seconds=self._clock.monotonic() - monotonic))

    def _tokens(self) -> Mapping[str, StoredToken]:
        """Return the tokens by ID, at most RELOAD_SECONDS old. Raises: ConnectionSettingsError."""
        loaded = self._loaded
        if loaded is None or self._is_old(loaded):
            with self._loading:
                loaded = self._loaded
                if loaded is None or self._is_old(loaded):
                    loaded = self._loaded = self._load()
        if loaded.error is not None:
            raise ConnectionSettingsError(loaded.error.message, help=loaded.error.help)
        return loaded.tokens

    def _is_old(self, loaded: _Loaded) -> bool:
        return self._clock.monotonic() - loaded.at >= RELOAD_SECONDS

    def _load(self) -> _Loaded:
        """Read the file. An error is kept for the same time, so that a flood of requests does not repeat it."""
        at = self._clock.monotonic()
        try:
            found = read_tokens(self._directory, revoked=False)
        except ConnectionSettingsError as error:
            return _Loaded(self._clock.monotonic(), {}, error)
        return _Loaded(at, {token.record.token_id: token for token in found})

    @contextmanager
    def _change_tokens(self) -> Iterator[CallerStore]:
        """Yield the store in a transaction. Requests to this process see the change at once."""
        with change_tokens(self._directory) as store:
            yield store
        # A load under way may have read the file before the change.
        with self._loading:
            self._loaded = None

    def _note_use(self, token_id: str) -> None:
        """Write the time of a token's last use, unless it was written a moment ago. A failure stops no request."""
        written = self._use_written.get(token_id)
        at = self._clock.monotonic()
        if (written is not None and at - written < LAST_USE_SECONDS) or not self._writing.acquire(blocking=False):
            return
        try:
            self._use_written[token_id] = at
            note_last_use(self._directory, token_id, self._clock.now())
        except ConnectionSettingsError:
            return
        finally:
            self._writing.release()


def _tokens_of(store: CallerStore, name: str) -> list[StoredToken]:
    """Return the caller's tokens that are not revoked, the oldest first."""
    return [token for token in store.tokens(revoked=False) if token.record.name == name]


def _end_token(store: CallerStore, record: CallerRecord, now: datetime, at: datetime) -> None:
    """Let a token expire at this moment at the latest. If it has ended already, revoke it."""
    ends = at if record.expires_at is None else min(record.expires_at, at)
    if ends <= now:
        store.revoke(record.token_id, now)
    else:
        store.set_expiry(record.token_id, ends)


def _check_caller(name: str, scopes: frozenset[str], rate_share: float) -> None:
    if not re.fullmatch(PERSON, name):
        raise ParameterError(
            "the name of a caller must be 1 to 64 letters, digits and . _ % + @ -", help="Nothing was created."
        )
    unknown = sorted(scopes - frozenset(SCOPES))
    if unknown or not scopes:
        found = f", not {unknown[0][:80]!r}" if unknown else ""
        raise ParameterError(
            f"the scopes must be one or more of {', '.join(SCOPES)}{found}", help="Nothing was created."
        )
    if not 0 < rate_share <= 1:
        raise ParameterError("the rate share must be above 0 and at most 1", help="Nothing was created.")


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise ParameterError("the token would expire at once", help="Nothing was created. Choose a later time.")


def _no_caller(store: CallerStore, name: str, unchanged: str) -> ParameterError:
    names = {token.record.name for token in store.tokens()}
    if name in names:
        return ParameterError(
            f"every token of the caller {name!r} is revoked",
            help=f"{unchanged} To create a new one: cfes token create {name} --scopes SCOPES",
        )
    return ParameterError(
        f"unknown caller {name[:80]!r}{did_you_mean(name, names)}", help=f"{unchanged} To see all: cfes token list"
    )


def _refused() -> AuthenticationFailed:
    """Return the same error for every token that is not valid: a caller learns nothing about the tokens of others."""
    return AuthenticationFailed(
        "the bearer token is not valid",
        help=f"Nothing was run. {_HEADER} If the token has expired or is revoked, ask the operator of the service for "
        "a new one: `cfes token rotate NAME`, or `cfes token create NAME` after it was revoked.",
    )
