"""The remote API on one's own machine: Cloudflare Email Security's bulk action jobs, faithful to their quirks.

It shares no code with `connectors`: two readings of one contract keep each other honest.
Start it with `python -m sandbox`, or in a test with `sandbox.server.start(Settings())`.
"""
