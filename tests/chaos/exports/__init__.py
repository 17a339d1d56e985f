"""Random bad days of exports: never silently incomplete, whatever happens to the service, the process or the disk."""
