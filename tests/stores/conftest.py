"""The stores, for the tests beside this file."""

from __future__ import annotations

from tests.stores.servers import server, store

__all__ = ["server", "store"]
