"""What the pack does, as plain Python functions over values."""
