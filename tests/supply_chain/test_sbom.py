"""`make sbom` writes a valid and reproducible bill of materials without URLs and paths."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.version import VERSION
from supply_chain.pins import CONSTRAINTS, PYPROJECT, RUNTIME_EXTRAS, read_direct_dependencies, read_pins
from tests.supply_chain.tools import PYTHON, ROOT, run_tool

PACK = f"cloudflare-email-security-pack@{VERSION}"
WRONG_DATES = ("yesterday", "1e9", "999999999999999999999")


@dataclass(frozen=True)
class Ended:
    """The result of a call. made: the bill that it wrote."""

    code: int
    errors: str
    made: str | None


@dataclass(frozen=True)
class Many:
    """The results of several calls by name, and whether each validated bill is valid."""

    ends: dict[str, Ended]
    valid: list[bool]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("bill") / "sbom.cdx.json"
    ended = run_tool("supply_chain.sbom", "--python", sys.executable, "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    return out.read_text()


@pytest.fixture(scope="module")
def many(text: str, tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Run all calls in one process: loading the libraries takes two seconds."""
    folder = tmp_path_factory.mktemp("bills")
    changed = folder / "constraints.txt"
    changed.write_text(re.sub(r"(?m)^httpx==.*$", "httpx==0.28.0", CONSTRAINTS.read_text()))
    calls: dict[str, tuple[list[str], str]] = {
        "again": ([], ""),
        "dated": ([], "1790000000"),
        "other versions": (["--constraints", str(changed)], ""),
        "no pack": (["--python", str(PYTHON)], ""),
        **{date: ([], date) for date in WRONG_DATES},
    }
    out = {name: folder / "new" / f"{number}.json" for number, name in enumerate(calls)}
    given = {
        "calls": [
            [["--python", sys.executable, "--out", str(out[name]), *options], date]
            for name, (options, date) in calls.items()
        ],
        "validated": [text, text.replace('"type": "library"', '"type": "libary"')],
    }
    ended = run_tool(
        "tests.supply_chain.many_bills", given=json.dumps(given), PYTHONHASHSEED="1", TZ="Pacific/Auckland", LC_ALL="C"
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    ends = {
        name: Ended(code, errors, out[name].read_text() if out[name].exists() else None)
        for name, (code, errors) in zip(calls, document["calls"], strict=True)
    }
    return Many(ends, document["valid"])


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_the_bill_follows_the_cyclonedx_schema(bill: dict[str, Any], many: Many) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    # The validator reports an invalid bill.
    assert many.valid == [True, False]


def test_two_runs_write_the_same_bytes(text: str, many: Many) -> None:
    assert many.ends["again"] == Ended(0, "", text)


def test_the_timestamp_comes_only_from_source_date_epoch(bill: dict[str, Any], many: Many) -> None:
    assert "timestamp" not in bill["metadata"]
    assert json.loads(many.ends["dated"].made or "")["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"


def test_the_bill_has_no_url_and_no_path(text: str) -> None:
    addresses = set(re.findall(r"\w+://[^\"\s]*", text))
    assert addresses == {"http://cyclonedx.org/schema/bom-1.6.schema.json"}
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
    assert "site-packages" not in text


def test_each_component_has_the_pinned_version_and_a_licence(bill: dict[str, Any]) -> None:
    pins = read_pins(CONSTRAINTS.read_text())
    for component in bill["components"]:
        assert component["version"] == pins[component["name"]]
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"
        assert component["licenses"], component["name"]
    assert bill["metadata"]["component"]["version"] == VERSION


def test_the_bill_has_each_runtime_dependency_and_none_of_the_development_extras(bill: dict[str, Any]) -> None:
    listed = {component["name"]: component for component in bill["components"]}
    direct = read_direct_dependencies(PYPROJECT.read_text())
    runtime = {name for name, groups in direct.items() if groups & {"", *RUNTIME_EXTRAS}}
    assert runtime <= listed.keys()
    # The MCP library needs jsonschema, which the tests use too.
    assert (direct.keys() - runtime) & listed.keys() <= {"jsonschema"}
    # Dependencies of PyJWT's extra, and their dependencies.
    assert {"cryptography", "cffi"} <= listed.keys()


def test_a_package_of_an_extra_is_optional_and_names_the_extra(bill: dict[str, Any]) -> None:
    listed = {component["name"]: component for component in bill["components"]}
    assert listed["httpx"]["scope"] == "required"
    assert "properties" not in listed["httpx"]
    assert listed["pyarrow"]["scope"] == "optional"
    assert listed["pyarrow"]["properties"] == [{"name": "cfes:extra", "value": "parquet"}]


def test_each_component_is_reached_from_the_pack(bill: dict[str, Any]) -> None:
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    reached: set[str] = set()
    pending = [PACK]
    while pending:
        reference = pending.pop()
        if reference not in reached:
            reached.add(reference)
            pending += needs[reference]
    assert reached == {PACK, *(component["bom-ref"] for component in bill["components"])}


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("other versions", "httpx 0.28.1 is installed, but 0.28.0 is pinned"),
        ("no pack", "cloudflare-email-security-pack is required but not installed"),
        *((date, "SOURCE_DATE_EPOCH") for date in WRONG_DATES),
    ],
)
def test_a_wrong_environment_or_source_date_is_refused(many: Many, call: str, problem: str) -> None:
    ended = many.ends[call]
    assert (ended.code, ended.made) == (2, None)
    assert problem in ended.errors
