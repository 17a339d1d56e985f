"""`make sbom`: a bill of materials that a validator accepts, that two runs write alike, and that names no place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.version import VERSION
from supply_chain.pins import CONSTRAINTS, PYPROJECT, RUNTIME_EXTRAS, read_direct_dependencies, read_pins
from tests.supply_chain.tools import PYTHON, ROOT, run_tool

PACK = f"cloudflare-email-security-pack@{VERSION}"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(problem) if problem else 0)
"""


def write(out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_tool("sbom", "--python", sys.executable, "--out", str(out), *options, **environment)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("bill") / "sbom.cdx.json"
    ended = write(out)
    assert ended.returncode == 0, ended.stderr
    return out.read_text()


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def validate(text: str) -> subprocess.CompletedProcess[str]:
    command = [str(PYTHON), "-c", VALIDATE]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_the_bill_follows_the_cyclonedx_schema(text: str, bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert validate(text).returncode == 0
    # The validator notices a bill that does not.
    assert validate(text.replace('"type": "library"', '"type": "libary"')).returncode != 0


def test_two_runs_write_the_same_bytes(text: str, tmp_path: Path) -> None:
    out = tmp_path / "another" / "sbom.cdx.json"
    assert write(out, PYTHONHASHSEED="1", TZ="Pacific/Auckland", LC_ALL="C").returncode == 0
    assert out.read_text() == text


def test_the_time_is_that_of_the_source_and_of_nothing_else(bill: dict[str, Any], tmp_path: Path) -> None:
    assert "timestamp" not in bill["metadata"]
    out = tmp_path / "sbom.cdx.json"
    assert write(out, SOURCE_DATE_EPOCH="1790000000").returncode == 0
    assert json.loads(out.read_text())["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"


def test_the_bill_names_no_address_and_no_path(text: str) -> None:
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
    assert not (direct.keys() - runtime) & listed.keys()
    # What PyJWT needs with its own extra, and what that needs in turn.
    assert {"cryptography", "cffi"} <= listed.keys()


def test_what_an_extra_alone_brings_is_optional_and_names_the_extra(bill: dict[str, Any]) -> None:
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


def test_an_environment_that_is_not_the_pinned_one_makes_no_bill(tmp_path: Path) -> None:
    pins = CONSTRAINTS.read_text()
    changed = tmp_path / "constraints.txt"
    changed.write_text(re.sub(r"(?m)^httpx==.*$", "httpx==0.28.0", pins))
    out = tmp_path / "sbom.cdx.json"
    ended = write(out, "--constraints", str(changed))
    assert ended.returncode == 2
    assert "httpx 0.28.1 is installed, but 0.28.0 is pinned" in ended.stderr
    assert not out.exists()


@pytest.mark.parametrize("seconds", ["yesterday", "1e9", "999999999999999999999"])
def test_a_source_date_that_is_not_a_number_of_seconds_makes_no_bill(tmp_path: Path, seconds: str) -> None:
    out = tmp_path / "sbom.cdx.json"
    ended = write(out, SOURCE_DATE_EPOCH=seconds)
    assert ended.returncode == 2
    assert "SOURCE_DATE_EPOCH" in ended.stderr
    assert not out.exists()


def test_an_environment_without_the_pack_makes_no_bill(tmp_path: Path) -> None:
    ended = run_tool("sbom", "--python", str(PYTHON), "--out", str(tmp_path / "sbom.cdx.json"))
    assert ended.returncode == 2
    assert "cloudflare-email-security-pack is required but not installed" in ended.stderr
