"""Show playbooks and their problems, to people and to programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import typer

from core.errors import Problem
from platforms.cli.views.errors import show
from platforms.cli.views.layout import facts, paragraph, whole
from platforms.cli.views.palette import BAD, GOOD, QUIET, STRONG, WARNING
from platforms.cli.views.playbook_tree import draw_tree
from platforms.cli.views.screen import Screen, write
from platforms.cli.views.tables import Column, grid
from playbooks.language import mermaid as chart
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.finding import Finding
from playbooks.language.format import InputSpec, Playbook


def show_list(screen: Screen, playbooks: Sequence[Playbook]) -> None:
    """Show the ID and the title of each playbook."""
    if screen.json:
        screen.write_json(
            {"playbooks": [{"id": p.id, "title": p.title, "description": p.description} for p in playbooks]}
        )
        return
    if playbooks:
        grid(screen.out, (Column("playbook", 22), Column("title", 30, fold=True)), [(p.id, p.title) for p in playbooks])
    else:
        screen.say("There are no playbooks.", QUIET)


def show_playbook(screen: Screen, playbook: Playbook, *, mermaid: bool = False) -> None:
    """Show a playbook: inputs, steps as a tree, outputs.

    For programs: one document with `playbook`, `inputs` and the flowchart, `mermaid`. mermaid: write only the
    flowchart, on a terminal too.
    """
    if mermaid:
        write(sys.stdout, chart.mermaid(playbook))
        return
    if screen.json:
        document = playbook.document()
        screen.write_json(
            {"playbook": document, "inputs": document.get("inputs", {}), "mermaid": chart.mermaid(playbook)}
        )
        return
    paragraph(screen.out, f"{playbook.id}: {playbook.title}", STRONG)
    if playbook.description:
        paragraph(screen.out, " ".join(playbook.description.split()))
    _section(screen, "Inputs", [(name, _input(spec)) for name, spec in playbook.inputs.items()])
    if playbook.key is not None:
        _section(screen, "Key", [("", playbook.key)])
    screen.out.print()
    paragraph(screen.out, "Steps", STRONG)
    draw_tree(screen, playbook)
    outputs = playbook.outputs if isinstance(playbook.outputs, Mapping) else {"*": playbook.outputs}
    _section(
        screen,
        "Outputs",
        [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in outputs.items()],
    )


def _section(screen: Screen, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        screen.out.print()
        paragraph(screen.out, title, STRONG)
        facts(screen.out, rows)


def show_findings(screen: Screen, found: Mapping[str, Sequence[Finding]]) -> None:
    """Show the findings of each playbook. Raises: typer.Exit(2) if one has an error."""
    errors = [(name, finding) for name, list_ in found.items() for finding in list_ if finding.severity == "error"]
    if screen.json and errors:
        problems = [
            Problem(pointer=finding.pointer, message=f"{name}{_line(finding)}: {finding.message}")
            for name, finding in errors
        ]
        show(screen, PlaybookInvalid(problems=problems))
    elif screen.json:
        screen.write_json(
            {"playbooks": [{"playbook": name, "findings": [vars(f) for f in list_]} for name, list_ in found.items()]}
        )
    else:
        for name, list_ in found.items():
            _report(screen, name, list_)
    if errors:
        raise typer.Exit(PlaybookInvalid.exit_code)


def _report(screen: Screen, name: str, list_: Sequence[Finding]) -> None:
    sound = not any(finding.severity == "error" for finding in list_)
    paragraph(screen.out, f"{'✓' if sound else '✗'} {name}", GOOD if sound else BAD)
    for finding in list_:
        style = BAD if finding.severity == "error" else WARNING
        where = f"{finding.pointer or '/'}{_line(finding)}"
        whole(screen.out, f"  {finding.severity} {where}: {finding.message}", style)


def _line(finding: Finding) -> str:
    return "" if finding.line is None else f" line {finding.line}"


def _input(spec: InputSpec) -> str:
    types = spec.type if isinstance(spec.type, str) else " or ".join(spec.type)
    parts = [types]
    if spec.primary:
        parts.append("given by --input")
    if spec.has_default:
        parts.append(f"default {json.dumps(spec.default)}")
    else:
        parts.append("required")
    if spec.enum:
        parts.append("one of " + ", ".join(json.dumps(value) for value in spec.enum))
    return f"{', '.join(parts)}. {' '.join(spec.description.split())}".strip()
