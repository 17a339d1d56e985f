"""Playbooks load from a safe subset of YAML; problems are reported with pointer and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ParameterError
from playbooks import library
from playbooks.language.errors import PlaybookInvalid, PlaybookNotFound
from playbooks.language.format import SCHEMA_PATH, Playbook, schema_document, schema_text
from playbooks.language.inputs import from_text
from playbooks.language.loading import from_document, load

HEAD = "playbook: 1\nid: a\ntitle: t\n"


def problems(text: str) -> dict[str, str]:
    with pytest.raises(PlaybookInvalid) as caught:
        load(text)
    assert caught.value.exit_code == 2
    return {p["pointer"]: p["message"] for p in caught.value.problems}


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ("", "", "must be a map of keys and values"),
        ("- 1", "", "line 1: must be a map of keys and values"),
        ("a: [1", "", "line 1: not valid YAML: while parsing a flow sequence expected ',' or ']'"),
        ("a: 1\n---\na: 2", "", "line 2: more than one document"),
        ("a: \x00", "", "not valid YAML"),
        ("a: &x 1\nb: *x", "/a", "line 1: anchors (&) and aliases (*) are not supported; write the value out"),
        ("a: !!python/object:os.system x", "/a", "line 1: tags (!) are not supported"),
        ("a: 1\nb: {c: 1,\n  c: 2}", "/b/c", "line 3: duplicate key 'c'; the first is on line 2"),
        ("? [a]\n: 1", "", "line 1: a key must be text"),
        ("a: " + "[" * 70 + "]" * 70, "/a" + "/0" * 64, "line 1: nested deeper than 64 levels"),
        ("[" * 5000, "/0" * 65, "line 1: nested deeper than 64 levels"),
        ('a: "\\UFFFFFFFF"', "", "not valid YAML: an escape or a version number is out of range"),
        ('a: "\\U00110000"', "", "not valid YAML: an escape or a version number is out of range"),
        ('a: "\\ud800"', "/a", "line 1: has half of a surrogate pair"),
        ("#" * 300_000, "", "longer than 256 KiB"),
        (HEAD, "/steps", "line 1: the key 'steps' is missing"),
        (HEAD + "steps: []", "/steps", "line 4: must have at least 1 item"),
        (
            HEAD + "steps: [1]",
            "/steps/0",
            "line 4: a step must have exactly one of the keys action, check, finish, set, sleep, pause, playbook",
        ),
        (
            HEAD + "steps: [{id: x}]",
            "/steps/0",
            "line 4: a step must have exactly one of the keys action, check, finish, set, sleep, pause, playbook",
        ),
        (
            HEAD + "steps: [{id: x, action: y, check: true}]",
            "/steps/0",
            "line 4: a step must have exactly one of the keys action, check, finish, set, sleep, pause, playbook",
        ),
        (
            HEAD + "steps:\n- {id: x,\n   action: y, wiht: {}}",
            "/steps/0/wiht",
            "line 6: unknown key 'wiht'; did you mean 'with'?",
        ),
        (HEAD + "stps: []\nsteps: [{id: x, action: y}]", "/stps", "line 4: unknown key 'stps'; did you mean 'steps'?"),
        (
            HEAD + "steps: [{id: x, action: y}, {id: x, action: z}]",
            "/steps/1/id",
            "line 4: the step id 'x' is used twice, first in step 1",
        ),
        (
            HEAD + "steps: [{id: X y, action: y}]",
            "/steps/0/id",
            "line 4: must start with a lower-case letter, then lower-case letters",
        ),
        (
            HEAD + "steps: [{id: x, check: 1, otherwise: y}]",
            "/steps/0/check",
            "line 4: must be true or false, or must be a string",
        ),
        (HEAD + "steps: [{id: x, check: true}]", "/steps/0/otherwise", "line 4: the key 'otherwise' is missing"),
        (
            HEAD + "steps: [{id: x, action: y, repeat: {until: true, sleep: 1, limt: 3}}]",
            "/steps/0/repeat/limt",
            "line 4: unknown key 'limt'; did you mean 'limit'?",
        ),
        (
            HEAD + "steps: [{id: x, action: y, repeat: {until: true, sleep: 1, limit: 5001}}]",
            "/steps/0/repeat/limit",
            "line 4: must be at most 5000",
        ),
        (
            HEAD + "steps: [{id: x, action: y, on_error: [{type: '*', do: ignore}]}]",
            "/steps/0/on_error/0/do",
            "line 4: must be 'stop' or 'continue'",
        ),
        (
            HEAD + "inputs: {n: {type: text, description: d}}\nsteps: [{id: x, action: y}]",
            "/inputs/n/type",
            "line 4: must be 'string'",
        ),
        (
            HEAD + "inputs: {n: {type: string, pattern: '('}}\nsteps: [{id: x, action: y}]",
            "/inputs/n/pattern",
            "line 4: not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            HEAD + "inputs: {n: {type: object, primary: true}, m: {type: object, primary: true}}\n"
            "steps: [{id: x, action: y}]",
            "/inputs/m/primary",
            "line 4: only one input can be primary, and n already is",
        ),
        (
            HEAD + "outputs: {ok: 1, My Output: 2}\nsteps: [{id: x, action: y}]",
            "/outputs/My Output",
            "line 4: must start with a lower-case letter",
        ),
        (
            HEAD + "outputs: [1]\nsteps: [{id: x, action: y}]",
            "/outputs",
            "line 4: must be a map of keys and values, or must be a string",
        ),
        (
            HEAD.replace("playbook: 1", "playbook: 2") + "steps: [{id: x, action: y}]",
            "/playbook",
            "line 1: must be the number 1, the version of the format: write `playbook: 1`",
        ),
    ],
)
def test_a_problem_has_a_pointer_and_a_line(text: str, pointer: str, message: str) -> None:
    found = problems(text)
    assert pointer in found
    assert found[pointer].startswith(message)


def test_all_problems_are_reported_at_once() -> None:
    found = problems("playbook: 1\nid: A\nsteps: [{id: x, actoin: y}, {id: y, action: z, whit: 1}]\nfoo: 1")
    assert set(found) == {"/id", "/title", "/steps/0", "/steps/1/whit", "/foo"}


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert "anchors" in problems(bomb)["/a"]


def test_only_json_scalars_are_not_text() -> None:
    values = "[no, on, 12:30, 0777, 0x1F, 1_000, 2026-11-20, 1e3, .inf, ~, null, true, -1, 1.5, 1.5e3, '1', '']"
    playbook = load(HEAD + f"steps: [{{id: x, set: {{v: {values}, w: }}}}]")
    step: Any = playbook.steps[0]
    texts = ["no", "on", "12:30", "0777", "0x1F", "1_000", "2026-11-20", "1e3", ".inf"]
    assert step.set_ == {"v": [*texts, None, None, True, -1, 1.5, 1500.0, "1", ""], "w": None}


@settings(deadline=None)
@given(st.text(alphabet="abc:-[]{}&*!#?|>'\"%@`\n\t 01,\\ é\x00\ud800"))
def test_any_text_without_a_playbook_gives_problems(text: str) -> None:
    assert problems(text)


def test_a_playbook_round_trips_through_its_document(purge: Playbook) -> None:
    again = from_document(json.loads(json.dumps(purge.document())))
    assert again == purge
    assert again.sha256 == purge.sha256
    assert hash(again) == hash(purge)


def test_the_schema_file_matches_the_models() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), "run: python -m playbooks.language.format"


def test_the_schema_accepts_a_good_playbook_and_refuses_a_misspelled_key(purge_text: str) -> None:
    validator = jsonschema.Draft202012Validator(schema_document())
    validator.check_schema(schema_document())
    document = yaml.safe_load(purge_text)
    validator.validate(document)
    document["steps"][1]["wiht"] = {}
    assert not validator.is_valid(document)


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PlaybookNotFound, match="No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(PlaybookNotFound, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(PlaybookInvalid, match="not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_the_library_finds_playbooks_by_id_and_by_path(tmp_path: Path, purge_text: str) -> None:
    (tmp_path / "purge.yaml").write_text(purge_text)
    (tmp_path / "other.yaml").write_text(purge_text.replace("id: purge", "id: other"))
    assert [playbook.id for playbook in library.available(tmp_path)] == ["other", "purge"]
    assert library.find("purge", tmp_path).id == "purge"
    assert library.find(str(tmp_path / "other.yaml"), tmp_path).id == "other"
    with pytest.raises(PlaybookNotFound, match="unknown playbook 'purg'; did you mean 'purge'"):
        library.find("purg", tmp_path)
    with pytest.raises(PlaybookNotFound, match="can't be read"):
        library.find("../purge", tmp_path)


def test_every_shipped_playbook_is_found_by_its_id() -> None:
    for playbook in library.available():
        assert library.find(playbook.id) == playbook


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [("destination", "Trash", "Trash"), ("max_messages", "5", 5), ("alert", '{"From": "x"}', {"From": "x"})],
)
def test_a_setting_is_parsed_by_the_type_of_its_input(purge: Playbook, name: str, text: str, expected: Any) -> None:
    assert from_text(purge, name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("max_messages", "many", "must be JSON of type integer"),
        ("max_messages", "NaN", "must be JSON of type integer"),
        ("alert", "[" * 100_000, "must be JSON of type object"),
        ("destinatoin", "x", "did you mean 'destination'"),
    ],
)
def test_an_invalid_setting_is_reported(purge: Playbook, name: str, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        from_text(purge, name, text)
