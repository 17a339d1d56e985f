"""Where an export goes: a path on this machine or an object store."""
