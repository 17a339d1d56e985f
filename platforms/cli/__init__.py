"""`cfes`: the pack's actions and playbooks as commands, for people on a terminal and for shell scripts.

main            the entry point: every error becomes an exit code, and a block of text or a JSON document
command_list    the list of commands, each loaded when it is called
commands/       one module per command
inputs/         flags, documents and playbook inputs
views/          tables, plans, progress and errors on the terminal
"""
