"""The layout: which folder may import which, and how long a module may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The folders that each folder may import besides itself. A folder that is not listed has the rule of its parent.
BELOW = {
    "core": (),
    "connectors": ("core",),
    "connectors/http": ("core", "connectors/connection", "connectors/call_log"),
    "connectors/objects": ("core",),
    "connectors/rate": ("core", "connectors/connection"),
    "connectors/paging": ("core", "connectors/objects"),
    "remediation": ("connectors", "core"),
    "remediation/guardrails": ("remediation/stamp", "connectors", "core"),
    "remediation/jobs": ("remediation/guardrails", "remediation/stamp", "connectors", "core"),
    "remediation/exports": ("remediation/jobs", "remediation/guardrails", "remediation/stamp", "connectors", "core"),
    "remediation/notifications": ("connectors/http", "connectors/call_log", "core"),
    "actions": ("remediation", "connectors", "core"),
    "actions/contract": ("remediation/guardrails/policy", "connectors", "core"),
    "actions/shapes": ("actions/contract", "remediation", "connectors", "core"),
    "playbooks": ("core",),
    "playbooks/language": ("core",),
    "playbooks/engine": ("playbooks/language", "core"),
    "playbooks/drivers": ("playbooks/engine", "playbooks/language", "core"),
    "playbooks/drivers/store": ("playbooks/drivers/seal_key", "playbooks/language/errors", "core"),
    "platforms": ("actions", "playbooks", "remediation", "connectors", "core"),
    "platforms/callers": ("connectors/connection", "core"),
    "platforms/runs": ("platforms/playbook_session", "platforms/playbook_checks", "playbooks", "connectors", "core"),
    "platforms/workspace": ("actions", "playbooks/language", "remediation", "core"),
    "platforms/cli/inputs": (
        *("platforms/schema_fields", "actions", "playbooks", "remediation", "connectors", "core"),
    ),
    "platforms/cli/views": (
        *("platforms/cli/inputs", "platforms/cli/approval_findings", "platforms/playbook_cases"),
        "platforms/callers/records",
        *("actions", "playbooks", "remediation", "connectors", "core"),
    ),
    "platforms/openapi": (
        *("platforms/callers/records", "platforms/schema_fields"),
        *("actions", "playbooks/language", "connectors", "core"),
    ),
    "cfes": ("platforms", "actions", "playbooks", "connectors", "core"),
    "sandbox": (),
    "supply_chain": ("core",),
}
for folder in ("messages", "reconciliation", "reports"):
    BELOW[f"remediation/{folder}"] = ("remediation/exports", *BELOW["remediation/exports"])
BELOW["remediation/evidence"] = ("remediation/reports", *BELOW["remediation/reports"])

PRODUCT = ("actions", "cfes", "connectors", "core", "platforms", "playbooks", "remediation", "sandbox", "supply_chain")
OURS = {*PRODUCT, "benchmarks", "tests"}


@cache
def modules() -> list[str]:
    found = [path.relative_to(ROOT) for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    return sorted(str(path.with_suffix("")) for path in found)


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield each statement in a node. Unlike `ast.walk` it leaves out the expressions, which are most of a module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from statements(child)


@cache
def imports(module: str) -> list[str]:
    """Return each module of this repository that a module imports, also in functions, as a path without a suffix."""
    found: list[str] = []
    for node in statements(parsed(module)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{module} has a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in inner]
        found += [name.replace(".", "/") for name in names if name.partition(".")[0] in OURS]
    return found


@cache
def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def is_in(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}/")


@cache
def folder_of(module: str) -> str:
    """Return the innermost listed folder that contains the module."""
    return max((folder for folder in BELOW if is_in(module, folder)), key=len)


@pytest.mark.parametrize("folder", BELOW)
def test_imports_point_down(folder: str) -> None:
    own = [module for module in modules() if folder_of(module) == folder]
    assert own, f"{folder} holds no module: delete it from this test"
    for module in own:
        # The top of a package may import the folders inside it.
        allowed = (folder, *BELOW[folder])
        upwards = [name for name in imports(module) if not any(is_in(name, one) for one in allowed)]
        assert not upwards, f"{module}.py imports {', '.join(upwards)}"


def test_folders_have_no_import_cycle() -> None:
    """An import from the top of a package counts for the imported module, not for its folder."""
    edges = {module: set(imports(module)) & set(modules()) for module in modules()}
    # Imports for types and inside functions count too: a reader has to follow them.
    folders = {module: module.rpartition("/")[0] for module in edges}
    between = {folder: set[str]() for folder in folders.values()}
    for module, names in edges.items():
        between[folders[module]] |= {folders[name] for name in names} - {folders[module]}
    for above, below in between.items():
        both = {one for one in below if above in between[one] and not (is_in(one, above) or is_in(above, one))}
        assert not both, f"{above} and {', '.join(sorted(both))} import each other"


def test_the_actions_folder_contains_only_actions() -> None:
    for path in (ROOT / "actions").glob("*.py"):
        if path.name != "__init__.py":
            assert "\nACTION = Action(" in path.read_text(encoding="utf-8"), f"{path.name} defines no action"


def test_each_package_has_a_docstring() -> None:
    for module in modules():
        if module.endswith("/__init__"):
            text = ast.get_docstring(parsed(module))
            assert text, f"{module}.py has no docstring"


# Modules over 350 lines, each with its reason.
LONG = {
    "connectors/email_security": "one method for each operation of the API",
    "connectors/transport": "the one place that decides on retries",
    "core/addresses": "one reader of addresses, domains and look-alikes",
    "core/errors": "the exception tree, in one place",
    "remediation/exports/destinations/object_store": "one upload with its claim",
    "remediation/jobs/creation": "one job per request, from first check to last",
    "sandbox/contract/results": "the shapes of the API's answers",
}


def test_modules_over_350_lines_have_a_reason() -> None:
    lines = {module: len((ROOT / f"{module}.py").read_text(encoding="utf-8").splitlines()) for module in modules()}
    assert {module for module, count in lines.items() if count > 350} == set(LONG)
