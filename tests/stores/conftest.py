"""The fixtures of the stores for the tests in this folder."""

from __future__ import annotations

from tests.stores.servers import server, store

__all__ = ["server", "store"]
