"""What a caller may do, and what the store keeps about a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Scope = Literal["read", "write", "approve", "alerts"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Status = Literal["active", "expired", "revoked"]


@dataclass(frozen=True)
class Caller:
    """Who sent a request. rate_share: the part of the service's requests that this caller may use, above 0 to 1."""

    name: str
    scopes: frozenset[Scope]
    rate_share: float = 1.0


@dataclass(frozen=True)
class CallerRecord:
    """A token of a caller, without its secret. token_id: the public part of the token."""

    token_id: str
    name: str
    scopes: frozenset[Scope]
    rate_share: float
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def caller(self) -> Caller:
        return Caller(self.name, self.scopes, self.rate_share)

    def status(self, now: datetime) -> Status:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"
