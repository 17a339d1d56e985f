"""The foundation of every other package: errors, clock, instants, JSON and YAML readers, text, local files and keys."""
