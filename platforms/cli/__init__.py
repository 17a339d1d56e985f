"""`cfes`: the pack's actions and playbooks as commands, for people on a terminal and for shell scripts.

main       the entry point; what goes wrong becomes an exit code and one readable block or one JSON document
commands   which commands there are, each loaded when it is called
flags      an action's parameters as flags
screen     what the output streams are, and what therefore is written to them
"""
