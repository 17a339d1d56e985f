"""The client of the Cloudflare API: transport, retries, rate limit, paging and API objects."""
