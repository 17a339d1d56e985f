"""Chains of actions as YAML with Jinja2 expressions, the engine that decides what comes next, and the local driver.

format       what a playbook may say
loading      from YAML to a playbook, every problem with its place and line
expressions  what `{{ … }}` may do: read data, never become it
check        every problem of a playbook before it runs
engine       (playbook, state) to the next command; (state, event) to the next state. No clock, no input or output
local        runs a playbook in this process, with a journal that survives a kill
library      the playbooks that come with the pack
"""
