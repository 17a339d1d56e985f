"""Show the results of test cases, each as soon as it has ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from core.errors import ParameterError
from core.quantity import counted
from platforms.cli.views.layout import paragraph, whole
from platforms.cli.views.palette import BAD, GOOD, STRONG
from platforms.cli.views.screen import Screen
from platforms.playbook_cases.case_run import CaseResult
from platforms.playbook_cases.loading import Loaded

FAILED = 8


def show_cases(screen: Screen, files: Iterable[tuple[Loaded, Iterable[CaseResult]]]) -> None:
    """Show the result of each case as soon as it has ended.

    Raises: typer.Exit(8) if a case failed; ParameterError if there is none.
    """
    documents: list[dict[str, Any]] = []
    passed = failed = 0
    for loaded, results in files:
        if not screen.json:
            paragraph(screen.out, f"{loaded.playbook.id} ({loaded.path})", STRONG)
        cases: list[CaseResult] = []
        for result in results:
            cases.append(result)
            if not screen.json:
                _show(screen, result)
        passed += sum(result.passed for result in cases)
        failed += sum(not result.passed for result in cases)
        documents.append(
            {
                "file": str(loaded.path),
                "playbook": loaded.playbook.id,
                "cases": [result.document() for result in cases],
            }
        )
    if passed + failed == 0:
        raise ParameterError(
            "no case has the text of --case in its name", help="Nothing was run. Change --case, or leave it out."
        )
    if screen.json:
        screen.write_json({"passed": passed, "failed": failed, "files": documents})
    else:
        summary = f"{counted(passed + failed, 'case')}: {passed} passed, {failed} failed"
        paragraph(screen.out, summary, BAD if failed else GOOD)
    if failed:
        raise typer.Exit(FAILED)


def _show(screen: Screen, result: CaseResult) -> None:
    paragraph(screen.out, f"{'✓' if result.passed else '✗'} {result.name}", GOOD if result.passed else BAD, indent=2)
    for difference in result.differences:
        line = f"line {difference['line']}: " if difference["line"] else ""
        whole(screen.out, f"    {line}{difference['message']}")
    error = result.ended.error
    if result.differences and error is not None:
        whole(screen.out, f"    the run ended with {error.get('type')}: {error.get('message')}")
    elif result.differences and result.ended.message is not None:
        whole(screen.out, f"    the run ended with: {result.ended.message}")
