"""Draw a playbook as a Mermaid flowchart, which Markdown pages, tickets and wikis show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.text import visible
from playbooks.language.format import (
    ActionStep,
    CheckStep,
    FinishStep,
    PauseStep,
    Playbook,
    PlaybookStep,
    SetStep,
    Step,
)
from playbooks.language.step_text import condition_of, work_of

LONGEST_LABEL = 120

# Any other character could end a label, or start markup, a link or a directive.
_PLAIN = frozenset(" .,:_/()=+-'")


def mermaid(playbook: Playbook) -> str:
    """Return the text of a flowchart. Its labels can't hold markup, whatever the playbook says."""
    chart = _Chart(playbook.parts)
    begin = chart.node("([", playbook.id, "])")
    last = chart.draw(playbook, begin, "")
    chart.edge(last, chart.end("completed"))
    return "\n".join(["flowchart TD", *chart.lines, *chart.edges, "    classDef optional stroke-dasharray: 5 5"]) + "\n"


@dataclass
class _Chart:
    """The lines of a chart. drawn: the playbooks whose steps it has; a second step that runs one is a single node."""

    parts: Mapping[str, Playbook]
    lines: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    drawn: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)
    nodes: int = 0

    def draw(self, playbook: Playbook, before: str, indent: str) -> str:
        """Add the steps of a playbook behind a node. Returns the last node."""
        self.drawn.add(playbook.id)
        for step in playbook.steps:
            before = self._step(step, before, indent)
        return before

    def _step(self, step: Step, before: str, indent: str) -> str:
        part = self.parts.get(step.playbook) if isinstance(step, PlaybookStep) else None
        if part is not None and part.id not in self.drawn:
            self.nodes += 1
            self.lines.append(f'    {indent}subgraph g{self.nodes}["{label_of(step)}"]')
            first = self.node("([", part.id, "])", indent + "    ")
            self.edge(before, first, condition_of(step))
            last = self.draw(part, first, indent + "    ")
            self.lines.append(f"    {indent}end")
            return last
        opening, closing = _SHAPES.get(type(step), ('["', '"]'))
        self.nodes += 1
        name = f"n{self.nodes}"
        optional = "" if step.when is True else ":::optional"
        self.lines.append(f"    {indent}{name}{opening}{label_of(step)}{closing}{optional}")
        self.edge(before, name)
        match step:
            case CheckStep():
                self.edge(name, self.end(step.outcome), "no")
            case FinishStep():
                self.edge(name, self.end("completed"), "yes")
            case PauseStep():
                self.edge(name, self.end(step.outcome), "time ends")
        return name

    def node(self, opening: str, text: str, closing: str, indent: str = "") -> str:
        """Add a node with a text and return its name."""
        self.nodes += 1
        self.lines.append(f'    {indent}n{self.nodes}{opening}"{escaped(text)}"{closing}')
        return f"n{self.nodes}"

    def end(self, outcome: str) -> str:
        """Return the node of an end of the run."""
        if outcome not in self.ends:
            self.ends[outcome] = f"end_{outcome}"
            self.edges.append(f'    end_{outcome}(["{outcome}"])')
        return self.ends[outcome]

    def edge(self, before: str, after: str, text: str = "") -> None:
        """Add an arrow, with a text if one is given."""
        label = f'|"{escaped(text)}"|' if text else ""
        self.edges.append(f"    {before} -->{label} {after}")


_SHAPES: dict[type, tuple[str, str]] = {
    CheckStep: ('{{"', '"}}'),
    FinishStep: ('{{"', '"}}'),
    PauseStep: ('[/"', '"/]'),
    PlaybookStep: ('[["', '"]]'),
    ActionStep: ('["', '"]'),
}


def label_of(step: Step) -> str:
    """Return the label of a step, escaped: its ID and title, its condition, and what its title does not say."""
    head = step.id if not step.title else f"{step.id}: {step.title}"
    work = "" if step.title and isinstance(step, CheckStep | FinishStep | SetStep) else work_of(step)
    return "<br/>".join(escaped(line) for line in (head, work, condition_of(step)) if line)


def escaped(text: str) -> str:
    """Return a text for a quoted label of Mermaid: one line, cut, with an entity for each character with a meaning."""
    line = " ".join(visible(text).split())
    cut = line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…"
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in cut) or " "
