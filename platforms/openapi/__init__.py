"""The HTTP interface: its operations, and the OpenAPI documents that describe them. Serves nothing itself."""
