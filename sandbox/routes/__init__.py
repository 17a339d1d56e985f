"""The operations of the remote API, and the sandbox's own controls."""
