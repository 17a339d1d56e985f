"""The HTTP layer of the transport: client, connections, proxies, certificates and time limits."""
