"""The reference pages: made from the action modules, the error classes and the settings, never by hand.

`python -m platforms.published.reference` writes docs/actions.md and the tables between the `generated` marks in
README.md and docs/exports.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from connectors.connection import Connection, environment_variables, guard_variables
from core import errors
from platforms.published.manifest import ROOT
from platforms.schema_fields import Field, read_fields
from playbooks import library
from remediation.exports.formats.csv_table import COLUMNS

README = ROOT / "README.md"
ACTIONS_PAGE = ROOT / "docs" / "actions.md"
EXPORTS_PAGE = ROOT / "docs" / "exports.md"


def readme(text: str) -> str:
    """README.md with its generated tables as they should be now."""
    return _filled(text, {"actions": _actions_table(), "playbooks": _playbooks_table(), "settings": _settings_table()})


def exports_page(text: str) -> str:
    """docs/exports.md with its generated tables as they should be now."""
    return _filled(text, {"columns": _columns_table()})


def _filled(text: str, tables: dict[str, str]) -> str:
    for name, table in tables.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"the page has no marks for {name}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def actions_page() -> str:
    """docs/actions.md: every action with its parameters, its result, and an example of each."""
    head = (
        "# Actions\n\nMade from the action modules by `make manifest`; change it there. Every action takes one JSON"
        " object and returns one;\nerrors are one JSON object too: see [errors](#errors).\n"
    )
    return head + "".join(_action(action) for action in catalog.available().values()) + _errors()


def _actions_table() -> str:
    rows = [
        f"| [`{action.id}`](docs/actions.md#{action.id}) | {action.title} | {action.effect} | {action.approval} |"
        for action in catalog.available().values()
    ]
    return "\n".join(["| action | what it does | effect at worst | approval |", "| --- | --- | --- | --- |", *rows])


def _playbooks_table() -> str:
    rows = [f"| `{playbook.id}` | {_cell(playbook.title)} |" for playbook in library.available()]
    return "\n".join(["| playbook | what it does |", "| --- | --- |", *rows])


def _settings_table() -> str:
    variables, guards = environment_variables(), guard_variables()
    rows = [
        f"| `{variables[name]}` | {_cell(field.description or '')}{' A guard.' if name in guards else ''} |"
        for name, field in Connection.model_fields.items()
    ]
    return "\n".join(["| variable | what it is |", "| --- | --- |", *rows])


def _columns_table() -> str:
    types = {"text": "text", "list": "list of text", "integer": "integer", "boolean": "boolean"}
    rows = [
        f"| `{column.name}` | `{'.'.join(column.path)}` | {types[column.kind]} | {_cell(column.meaning)} |"
        for column in COLUMNS
    ]
    return "\n".join(["| column | in the row | type in Parquet | |", "| --- | --- | --- | --- |", *rows])


def _action(action: Action[Any, Any]) -> str:
    module = (sys.modules[action.module].__doc__ or "").strip()
    parameters = action.params.model_json_schema()
    result = action.result.model_json_schema(mode="serialization")
    permissions = ", ".join(action.permissions) or "none"
    return (
        f"\n## {action.id}\n\n{module}\n\n"
        f"Effect at worst: {action.effect}. Approval: {action.approval}. Permissions: {permissions}.\n"
        f"As a process: `python -m {action.module}`; as a command: `cfes {action.id}`.\n"
        f"\n| parameter | type | default | |\n| --- | --- | --- | --- |\n{_rows(parameters, defaults=True)}"
        f"\n| result | type | |\n| --- | --- | --- |\n{_rows(result, defaults=False)}"
        f"\n```json\n{json.dumps(action.example_params)}\n```\n"
        f"\n<details><summary>gives</summary>\n\n"
        f"```json\n{json.dumps(action.example_result, indent=1)}\n```\n\n</details>\n"
    )


def _rows(schema: dict[str, Any], *, defaults: bool) -> str:
    rows = []
    for field in read_fields(schema):
        default = "required" if field.required else f"`{json.dumps(field.default)}`"
        rows.append(_row(field.name, field, [default] if defaults else []))
        rows += [_row(f"{field.name}.{nested.name}", nested, [""] if defaults else []) for nested in field.fields]
    return "".join(rows) or f"| (none) |{' |' * (3 if defaults else 2)}\n"


def _row(name: str, field: Field, default: list[str]) -> str:
    return f"| {' | '.join([f'`{name}`', _cell(field.type_words), *default, _cell(field.description)])} |\n"


def _errors() -> str:
    rows = []
    for kind in _tree(errors.PackError):
        about = (kind.__doc__ or "").strip().split("\n")[0]
        rows.append(f"| `{kind.__name__}` | {kind.exit_code} | {_cell(about)} | {_cell(kind.default_help)} |\n")
    return (
        "\n## errors\n\n`type` of the error document is one of these; `retryable`, `applied` (`no`, `unknown`, `yes`)"
        " and the fields that are known\nstand beside it.\n\n| type | exit | what happened | what to do |\n"
        "| --- | --- | --- | --- |\n" + "".join(rows)
    )


def _tree(kind: type[errors.PackError]) -> list[type[errors.PackError]]:
    own = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [found for child in own for found in [child, *_tree(child)]]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(readme_path: Path = README, actions_path: Path = ACTIONS_PAGE, exports_path: Path = EXPORTS_PAGE) -> None:
    """Write the pages anew."""
    readme_path.write_text(readme(readme_path.read_text()))
    actions_path.write_text(actions_page())
    exports_path.write_text(exports_page(exports_path.read_text()))


if __name__ == "__main__":
    write()
