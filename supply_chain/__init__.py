"""What the pack is made of: the audit of its dependencies, the bill of materials of a release, and file hashes."""
