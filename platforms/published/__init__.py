"""Files that are generated from the actions: the manifest and the reference pages."""
