"""What `cfes` shows on a terminal."""
