"""The supply chain: the audit of dependencies, the bill of materials of a release, and hashed requirements."""
