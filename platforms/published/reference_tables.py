"""The generated tables of the reference pages: errors, settings, playbooks, policy, the columns of an export."""

from __future__ import annotations

import importlib

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from connectors.connection import Connection, environment_variables, guard_variables
from core import errors as pack_errors
from core.model_settings import variables_of
from platforms.playbook_cases import format as cases
from platforms.published import markdown
from platforms.published.manifest import subclasses
from platforms.schema_fields import read_fields
from playbooks import library
from playbooks.drivers.temporal import settings as temporal
from playbooks.language import format as language
from playbooks.language.filters import FILTERS, OWN_FILTERS
from remediation.exports.formats.csv_table import COLUMNS
from remediation.guardrails.policy.policy import Policy
from remediation.guardrails.policy.rules import ApprovalRule, Approver, Budget, DeleteRule, Rule
from remediation.notifications.channels import VARIABLES

_PARQUET_TYPES = {"text": "text", "list": "list of text", "integer": "integer", "boolean": "boolean"}

# The maps of a playbook and of a policy, with the words that head their tables.
PLAYBOOK_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The playbook", language.Playbook),
    ("An input, in `inputs`", language.InputSpec),
    ("Every step", language.StepBase),
    ("A step that runs an action", language.ActionStep),
    ("A step that checks a condition", language.CheckStep),
    ("A step that ends the run early", language.FinishStep),
    ("A step that computes values", language.SetStep),
    ("A step that waits for a time", language.SleepStep),
    ("A step that waits for a signal", language.PauseStep),
    ("A step that runs a playbook", language.PlaybookStep),
    ("An entry of `on_error`", language.ErrorHandler),
    ("`retry` of an `on_error` entry", language.Retry),
    ("`repeat` of an action step", language.Repeat),
)
TEST_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", cases.TestFile),
    ("A case, in `cases`", cases.Case),
    ("`expect` of a case", cases.Expect),
    ("A step's entry in `steps`", cases.StepDay),
    ("A fault, in `faults`", cases.FaultSpec),
    ("A signal, in `signals`", cases.SignalSpec),
    ("`error` of a step's entry", cases.ErrorSpec),
)
POLICY_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The policy", Policy),
    ("A rule in `plan_needed`", Rule),
    ("A rule in `approval_needed`", ApprovalRule),
    ("An approver, in `approvers`", Approver),
    ("A budget, in `budgets`", Budget),
    ("`delete`", DeleteRule),
)


def playbooks() -> str:
    """Return the table of the shipped playbooks, without those that only others run."""
    every = library.available()
    parts = {name for playbook in every for name in playbook.parts}
    rows = [(f"`{playbook.id}`", playbook.title) for playbook in every if playbook.id not in parts]
    return markdown.table(("playbook", "what it does"), rows)


def settings() -> str:
    """Return the table of the environment variables."""
    variables, guards = environment_variables(), guard_variables()
    rows = [
        (f"`{variables[name]}`", field.description or "", _default(field), "yes" if name in guards else "")
        for name, field in Connection.model_fields.items()
    ]
    return markdown.table(("variable", "meaning", "default", "guard"), rows)


def notification_settings() -> str:
    """Return the table of the environment variables of `notify`."""
    return markdown.table(("variable", "meaning"), [(f"`{one.name}`", one.meaning) for one in VARIABLES])


def temporal_settings() -> str:
    """Return the table of the environment variables of the extra `temporal`."""
    return settings_of(temporal.TemporalSettings)


def settings_of(model: type[BaseModel]) -> str:
    """Return the table of the environment variables that a model's fields name with `variable`."""
    variables = variables_of(model)
    rows = [
        (f"`{variables[name]}`", field.description or "", _default(field).replace("``", ""))
        for name, field in model.model_fields.items()
    ]
    return markdown.table(("variable", "meaning", "default"), rows)


# Modules with error types, beside core.errors; a test compares the list with the code.
WITH_ERRORS = ("playbooks.language.errors", "platforms.cli.errors", "platforms.alerts.errors")


def columns() -> str:
    """Return the table of the columns that a CSV or Parquet export has."""
    rows = [
        (f"`{column.name}`", f"`{'.'.join(column.path)}`", _PARQUET_TYPES[column.kind], column.meaning)
        for column in COLUMNS
    ]
    return markdown.table(("column", "field of the row", "type in Parquet", "meaning"), rows)


def errors() -> str:
    """Return the table of the error types that actions raise."""
    return _errors([kind for kind in error_types() if kind.__module__ == pack_errors.__name__])


def playbook_errors() -> str:
    """Return the table of the error types that playbooks and `cfes` add."""
    kinds = [kind for kind in error_types() if kind.__module__ != pack_errors.__name__]
    # Not in the order of the imports, which differs from process to process.
    return _errors(sorted(kinds, key=lambda kind: (kind.exit_code, kind.__name__)))


def error_types() -> list[type[pack_errors.PackError]]:
    """Return every error type of the pack, each behind the one that it belongs to."""
    for module in WITH_ERRORS:
        importlib.import_module(module)
    # Not every type that is loaded: a platform may have one of its own, which no caller sees.
    modules = (pack_errors.__name__, *WITH_ERRORS)
    found = [kind for kind in subclasses(pack_errors.PackError) if kind.__module__ in modules]
    return list(dict.fromkeys(found))


def _errors(kinds: list[type[pack_errors.PackError]]) -> str:
    rows = []
    for kind in kinds:
        description = (kind.__doc__ or "").strip().split("\n")[0]
        exit_code = (
            "1; 7 in an action that can change something" if kind.__name__ == "InternalError" else kind.exit_code
        )
        rows.append((f"`{kind.__name__}`", str(exit_code), description, kind.default_help))
    return markdown.table(("type", "exit", "what happened", "what to do"), rows)


def filters() -> str:
    """Return the table of the pack's filters, and a list of those of Jinja."""
    rows = [(f"`{name}`", (function.__doc__ or "").strip().split("\n\n")[0]) for name, function in OWN_FILTERS.items()]
    of_jinja = ", ".join(f"`{name}`" for name in FILTERS if name not in OWN_FILTERS)
    return f"{markdown.table(('filter', 'meaning'), rows)}\n\nFilters of Jinja: {of_jinja}."


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    return f"`{value:g}`" if type(value) in (int, float) else f"`{value}`" if isinstance(value, str) else ""


def models(parts: tuple[tuple[str, type[BaseModel]], ...]) -> str:
    """Return one table for each map of a format, under its title."""
    return "\n\n".join(f"### {title}\n\n{_model(model)}" for title, model in parts)


def _model(model: type[BaseModel]) -> str:
    schema = model.model_json_schema(by_alias=True)
    if "$ref" in schema:  # a model that refers to itself
        schema = {**schema, **schema["$defs"][schema["$ref"].rpartition("/")[2]]}
    # The keys of every step have a table of their own.
    common = language.StepBase.model_fields
    rows = [
        (f"`{field.name}`", field.type_words, markdown.default_of(field).replace("`null`", ""), field.description)
        for field in read_fields(schema)
        if not (issubclass(model, language.StepBase) and model is not language.StepBase and field.name in common)
    ]
    return markdown.table(("key", "type", "default", "meaning"), rows)
