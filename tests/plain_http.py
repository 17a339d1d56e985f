"""A TLS context for clients of servers on loopback, which speak plain HTTP: loading certificates takes 20 ms."""

from __future__ import annotations

import ssl

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
