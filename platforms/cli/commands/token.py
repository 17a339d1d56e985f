"""`cfes token`: create, list, rotate and revoke the tokens of the HTTP service's callers."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from actions.contract.streams import record
from connectors.connection import environment_variables
from core.clock import SystemClock
from core.quantity import counted
from core.settings import read_setting
from platforms.callers.callers import Callers
from platforms.callers.records import SCOPES
from platforms.callers.tokens import Token
from platforms.cli.commands import options
from platforms.cli.inputs.durations import read_duration
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen
from platforms.cli.views.token_list import show_new, show_tokens

VARIABLE = environment_variables()["state_directory"]

NEVER = "never"
UNCHANGED = "Nothing was created."

app = typer.Typer(
    name="token",
    help="Create, list, rotate and revoke the tokens of the HTTP service's callers.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The caller's name.")]
ExpiresIn = Annotated[
    str,
    typer.Option(
        "--expires-in", metavar="TIME", help=f"How long the token is valid: a number with m, h, d or w, or {NEVER}."
    ),
]


@app.callback()
def _root() -> None:
    """Create, list, rotate and revoke the tokens of the HTTP service's callers."""


@app.command(cls=options.PlainCommand)
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The caller's name: 1 to 64 letters, digits and . _ % + @ -")
    ],
    scopes: Annotated[
        str,
        typer.Option(metavar="SCOPES", help=f"What the caller may do, separated by commas: {', '.join(SCOPES)}."),
    ],
    expires_in: ExpiresIn = "90d",
    rate_share: Annotated[
        float, typer.Option(metavar="SHARE", help="The part of the rate limit that the caller may use: above 0 to 1.")
    ] = 1.0,
    output: options.Output = None,
) -> None:
    """Create a caller, and print its token.

    The token is shown only once. Jobs of this caller name it as their requester.
    """
    screen = Screen(output)
    with report_errors(screen):
        callers = _callers()
        named: Any = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        token = callers.create(name, named, expires_at=_expiry(expires_in), rate_share=rate_share)
        _show_new(screen, callers, token)


@app.command("list", cls=options.PlainCommand)
def list_tokens(
    every: Annotated[bool, typer.Option("--all", help="Also list revoked tokens.")] = False,
    output: options.Output = None,
) -> None:
    """List the tokens, without their secrets."""
    screen = Screen(output)
    with report_errors(screen):
        found = [token for token in _callers().records() if every or token.revoked_at is None]
        show_tokens(screen, found, SystemClock().now())


@app.command(cls=options.PlainCommand)
def rotate(
    name: Name,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old token stays valid. 0m ends it now.")
    ] = "60m",
    expires_in: ExpiresIn = "90d",
    output: options.Output = None,
) -> None:
    """Replace a caller's token by a new one with the same scopes.

    The old token stays valid for a while, so that you can change the caller's settings without an interruption.
    """
    screen = Screen(output)
    with report_errors(screen):
        callers = _callers()
        stays = read_duration(overlap, "--overlap", UNCHANGED)
        token = callers.rotate(name, expires_at=_expiry(expires_in), overlap=stays)
        _show_new(screen, callers, token)
        screen.say(f"The old token {f'is valid for {_words(stays)} more at most' if stays else 'is revoked'}.")


@app.command(cls=options.PlainCommand)
def revoke(name: Name, output: options.Output = None) -> None:
    """Revoke every token of a caller. A running service refuses them within a second."""
    screen = Screen(output)
    with report_errors(screen):
        revoked = _callers().revoke(name)
        record(changed=revoked > 0, place="cfes token list --all")
        if screen.json:
            screen.write_json({"name": name, "revoked": revoked})
        if revoked:
            screen.say(f"{counted(revoked, 'token')} of {name} revoked.")
        else:
            screen.say(f"Every token of {name} is already revoked. Nothing was changed.")


def _callers() -> Callers:
    return Callers(read_setting(os.environ, VARIABLE, guard=True), SystemClock())


def _expiry(expires_in: str) -> datetime | None:
    """Return when a new token expires; None for never. Raises: ParameterError."""
    if expires_in == NEVER:
        return None
    return SystemClock().now() + read_duration(expires_in, "--expires-in", UNCHANGED, also=NEVER)


def _show_new(screen: Screen, callers: Callers, text: str) -> None:
    record(changed=True, place="cfes token list")
    token = Token.of(text)
    [made] = [each for each in callers.records() if token is not None and each.token_id == token.token_id]
    show_new(screen, text, made, SystemClock().now())


def _words(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    return counted(minutes // 60, "hour") if minutes % 60 == 0 else counted(minutes, "minute")
