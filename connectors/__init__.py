"""The one way to the remote API: transport, retries, pacing, paging, API objects."""
