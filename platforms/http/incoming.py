"""A request on its way through the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from core.errors import PackError
from platforms.callers.records import Caller
from platforms.http.idempotency import KeyedRequest
from platforms.openapi.operation import Operation

if TYPE_CHECKING:
    from platforms.http.service import Service


@dataclass
class Incoming:
    """A request, what was read of it, and what became of it.

    given: its parameters outside the body. run_id: the run that it is about. failure: why it failed.
    """

    service: Service
    operation: Operation
    request: Request
    caller: Caller | None = None
    given: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    keyed: KeyedRequest | None = None
    run_id: str | None = None
    failure: PackError | None = None

    @property
    def requester(self) -> str | None:
        """Return the name for `requested_by`; None for a caller without a token: that of the settings."""
        if self.caller is None or self.caller is self.service.anonymous:
            return None
        return self.caller.name


Handler = Callable[[Incoming], Awaitable[Response]]
