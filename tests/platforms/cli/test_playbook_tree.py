"""`cfes playbook show` draws the steps of a playbook and of those that it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.platforms.cli.conftest import Cfes

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

ROOT = """\
playbook: 1
id: root
title: Move and ask
key: "{{ inputs.case }}"
inputs: {case: {type: string, primary: true}, more: {type: array, default: []}}
steps:
  - {id: ask, title: "Ask \x1b[31m a person", pause: go, count: 2, otherwise: late}
  - {id: each, playbook: part, for_each: "{{ inputs.more }}", at_most: 2, when: "{{ inputs.case != '' }}"}
  - {id: again, playbook: part, on_error: [{type: NotFound, do: continue}]}
outputs: "{{ steps.again }}"
"""
PART = "playbook: 1\nid: part\ntitle: Part\nsteps: [{id: rest, sleep: 3}, {id: done, set: {a: 1}}]\n"


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "part.yaml").write_text(PART)
    (tmp_path / "root.yaml").write_text(ROOT.replace("\x1b", "\\e"))
    return str(tmp_path / "root.yaml")


def test_a_sub_playbook_is_a_branch_and_is_drawn_once(cfes: Cfes, root: str) -> None:
    text = COLOR_CODES.sub("", cfes("playbook", "show", root, terminal=True).out)
    assert text.split("Steps\n")[1].split("\n\nOutputs")[0].splitlines() == [
        "├─ ask: Ask [U+001B][31m a person",
        "│  waits for the signal go (2 needed), within 86400 seconds",
        "├─ each",
        "│  runs the playbook part for each of {{ inputs.more }}, 2 at a time",
        "│  when {{ inputs.case != '' }}",
        "│  ├─ rest",
        "│  │  waits 3 seconds",
        "│  └─ done",
        "│     sets a",
        "└─ again",
        "   runs the playbook part (its steps are above)",
        "   on NotFound: continues",
    ]
    assert "{{ inputs.case }}" in text


def test_programs_get_the_playbook_its_inputs_and_the_chart(cfes: Cfes, root: str) -> None:
    document = cfes("playbook", "show", root).document
    assert set(document["playbook"]["parts"]) == {"part"}
    assert document["inputs"]["case"] == {"type": "string", "primary": True}
    assert document["mermaid"].startswith("flowchart TD\n")
    assert cfes("playbook", "show", root, "--mermaid").out == document["mermaid"]
