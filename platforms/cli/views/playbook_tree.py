"""Draw the steps of a playbook as a tree; the steps of a playbook that a step runs are its branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.text import visible
from platforms.cli.views.layout import broken, whole, width_of
from platforms.cli.views.palette import QUIET
from platforms.cli.views.screen import Screen
from playbooks.language.format import ActionStep, Playbook, PlaybookStep, Step
from playbooks.language.step_text import condition_of, work_of

NARROWEST_TEXT = 20


@dataclass(frozen=True)
class _Lines:
    """The lines of a tree: to a step, to the last step, beside further steps, and below the last one."""

    step: str
    last: str
    beside: str
    below: str


_DRAWN = _Lines("├─ ", "└─ ", "│  ", "   ")
_PLAIN = _Lines("|- ", "`- ", "|  ", "   ")


def draw_tree(screen: Screen, playbook: Playbook) -> None:
    """Write one branch for each step: its ID and title, then what it does and when."""
    width = width_of(screen.out)
    lines = _DRAWN if _has_lines(screen.out.encoding) else _PLAIN
    for first, rest, text, style in _branches(playbook, playbook.parts, lines, "", set()):
        for number, line in enumerate(broken(text, max(width - len(first), NARROWEST_TEXT))):
            whole(screen.out, f"{rest if number else first}{line}", style)


def _has_lines(encoding: str) -> bool:
    try:
        "├─│└".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _branches(
    playbook: Playbook, parts: Mapping[str, Playbook], lines: _Lines, indent: str, drawn: set[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield each text with what comes before its first line and before its others, and its style.

    drawn: the playbooks whose steps the tree has already.
    """
    drawn.add(playbook.id)
    for number, step in enumerate(playbook.steps, 1):
        is_last = number == len(playbook.steps)
        inner = indent + (lines.below if is_last else lines.beside)
        head = f"{step.id}: {step.title}" if step.title else step.id
        yield indent + (lines.last if is_last else lines.step), inner, visible(head), ""
        part = parts.get(step.playbook) if isinstance(step, PlaybookStep) else None
        again = part is not None and part.id in drawn
        for detail in _details(step, again=again):
            yield inner, inner, detail, QUIET
        if part is not None and not again:
            yield from _branches(part, parts, lines, inner, drawn)


def _details(step: Step, *, again: bool) -> Sequence[str]:
    handled = [
        f"on {' or '.join(handler.types)}: continues"
        for handler in (step.on_error if isinstance(step, ActionStep | PlaybookStep) else ())
        if handler.do == "continue"
    ]
    work = f"{work_of(step)} (its steps are above)" if again else work_of(step)
    return [text for text in (work, condition_of(step), *handled) if text]
