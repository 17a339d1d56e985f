"""The reference pages: generated from the action modules, the models, the error classes and the settings.

`python -m platforms.published.reference` writes docs/reference/actions/, and the tables between the `generated` marks
of README.md and of the pages in docs/reference/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from platforms import served_actions
from platforms.published import action_pages, reference_tables, service_tables
from platforms.published.manifest import ROOT

ACTION_PAGES = ROOT / "docs" / "reference" / "actions"

Table = Callable[[], str]

# The pages that have generated tables, and the tables by the name in their marks.
TABLES: dict[Path, dict[str, Table]] = {
    ROOT / "README.md": {
        "actions": lambda: action_pages.table(f"{ACTION_PAGES.relative_to(ROOT)}/"),
        "playbooks": reference_tables.playbooks,
    },
    ROOT / "docs" / "reference" / "errors.md": {
        "errors": reference_tables.errors,
        "playbook errors": reference_tables.playbook_errors,
    },
    ROOT / "docs" / "reference" / "exports.md": {"columns": reference_tables.columns},
    ROOT / "docs" / "reference" / "playbook-language.md": {
        "playbook keys": lambda: reference_tables.models(reference_tables.PLAYBOOK_PARTS),
        "filters": reference_tables.filters,
    },
    ROOT / "docs" / "reference" / "playbook-tests.md": {
        "test keys": lambda: reference_tables.models(reference_tables.TEST_PARTS),
    },
    ROOT / "docs" / "reference" / "policy.md": {
        "policy keys": lambda: reference_tables.models(reference_tables.POLICY_PARTS)
    },
    ROOT / "docs" / "reference" / "settings.md": {
        "settings": reference_tables.settings,
        "notification settings": reference_tables.notification_settings,
        "temporal settings": reference_tables.temporal_settings,
        "http settings": service_tables.http_settings,
    },
    ROOT / "docs" / "reference" / "http-service.md": {
        "operations": service_tables.http_operations,
        "statuses": service_tables.http_statuses,
    },
}


def filled(text: str, tables: dict[str, Table]) -> str:
    """Return a page with its generated tables as the code defines them now.

    Raises: ValueError if the page lacks the marks of a table.
    """
    for name, table in tables.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"the page has no marks for {name}")
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


def pages() -> dict[Path, str]:
    """Return every generated page, and every page with generated tables, as it must be now."""
    actions = served_actions.available().values()
    return {
        **{page: filled(page.read_text(encoding="utf-8"), tables) for page, tables in TABLES.items()},
        ACTION_PAGES / "README.md": action_pages.index(),
        **{ACTION_PAGES / f"{action.id}.md": action_pages.page(action) for action in actions},
    }


def outdated() -> list[Path]:
    """Return the pages that differ from what the code defines, and the pages of actions that no longer exist."""
    wanted = pages()
    return [
        *(page for page, text in wanted.items() if not page.exists() or page.read_text(encoding="utf-8") != text),
        *(page for page in ACTION_PAGES.glob("*.md") if page not in wanted),
    ]


def write() -> None:
    """Write every page that is outdated, and delete the pages of actions that no longer exist."""
    wanted = pages()
    ACTION_PAGES.mkdir(parents=True, exist_ok=True)
    for page in outdated():
        if page in wanted:
            page.write_text(wanted[page], encoding="utf-8")
        else:
            page.unlink()


if __name__ == "__main__":
    write()
