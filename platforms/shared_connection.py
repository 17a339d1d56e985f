"""One connection for many threads and callers: the connector is thread-safe, and a new one for each call is slow."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from core.errors import PackError

# Connections with replaced credentials that calls may still use.
MOST_REPLACED = 4


class SharedConnection:
    """Opens the connection when it is first needed, and again after its settings have changed. Thread-safe.

    environment: with the settings. A file that it names, such as that of the token, may change.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._api: EmailSecurity | None = None
        # Other threads may still use them.
        self._replaced: list[EmailSecurity] = []

    def close(self) -> None:
        """Close every connection. May be called more than once. The next call opens a new one."""
        with self._lock:
            for api in (*self._replaced, *([] if self._api is None else [self._api])):
                api.close()
            self._api, self._replaced = None, []

    def for_requester(self, name: str | None) -> EmailSecurity:
        """Return the connection for one requester; None: that of the settings.

        Raises: ConnectionSettingsError, AuthenticationFailed.
        """
        with self._lock:
            if self._api is None:
                self._api = EmailSecurity(Connection.from_environment(self._environment))
            api = self._api
        # A copy reads the policy anew, as a process does.
        return copy.copy(api) if name is None else api.with_requester(name)

    def renew(self) -> None:
        """After a refused token: open a new connection for the next call if the settings have changed.

        Otherwise the connection is kept: a caller without a permission must not close those that others use.
        """
        try:
            settings = Connection.from_environment(self._environment)
        except PackError:
            # As while a file is being replaced. The next refused call reads it again.
            return
        with self._lock:
            if self._api is not None and self._api.connection != settings:
                self._replaced.append(self._api)
                self._api = None
                while len(self._replaced) > MOST_REPLACED:
                    self._replaced.pop(0).close()
