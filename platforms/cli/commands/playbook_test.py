"""`cfes playbook test`: run the test cases of playbooks against a sandbox of this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.json_values import did_you_mean, shown
from platforms.cli.commands import options
from platforms.cli.commands.sandbox import require_extra
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen
from playbooks import library
from playbooks.language.errors import PlaybookNotFound

FOLDER = library.FOLDER / "tests"
ENDING = ".test.yaml"


def shipped() -> list[str]:
    """Return the IDs of the shipped playbooks that have test cases."""
    return sorted(path.name.removesuffix(ENDING) for path in FOLDER.glob(f"*{ENDING}"))


def test(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE_OR_ID",
            autocompletion=shipped,
            help="A test file, a playbook's file with a test file beside it, or a shipped playbook's ID. "
            "[default: the tests of all shipped playbooks]",
        ),
    ] = None,
    case: Annotated[str, typer.Option(metavar="TEXT", help="Run only the cases whose name contains this text.")] = "",
    output: options.Output = None,
) -> None:
    """Test playbooks against a sandbox. Needs no account and no network.

    A test file has cases: inputs, faults, signals, and how the run has to end. Time is simulated, so a wait of a day
    takes milliseconds. Exit 8 if a case fails.
    """
    screen = Screen(output)
    with report_errors(screen):
        require_extra()
        # The models of the test file are built on import, which the other commands need not wait for.
        from platforms.cli.views.case_results import show_cases  # noqa: PLC0415
        from platforms.playbook_cases.case_run import run_cases  # noqa: PLC0415
        from platforms.playbook_cases.loading import load  # noqa: PLC0415

        files = [load(test_file(name)) for name in names or shipped()]
        show_cases(screen, ((loaded, run_cases(loaded, case)) for loaded in files))


test.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions of this name


def test_file(name: str) -> Path:
    """Return the path of a test file, from its path, its playbook's path or its playbook's ID.

    Raises: PlaybookNotFound.
    """
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        if name not in shipped():
            raise PlaybookNotFound(
                f"no shipped playbook {shown(name)} has test cases{did_you_mean(name, shipped(), or_list=True)}",
                help="Nothing was run. Give the path of a test file, or the ID of a shipped playbook.",
            )
        return FOLDER / f"{name}{ENDING}"
    path = Path(name)
    beside = path.with_name(path.stem + ENDING)
    return beside if not name.endswith(ENDING) and beside.is_file() else path


test_file.__test__ = False  # type: ignore[attr-defined]  # as above
