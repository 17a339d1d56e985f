"""The list of commands. Each command is loaded when it is called, so that help and completion are fast."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from actions.contract.catalog import titles
from core.json_values import did_you_mean
from core.version import VERSION

JOBS, MESSAGES, PLAYBOOKS, TOOLS = "Jobs", "Messages", "Playbooks", "Tools"
GROUPS = (JOBS, MESSAGES, PLAYBOOKS, TOOLS)


class Entry(NamedTuple):
    """module: where the command's `app` is; empty for an action's."""

    group: str
    title: str
    module: str = ""


OWN = {
    "playbook": Entry(
        PLAYBOOKS, "Run playbooks, and list, resume, answer and cancel their runs", "platforms.cli.commands.playbook"
    ),
    "demo": Entry(
        PLAYBOOKS, "Run the purge playbook on an example alert in the sandbox", "platforms.cli.commands.demo"
    ),
    "worker": Entry(PLAYBOOKS, "Run playbooks for a Temporal server", "platforms.cli.commands.worker"),
    "serve": Entry(PLAYBOOKS, "Serve actions and playbooks over HTTP", "platforms.cli.commands.serve"),
    "mcp": Entry(PLAYBOOKS, "Serve actions and playbooks to AI agents (MCP)", "platforms.cli.commands.mcp"),
    "run": Entry(TOOLS, "Run an action with its parameters as JSON", "platforms.cli.commands.run"),
    "approve": Entry(TOOLS, "Approve a plan with your key", "platforms.cli.commands.approve"),
    "verify": Entry(TOOLS, "Verify an evidence bundle, offline", "platforms.cli.commands.verify"),
    "policy": Entry(TOOLS, "Create and check your organization's policy", "platforms.cli.commands.policy"),
    "token": Entry(TOOLS, "Create and revoke tokens for callers of the HTTP service", "platforms.cli.commands.token"),
    "sandbox": Entry(TOOLS, "Start a fake Email Security API on this machine", "platforms.cli.commands.sandbox"),
    "manifest": Entry(TOOLS, "Print, write or check manifest.json", "platforms.cli.commands.manifest"),
}


def entries() -> dict[str, Entry]:
    """Return all commands by name, ordered by group."""
    actions = {name: Entry(_group(name), title) for name, title in titles().items()}
    every = {**actions, **OWN}
    return {name: entry for group in GROUPS for name, entry in every.items() if entry.group == group}


def _group(action_id: str) -> str:
    if "messages" in action_id:
        return MESSAGES
    return JOBS if action_id.endswith(("-job", "-jobs")) else TOOLS


class Commands(TyperGroup):
    """All commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 -- Typer's own signature
        return list(entries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = entries().get(cmd_name)
        if entry is None:
            if not ctx.resilient_parsing and not cmd_name.startswith("-"):
                ctx.fail(f"unknown command {cmd_name[:100]!r}{did_you_mean(cmd_name, entries())}")
            return None
        return _loaded(cmd_name, entry.module)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 -- Typer's own signature
        for group in GROUPS:
            with formatter.section(group):
                listed = [(name, entry.title) for name, entry in entries().items() if entry.group == group]
                formatter.write_dl(listed)


@cache
def _loaded(name: str, module: str) -> Any:
    """Return a command. module: see `Entry`."""
    if module:
        app = importlib.import_module(module).app
    else:
        app = importlib.import_module("platforms.cli.commands.action").app(name)
    command = get_command(app)
    command.name = name
    return command


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"cfes {VERSION}")
        raise typer.Exit


@app.callback(
    epilog="Set CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID in the environment, or the names of files with them in "
    "CLOUDFLARE_API_TOKEN_FILE and CLOUDFLARE_ACCOUNT_ID_FILE. Exit codes: 2 invalid parameters, 3 refused by a "
    "guardrail, 4 authentication or permission, 5 refused by the API, 6 temporary failure (safe to run again), 7 "
    "outcome unknown (check before you run it again), 8 not every message succeeded."
)
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_show_version,
        is_eager=True,
        help="Show the version.",
    ),
) -> None:
    """Run bulk jobs in Cloudflare Email Security: find a campaign's messages, move or release them, export evidence."""
