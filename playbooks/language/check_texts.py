"""Find texts that look like expressions of another language: `${{ x }}`, `${x}`, `<% x %>`, `inputs.x`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from core.json_values import below, shown
from playbooks.language.expressions import Template
from playbooks.language.finding import Finding, error, warning
from playbooks.language.format import Playbook
from playbooks.language.program import Program

_DOLLAR = re.compile(r"\$\{\{")
_ONLY_DOLLAR = re.compile(r"\s*\$\{\{.*\}\}\s*", re.DOTALL)
_FOREIGN = re.compile(r"\$\{\s*(?:inputs|steps|item|run)\b[^}]*\}|<%.*?%>", re.DOTALL)
_PATH = re.compile(r"\s*(inputs|steps)\.([A-Za-z_][\w-]*)(?:[.\[][\w.\[\]'-]*)?\s*")


def foreign_expressions(playbook: Playbook, program: Program) -> Iterator[Finding]:
    """Yield a finding for each text that another language would evaluate."""
    for field in program.fields.values():
        for pointer, text, is_template in _texts(field.tree, field.pointer):
            if _ONLY_DOLLAR.fullmatch(text) and is_template:
                yield error(pointer, "write {{ … }} without the $: this text would begin with a dollar sign")
            elif _DOLLAR.search(text):
                yield warning(pointer, "the $ before {{ … }} stays in the text; leave it out")
            elif found := _FOREIGN.search(text):
                yield warning(pointer, f"{shown(found[0])} is text here; write an expression as {{{{ … }}}}")
            elif not is_template and _is_path(text, playbook):
                yield warning(pointer, f'this is text; to read the value write "{{{{ {text.strip()} }}}}"')


def _is_path(text: str, playbook: Playbook) -> bool:
    path = _PATH.fullmatch(text)
    known = {"inputs": set(playbook.inputs), "steps": {step.id for step in playbook.steps}}
    return path is not None and path[2] in known[path[1]]


def _texts(tree: Any, pointer: str) -> Iterator[tuple[str, str, bool]]:
    """Yield each text with its pointer, and whether it has an expression."""
    if isinstance(tree, Template):
        yield pointer, tree.source, True
    elif isinstance(tree, str):
        yield pointer, tree, False
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from _texts(item, below(pointer, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _texts(item, below(pointer, index))
