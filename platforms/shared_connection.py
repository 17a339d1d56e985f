"""One connection for many threads and callers: the connector is thread-safe, and a new one for each call is slow."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

from connectors.email_security import EmailSecurity

# Connections with replaced credentials that calls may still use.
MOST_REPLACED = 4


class SharedConnection:
    """Opens the connection when it is first needed, and again after `renew`. Thread-safe."""

    def __init__(self, open_connection: Callable[[], EmailSecurity] = EmailSecurity.from_environment) -> None:
        self._open = open_connection
        self._lock = threading.Lock()
        self._api: EmailSecurity | None = None
        # Other threads may still use them.
        self._replaced: list[EmailSecurity] = []

    def close(self) -> None:
        with self._lock:
            for api in (*self._replaced, *([] if self._api is None else [self._api])):
                api.close()

    def for_requester(self, name: str | None) -> EmailSecurity:
        """Return the connection for one requester; None: that of the settings. Raises: PackError."""
        with self._lock:
            if self._api is None:
                self._api = self._open()
            api = self._api
        # A copy reads the policy anew, as a process does.
        return copy.copy(api) if name is None else api.with_requester(name)

    def renew(self) -> None:
        """Open a new connection for the next call: the credentials may have been replaced."""
        with self._lock:
            if self._api is not None:
                self._replaced.append(self._api)
                self._api = None
                while len(self._replaced) > MOST_REPLACED:
                    self._replaced.pop(0).close()
