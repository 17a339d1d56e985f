"""The version of the pack, for the distribution, the User-Agent and the manifest."""

VERSION = "0.1.0"
