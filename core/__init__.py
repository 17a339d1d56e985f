"""What every other package stands on: errors, clock, instants, JSON and YAML reading, text, files and keys of this
machine.
"""
