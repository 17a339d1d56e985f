"""Add to a playbook the playbooks that its steps run, so that one document and one SHA-256 cover them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.errors import Problem
from core.json_values import below, shown
from core.strict_yaml import line_of
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.format import Playbook, PlaybookStep
from playbooks.language.loading import from_document

MAX_PARTS = 50

LoadPart = Callable[[str], Playbook]


def bundled(playbook: Playbook, load_part: LoadPart) -> Playbook:
    """Return the playbook with every playbook that it runs, directly or through others, in its `parts`.

    load_part: returns the playbook with this ID, or raises PlaybookInvalid. Parts that the document has are kept.
    Raises: PlaybookInvalid, also if a playbook runs itself.
    """
    parts: dict[str, Playbook] = {}
    _collect(playbook, playbook, load_part, parts, (playbook.id,))
    if not parts:
        return playbook
    if len(parts) > MAX_PARTS:
        raise _invalid(playbook, "/steps", f"the playbook runs {len(parts)} other playbooks, more than {MAX_PARTS}")
    documents = {name: parts[name].document() for name in sorted(parts)}
    return from_document({**playbook.document(), "parts": documents}, lines=playbook.lines)


def _collect(
    root: Playbook, playbook: Playbook, load_part: LoadPart, parts: dict[str, Playbook], above: tuple[str, ...]
) -> None:
    for pointer, name in playbooks_of(playbook):
        if name in above:
            chain = " → ".join((*above[above.index(name) :], name))
            raise _invalid(root, pointer if playbook is root else "/steps", f"a playbook can't run itself: {chain}")
        if name not in parts:
            part = root.parts.get(name)
            try:
                parts[name] = load_part(name) if part is None else part
            except PlaybookInvalid as error:
                if playbook is not root:
                    raise
                raise _invalid(root, pointer, error.message) from None
            if parts[name].id != name:
                raise _invalid(root, pointer, f"the file of {shown(name)} has the id {shown(parts[name].id)}")
        _collect(root, parts[name], load_part, parts, (*above, name))


def playbooks_of(playbook: Playbook) -> Iterator[tuple[str, str]]:
    """Yield the ID of each playbook that a step runs, with the pointer to it."""
    for index, step in enumerate(playbook.steps):
        if isinstance(step, PlaybookStep):
            yield below("/steps", index, "playbook"), step.playbook


def _invalid(playbook: Playbook, pointer: str, message: str) -> PlaybookInvalid:
    line = line_of(playbook.lines, pointer)
    return PlaybookInvalid(
        problems=[Problem(pointer=pointer, message=message if line is None else f"line {line}: {message}")]
    )
