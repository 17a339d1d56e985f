"""The pack's version, in the one place that the distribution, the User-Agent and the manifest read it from."""

VERSION = "0.1.0"
