"""The engine: state and next commands, without I/O."""
