"""The rate limit: how many calls of the API were made, and when the next one may be."""
