"""Find the shipped playbooks: the YAML files of this folder."""

from __future__ import annotations

from pathlib import Path

from core.json_values import did_you_mean, shown
from playbooks.language.errors import PlaybookNotFound
from playbooks.language.format import Playbook
from playbooks.language.loading import load

FOLDER = Path(__file__).parent


def available(folder: Path = FOLDER) -> list[Playbook]:
    """Return the shipped playbooks, sorted by ID. Raises: PlaybookInvalid."""
    return sorted((load(path) for path in folder.glob("*.yaml")), key=lambda playbook: playbook.id)


def find(id_or_path: str, folder: Path = FOLDER) -> Playbook:
    """Return the shipped playbook with this ID, or the one in the YAML file at this path.

    A name with a slash, or that ends in .yaml or .yml, is a path. Raises: PlaybookNotFound, PlaybookInvalid.
    """
    if "/" in id_or_path or id_or_path.endswith((".yaml", ".yml")):
        return load(Path(id_or_path))
    shipped = {path.stem: path for path in folder.glob("*.yaml")}
    if id_or_path not in shipped:
        raise PlaybookNotFound(
            f"unknown playbook {shown(id_or_path)}{did_you_mean(id_or_path, shipped) or '.'} "
            f"The shipped playbooks are: {', '.join(sorted(shipped)) or 'none'}."
        )
    return load(shipped[id_or_path])
