"""Add to a playbook the playbooks that its steps run, so that one document and one SHA-256 cover them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from core.errors import Problem
from core.json_values import below, shown
from core.strict_yaml import line_of
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.format import Playbook, PlaybookStep, Step
from playbooks.language.loading import from_document

MAX_PARTS = 50

LoadPart = Callable[[str], Playbook]


def bundled(playbook: Playbook, load_part: LoadPart) -> Playbook:
    """Return the playbook with every playbook that it runs, directly or through others, in its `parts`.

    load_part: returns the playbook with this ID, or raises PlaybookInvalid. Parts that the document has are kept.
    Raises: PlaybookInvalid, also if a playbook runs itself.
    """
    collected = _Parts(playbook, load_part)
    for pointer, name in playbooks_of(playbook):
        collected.add(name, pointer, (playbook.id,))
    parts = collected.found
    if len(parts) > MAX_PARTS:
        collected.refuse("/steps", f"the playbook runs {len(parts)} other playbooks, more than {MAX_PARTS}")
    if collected.problems:
        raise PlaybookInvalid(problems=collected.problems)
    if not parts:
        return playbook
    documents = {name: parts[name].document() for name in sorted(parts)}
    return from_document({**playbook.document(), "parts": documents}, lines=playbook.lines)


class _Parts:
    """The playbooks found so far, and the problems, each at the step of the root that leads to it."""

    def __init__(self, root: Playbook, load_part: LoadPart) -> None:
        self.root = root
        self.load_part = load_part
        self.found: dict[str, Playbook] = {}
        self.problems: list[Problem] = []

    def add(self, name: str, pointer: str, above: tuple[str, ...]) -> None:
        """Add a playbook and those that it runs. pointer: the step of the root. above: the playbooks that run it."""
        if name in above:
            self.refuse(pointer, f"a playbook can't run itself: {' → '.join((*above[above.index(name) :], name))}")
            return
        part = None if name in self.found else self._load(name, pointer)
        if part is None:
            return
        self.found[name] = part
        for _, inner in playbooks_of(part):
            self.add(inner, pointer, (*above, name))

    def _load(self, name: str, pointer: str) -> Playbook | None:
        part = self.root.parts.get(name)
        try:
            part = self.load_part(name) if part is None else part
        except PlaybookInvalid as error:
            self.refuse(pointer, error.message)
            return None
        if part.id != name:
            self.refuse(pointer, f"the file of {shown(name)} has the id {shown(part.id)}")
            return None
        return part

    def refuse(self, pointer: str, message: str) -> None:
        line = line_of(self.root.lines, pointer)
        located = message if line is None else f"line {line}: {message}"
        if len(self.problems) < MAX_PARTS:
            self.problems.append(Problem(pointer=pointer, message=located))


def playbooks_of(playbook: Playbook) -> Iterator[tuple[str, str]]:
    """Yield the ID of each playbook that a step runs, with the pointer to it."""
    for index, step in enumerate(playbook.steps):
        if isinstance(step, PlaybookStep):
            yield below("/steps", index, "playbook"), step.playbook


def every_step(playbook: Playbook, steps: Sequence[Step] | None = None) -> list[Step]:
    """List the steps of a playbook (or some of them), each followed by those of the playbook that it runs."""
    return list(_every_step(playbook.steps if steps is None else steps, playbook.parts))


def _every_step(steps: Sequence[Step], parts: Mapping[str, Playbook]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, PlaybookStep):
            yield from _every_step(parts[step.playbook].steps, parts)
