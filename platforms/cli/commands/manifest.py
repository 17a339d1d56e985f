"""`cfes manifest`: print, write or check the manifest that other platforms load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actions.contract.streams import record
from core.errors import OutputError, ParameterError
from platforms.cli.commands import options
from platforms.cli.errors import ManifestStale
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen
from platforms.published import manifest as pack_manifest

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("manifest", cls=options.PlainCommand)
def manifest(
    check: Annotated[bool, typer.Option("--check", help="Exit 2 if the file is out of date. Write nothing.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write the file.")] = False,
    file: Annotated[
        Path, typer.Option("--file", metavar="FILE", help="The file to write or check.", show_default="manifest.json")
    ] = (pack_manifest.MANIFEST),
    output: options.Output = None,
) -> None:
    """Print the manifest of all actions and playbooks, write it to a file, or check the file."""
    screen = Screen(output)
    with report_errors(screen):
        if check and write:
            raise ParameterError("--check and --write can't be combined", help="Nothing was written.")
        if check:
            _check(screen, file)
        elif write:
            _write(screen, file)
        else:
            screen.write_json(pack_manifest.document())


def _check(screen: Screen, file: Path) -> None:
    try:
        stale = pack_manifest.stale(file)
    except (OSError, ValueError):
        stale = True
    if stale:
        raise ManifestStale(f"{str(file)!r} does not match the actions and playbooks")
    _done(screen, file, "up to date")


def _write(screen: Screen, file: Path) -> None:
    try:
        file.write_text(pack_manifest.render(), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{str(file)!r} can't be written: {error.strerror}", path=str(file)) from None
    record(changed=True, place=str(file))
    _done(screen, file, "written")


def _done(screen: Screen, file: Path, what: str) -> None:
    if screen.json:
        screen.write_json({"file": str(file), "status": what})
    else:
        screen.say(f"{file}: {what}")
