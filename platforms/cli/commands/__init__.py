"""The commands of `cfes`, one module each."""
