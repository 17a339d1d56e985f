"""The callers of the HTTP service: their tokens and scopes, their shares of the rate limit, and the audit log."""
