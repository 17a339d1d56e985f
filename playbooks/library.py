"""Find the shipped playbooks: the YAML files of this folder."""

from __future__ import annotations

from pathlib import Path

from core.json_values import did_you_mean, shown
from playbooks.language.bundling import bundled
from playbooks.language.errors import PlaybookInvalid, PlaybookNotFound
from playbooks.language.format import Playbook
from playbooks.language.loading import load

FOLDER = Path(__file__).parent


def available(folder: Path = FOLDER) -> list[Playbook]:
    """Return the shipped playbooks, sorted by ID. Raises: PlaybookInvalid."""
    return sorted((find(path.stem, folder) for path in folder.glob("*.yaml")), key=lambda playbook: playbook.id)


def find(id_or_path: str, folder: Path = FOLDER) -> Playbook:
    """Return the shipped playbook with this ID, or the one in the YAML file at this path, with the playbooks it runs.

    A name with a slash, or that ends in .yaml or .yml, is a path. A playbook in a file can run the playbooks beside its
    file, and the shipped ones. Raises: PlaybookNotFound, PlaybookInvalid.
    """
    if "/" in id_or_path or id_or_path.endswith((".yaml", ".yml")):
        return load_file(Path(id_or_path), folder)
    path = _shipped(id_or_path, folder)
    return load_file(path, folder)


def load_file(path: Path, folder: Path = FOLDER) -> Playbook:
    """Return the playbook in a YAML file, with the playbooks that it runs. Raises as `find`."""
    return with_parts(load(path), path, folder)


def with_parts(playbook: Playbook, path: Path, folder: Path = FOLDER) -> Playbook:
    """Return the playbook of the file at `path` with those that it runs: beside the file, or shipped.

    Raises: PlaybookInvalid, with the names of the files.
    """

    def load_part(name: str) -> Playbook:
        beside = path.parent / f"{name}.yaml"
        try:
            found = beside if beside.is_file() else _shipped(name, folder)
        except PlaybookNotFound as error:
            raise PlaybookInvalid(error.message) from None
        try:
            return load(found)
        except (PlaybookInvalid, PlaybookNotFound) as error:
            raise PlaybookInvalid(f"{found.name}: {error.message}") from None

    return bundled(playbook, load_part)


def _shipped(name: str, folder: Path) -> Path:
    shipped = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in shipped:
        raise PlaybookNotFound(
            f"unknown playbook {shown(name)}{did_you_mean(name, shipped) or '.'} "
            f"The shipped playbooks are: {', '.join(sorted(shipped)) or 'none'}"
        )
    return shipped[name]
