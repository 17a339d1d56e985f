"""A fake of the Cloudflare Email Security API for this machine: bulk action jobs with all their quirks.

It shares no code with `connectors`: two independent implementations of the API's schema check each other.
Start it with `python -m sandbox`, or in a test with `sandbox.server.start(Settings())`.
"""
