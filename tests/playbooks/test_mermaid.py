"""The Mermaid flowchart of a playbook is valid, has every step, and no text of the playbook can change it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks import library
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document
from playbooks.language.mermaid import mermaid

# A strict subset of the grammar: quoted labels without characters that have a meaning in Mermaid or HTML.
LABEL = r'"(?:[^\W]|[ .,:_/()=+\'-]|#[0-9]+;|<br/>)+"'
SHAPES = rf"\(\[{LABEL}\]\)|\[{LABEL}\]|\{{\{{{LABEL}\}}\}}|\[/{LABEL}/\]|\[\[{LABEL}\]\]"
NODE = re.compile(rf"    (?: {{4}})*(\w+)(?:{SHAPES})(?::::optional)?")
SUBGRAPH = re.compile(rf"    (?: {{4}})*subgraph (\w+)\[{LABEL}\]")
EDGE = re.compile(rf"    (\w+) -->(?:\|{LABEL}\|)? (\w+)")


def parsed(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the nodes and the edges of a flowchart. Fails for any line that the grammar does not have."""
    first, *lines, last = text.removesuffix("\n").split("\n")
    assert (first, last) == ("flowchart TD", "    classDef optional stroke-dasharray: 5 5")
    nodes: set[str] = set()
    edges: set[tuple[str, str]] = set()
    depth = 0
    for line in lines:
        if found := EDGE.fullmatch(line):
            edges.add((found[1], found[2]))
        elif found := SUBGRAPH.fullmatch(line) or NODE.fullmatch(line):
            assert found[1] not in nodes
            nodes.add(found[1])
            depth += line.lstrip().startswith("subgraph")
        else:
            assert line.strip() == "end", line
            depth -= 1
            assert depth >= 0
    assert depth == 0
    assert {name for edge in edges for name in edge} <= nodes
    return nodes, edges


@pytest.mark.parametrize("playbook", library.available(), ids=lambda playbook: playbook.id)
def test_a_shipped_playbook_has_a_valid_chart_with_every_step(playbook: Playbook) -> None:
    text = mermaid(playbook)
    nodes, edges = parsed(text)
    assert len(nodes) > len(playbook.steps)
    assert all(f'"{step.id}' in text for step in playbook.steps)
    assert all(any(name == after for _, after in edges) for name in nodes if name.startswith("end_"))


def playbook_of(*steps: dict[str, Any], **parts: list[dict[str, Any]]) -> Playbook:
    return from_document(
        {
            "playbook": 1,
            "id": "root",
            "title": "t",
            "steps": list(steps),
            "parts": {name: {"playbook": 1, "id": name, "title": "t", "steps": inner} for name, inner in parts.items()},
        }
    )


@given(title=st.text(max_size=200), text=st.text(min_size=1, max_size=200))
def test_no_text_of_a_playbook_changes_the_chart(title: str, text: str) -> None:
    steps: list[dict[str, Any]] = [
        {"title": title, "check": True, "otherwise": text},
        {"title": title, "when": text, "playbook": "part", "for_each": text},
        {"title": title, "pause": "go", "within": text, "otherwise": text},
    ]
    plain = mermaid(playbook_of(*({**step, "title": "t"} for step in steps), part=[{"action": "a"}]))
    hostile = mermaid(playbook_of(*steps, part=[{"action": text}]))
    assert parsed(hostile) == parsed(plain)


@pytest.mark.parametrize(
    "title", ['"] --> x', "a\nend\nclick n1 href", "%%{init: {}}%%", "`**b**`", "<img src=x>", "a;b", "#quot;", "|x|"]
)
def test_markup_in_a_title_becomes_entities(title: str) -> None:
    text = mermaid(playbook_of({"title": title, "sleep": 1}))
    parsed(text)
    assert not set("<>`%;|\n") & set(re.sub(r"#[0-9]+;|<br/>", "", text.split('"sleep-1: ')[1].split('"')[0]))


def test_the_steps_of_a_sub_playbook_are_drawn_once() -> None:
    text = mermaid(playbook_of({"playbook": "part"}, {"playbook": "part"}, part=[{"id": "inner", "sleep": 1}]))
    parsed(text)
    assert (text.count('["inner'), text.count("subgraph"), text.count('[["playbook-2')) == (1, 1, 1)


def test_a_check_a_finish_and_a_pause_lead_to_the_end_of_the_run() -> None:
    text = mermaid(
        playbook_of(
            {"check": True, "otherwise": "x", "outcome": "incomplete"},
            {"finish": True, "message": "x"},
            {"pause": "go", "otherwise": "x"},
        )
    )
    _, edges = parsed(text)
    assert {("n2", "end_incomplete"), ("n3", "end_completed"), ("n4", "end_refused"), ("n4", "end_completed")} <= edges
