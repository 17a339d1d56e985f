"""HTTP below the transport: the client, connections, proxies, certificates and the limits of an exchange."""
