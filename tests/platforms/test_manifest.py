"""The manifest and the generated schemas match the code."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from actions.contract import catalog
from connectors.connection import Connection
from core.version import VERSION
from platforms.published import manifest
from playbooks import library
from tests.slow import some_of

DOCUMENT = json.loads(manifest.MANIFEST.read_text())


@pytest.fixture(scope="module")
def rendered() -> str:
    return manifest.render()


def test_the_manifest_is_up_to_date() -> None:
    assert not manifest.stale(), "run `make manifest`"


def test_the_schema_of_the_manifest_is_up_to_date() -> None:
    assert manifest.SCHEMA.read_text() == manifest.render_schema(), "run `make manifest`"


def test_a_missing_or_changed_manifest_is_stale(rendered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "render", lambda: rendered)
    changed = tmp_path / "manifest.json"
    assert manifest.stale(changed)
    changed.write_text(rendered.replace(VERSION, "0.0.0"))
    assert manifest.stale(changed)


def test_the_manifest_is_valid_against_its_schema() -> None:
    schema = json.loads(manifest.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(DOCUMENT, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**DOCUMENT, "actions": [{**DOCUMENT["actions"][0], "effect": "harmless"}]}, schema)


# tests/actions/test_catalog.py checks the schemas of every action, and this file that the manifest has them.
@pytest.mark.parametrize("entry", some_of(DOCUMENT["actions"], 0, 4), ids=lambda entry: str(entry["id"]))
def test_the_schemas_of_an_entry_are_valid_and_match_its_examples(entry: dict[str, object]) -> None:
    for schema, example in (("parameters", "example_parameters"), ("result", "example_result")):
        jsonschema.Draft202012Validator.check_schema(entry[schema])  # type: ignore[arg-type]
        jsonschema.validate(entry[example], entry[schema])  # type: ignore[arg-type]
    assert entry["description"]


def _number_properties(schema: object) -> set[str]:
    """Return the names of properties, at any depth, whose value may be a fraction."""
    if isinstance(schema, list):
        return set().union(*map(_number_properties, schema))
    if not isinstance(schema, dict):
        return set()
    found = set().union(*map(_number_properties, schema.values()))
    properties = schema.get("properties")
    for name, entry in properties.items() if isinstance(properties, dict) else ():
        if "number" in [kind.get("type") for kind in (entry, *entry.get("anyOf", ()))]:
            found.add(name)
    return found


def test_seconds_in_results_are_whole_for_platform_timers() -> None:
    # `rate_per_second` counts messages.
    fractions = {name for entry in DOCUMENT["actions"] for name in _number_properties(entry["result"])}
    assert {name for name in fractions if name.endswith("_seconds")} == set()
    assert "rate_per_second" in fractions


def test_the_manifest_lists_every_action_playbook_and_setting() -> None:
    assert [entry["id"] for entry in DOCUMENT["actions"]] == sorted([*catalog.available(), "advance-run"])
    assert [entry["id"] for entry in DOCUMENT["playbooks"]] == [playbook.id for playbook in library.available()]
    assert set(DOCUMENT["connection"]["properties"]) == set(Connection.model_fields)
    assert (DOCUMENT["id"], DOCUMENT["version"]) == ("cloudflare-email-security", VERSION)


def test_secrets_are_marked_as_write_only() -> None:
    properties = DOCUMENT["connection"]["properties"]
    secret = {name for name, schema in properties.items() if "writeOnly" in json.dumps(schema)}
    assert secret == {"api_token", "api_key", "evidence_key", "plan_key", "pseudonym_key"}


def test_every_action_of_a_playbook_exists() -> None:
    for entry in DOCUMENT["playbooks"]:
        assert set(entry["actions"]) <= set(catalog.available())
        assert Path(manifest.ROOT / entry["file"]).is_file()
