"""The rate limit: the count of API calls, and the time of the next call."""
