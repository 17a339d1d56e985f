"""check finds problems of pauses, of the playbooks that steps run, of key and outputs, and texts of other languages."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platforms.playbook_checks import findings, require_sound
from platforms.published.manifest import ROOT
from playbooks import library
from playbooks.language.check import check, check_source
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.finding import Finding
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document, load
from tests.doc_blocks import read_blocks

HEAD = "playbook: 1\nid: root\ntitle: Root\n"
PART = """
inputs: {who: {type: string}, most: {type: integer, default: 5, maximum: 9}, note: {type: string, default: null}}
steps: [{id: r, action: read, with: {who: "{{ inputs.who }}", most: "{{ inputs.most }}", note: "{{ inputs.note }}"}}]
outputs: {moved: "{{ steps.r.n }}"}
"""
WAITING = "inputs: {n: {type: integer}}\nsteps: [{pause: go, otherwise: late}]"
MOVING = "steps: [{action: move, with: {plan: p, idempotency_key: '{{ run.key }}'}}]"
PLAN: dict[str, Any] = {"properties": {"plan": {}, "search_params": {}, "dry_run": {}, "idempotency_key": {}}}
ACTIONS: dict[str, Any] = {
    "read": {},
    "move": PLAN,
    "move-named": {"properties": {"ids": {}}},
    "create": {**PLAN, "required": ["plan"]},
}
EFFECTS = {"read": "read", "move": "irreversible", "move-named": "irreversible", "create": "irreversible"}


def playbook_of(text: str, **parts: str) -> Playbook:
    documents = {
        name: load(f"playbook: 1\nid: {name}\ntitle: Part\n{part}").document()
        for name, part in {"part": PART, **parts}.items()
    }
    return from_document({**load(HEAD + text).document(), "parts": documents})


def findings_of(text: str, **parts: str) -> list[tuple[str, str, str]]:
    found = check(playbook_of(text, **parts), ACTIONS, effects=EFFECTS)
    return [(finding.severity, finding.pointer, finding.message) for finding in found]


def runs(with_: str, more: str = "") -> str:
    return f"steps: [{{id: job, playbook: part, with: {with_}{more}}}]\n"


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        (runs("{who: a, hwo: b}"), "/steps/0/with/hwo", "unknown input 'hwo' of 'part'; did you mean 'who'?"),
        (runs("{}"), "/steps/0/with/who", "the input 'who' of 'part' is missing"),
        (runs("{who: 3}"), "/steps/0/with/who", "must be of type string, not integer 3"),
        (runs("{who: a, most: 10}"), "/steps/0/with/most", "must be at most 9"),
        (runs("{who: a, most: '{{ run.id }}0'}"), "/steps/0/with/most", "must be of type integer, not a text with"),
        (runs("{who: '{{ item }}'}"), "/steps/0/with/who", "unknown name 'item': it exists only in `with` of a playb"),
        (
            runs("{who: a}") + 'outputs: {n: "{{ steps.job.mvoed }}"}',
            "/outputs/n",
            "the result of the playbook 'part' has no 'mvoed'; did you mean 'moved'?",
        ),
        (
            runs("{who: '{{ item }}'}", ", for_each: [a]") + 'outputs: {n: "{{ steps.job.moved }}"}',
            "/outputs/n",
            "the result of the playbook 'part' has no 'moved'",
        ),
        (
            runs("{who: '{{ item }}'}", ", for_each: [a]") + 'outputs: {n: "{{ steps.job.runs[0].outputs.x }}"}',
            "/outputs/n",
            "the result of the playbook 'part' has no 'x'",
        ),
        (
            runs("{who: a}", ", on_error: [{type: NotFound, retry: {times: 1, after: 1}}]"),
            "/steps/0/on_error/0/retry",
            "a step with `playbook` is not repeated; handle the error in the playbook that it runs",
        ),
        (
            "steps: [{playbook: broken}]",
            "/steps/0/playbook",
            "the playbook 'broken' has 1 invalid expression; check it: cfes playbook check broken",
        ),
        (
            "steps: [{id: p, pause: go, otherwise: late}, {check: '{{ steps.p.valeu }}', otherwise: x}]",
            "/steps/1/check",
            "the result of step 'p' has no 'valeu'; did you mean 'value'?",
        ),
        (
            "steps: [{id: p, pause: go, accepts: {type: boolean}, otherwise: x}, "
            "{check: '{{ steps.p.value.by }}', otherwise: x}]",
            "/steps/1/check",
            "the result of step 'p' has no 'by'",
        ),
        (
            "steps: [{id: s, set: {plan: 1}}, {check: '{{ steps.s.pla }}', otherwise: x}]",
            "/steps/1/check",
            "the result of step 's' has no 'pla'; did you mean 'plan'?",
        ),
        (
            "steps: [{id: s, set: {plan: 1}}, {check: '{{ steps.s.outputs.plan }}', otherwise: x}]",
            "/steps/1/check",
            "the result of step 's' has no 'outputs'; the fields are directly below steps.s",
        ),
        (
            "steps: [{sleep: 5m}]",
            "/steps/0/sleep",
            "must be a number of seconds from 0 to 86400, or one expression in {{",
        ),
        ("outputs: done\nsteps: [{sleep: 1}]", "/outputs", "must be a map of names, or exactly one expression in"),
        ("key: case\nsteps: [{sleep: 1}]", "/key", "every run would have this key; read an input"),
        (
            'key: "{{ inputs.n }}"\ninputs: {n: {type: integer}}\nsteps: [{sleep: 1}]',
            "/key",
            'the key must be text, and this input is not; add a text, as in "case {{ inputs.n }}"',
        ),
        ('key: "{{ steps.a }}"\nsteps: [{sleep: 1}]', "/key", "unknown name 'steps'"),
        ("steps: [{sleep: -1}]", "/steps/0/sleep", "must be a number of seconds from 0 to 86400"),
        (
            "inputs: {a: {type: object}}\nsteps: [{check: '{{ a.x }}', otherwise: x}]",
            "/steps/0/check",
            "unknown name 'a'; did you mean 'inputs.a'?",
        ),
        ("steps: [{check: '${{ true }}', otherwise: x}]", "/steps/0/check", "write {{ … }} without the $"),
    ],
)
def test_the_check_finds_each_mistake_at_its_place(text: str, pointer: str, message: str) -> None:
    found = findings_of(text, broken='steps: [{check: "{{ nothing }}", otherwise: x}]')
    errors = [(at, text[: len(message)]) for severity, at, text in found if severity == "error"]
    assert errors == [(pointer, message)], found


@pytest.mark.parametrize(
    ("action", "pointer", "message"),
    [
        ("{action: move}", "/action", "'move' is not read-only; at_end takes only actions that read, such as notify"),
        ("{action: raed}", "/action", "unknown action 'raed'"),
        ("{action: move-named, with: {id: 1}}", "/with/id", ""),
        ("{action: read, on_error: [{type: '*', do: continue}]}", "/on_error", "`on_error` has no effect in at_end"),
        ("{action: read, repeat: {until: true, sleep: 1, limit: 2}}", "/repeat", "`repeat` has no effect in at_end"),
        ("{action: read, keep: [n]}", "/keep", "`keep` has no effect in at_end"),
    ],
)
def test_an_action_at_the_end_is_checked_and_only_reads(action: str, pointer: str, message: str) -> None:
    found = findings_of(f"steps: [{{set: {{a: 1}}}}]\nat_end: [{action}]")
    assert ("error", f"/at_end/0{pointer}", message) in [(level, at, text[: len(message)]) for level, at, text in found]


def test_a_playbook_that_changes_mail_at_its_end_is_not_run() -> None:
    playbook = from_document(load(f"{HEAD}steps: [{{set: {{a: 1}}}}]\nat_end: [{{action: move-messages}}]").document())
    with pytest.raises(PlaybookInvalid, match="'move-messages' is not read-only"):
        require_sound(playbook)


@pytest.mark.parametrize(
    ("accepts", "pointer", "reason"),
    [
        ("{type: string, enum: [1, true]}", "/enum", "no value is possible: none of 1, true fits the other rules"),
        ("{type: [integer, boolean], enum: [yes]}", "/enum", "no value is possible: none of 'yes'"),
        ("{type: string, pattern: '^a', enum: [b]}", "/enum", "no value is possible: none of 'b'"),
        ("{type: integer, minimum: 3, maximum: 2}", "/minimum", "no number is possible: minimum 3 is over maximum 2"),
        ("{type: integer, minimum: 1.2, maximum: 1.8}", "/minimum", "no whole number is possible between"),
        ("{type: string, minLength: 3, maxLength: 2}", "/minLength", "no text is possible: minLength 3 is over"),
        ("{type: array, minItems: 2, maxItems: 1}", "/minItems", "no list is possible: minItems 2 is over"),
        (
            "{type: array, minItems: 1, items: {type: string, enum: [1]}}",
            "/items/enum",
            "no value is possible: none of 1",
        ),
        (
            "{type: object, required: [by], properties: {by: {type: string, minLength: 2, maxLength: 1}}}",
            "/properties/by/minLength",
            "no text is possible",
        ),
    ],
)
def test_a_pause_that_no_value_can_end_is_an_error(accepts: str, pointer: str, reason: str) -> None:
    ((severity, at, message),) = findings_of(f"steps: [{{pause: go, accepts: {accepts}, otherwise: late}}]")
    assert (severity, at) == ("error", f"/steps/0/accepts{pointer}")
    assert message.startswith(f"nothing can answer this pause: {reason}")


@pytest.mark.parametrize("name", ["within", "count"])
@pytest.mark.parametrize("value", ["0", "-1", "11", "'2'"])
def test_a_pause_without_time_or_with_too_many_signals_is_an_error(name: str, value: str) -> None:
    found = findings_of(f"steps: [{{pause: go, {name}: {value}, otherwise: late}}]")
    expected = [] if (name, value) == ("within", "11") else [("error", f"/steps/0/{name}")]
    assert [(severity, at) for severity, at, _ in found] == expected


@pytest.mark.parametrize(
    "accepts",
    [
        "{type: [string, integer], minimum: 3, maximum: 2}",
        "{type: array, minItems: 0, items: {type: string, enum: [1]}}",
        "{type: object, required: [by]}",
        "{type: object, properties: {by: {type: string, enum: [1]}}}",
        "{type: string, enum: [a]}",
        "{type: integer, minimum: 2, maximum: 2}",
    ],
)
def test_a_pause_that_some_value_can_end_has_no_error(accepts: str) -> None:
    assert findings_of(f"steps: [{{pause: go, accepts: {accepts}, otherwise: late}}]") == []


def test_an_input_that_nobody_can_give_is_an_error() -> None:
    ((severity, at, message),) = findings_of(
        'inputs: {n: {type: integer, minimum: 2, maximum: 1}}\nsteps: [{action: read, with: {n: "{{ inputs.n }}"}}]'
    )
    assert (severity, at, message[:29]) == ("error", "/inputs/n/minimum", "nobody can give this input: n")


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        (runs("{who: a}", ", at_most: 2"), "/steps/0/at_most", "at_most has no effect without for_each"),
        (
            runs("{who: '{{ item }}'}", ", for_each: []"),
            "/steps/0/for_each",
            "the list is empty, so the playbook never runs",
        ),
        (
            "steps: [{id: each, playbook: waiting, for_each: [1, 2], at_most: 2, with: {n: '{{ item }}'}}]",
            "/steps/0/at_most",
            "2 runs can wait for the signal 'go' at the same time; an answer must then name the run, such as each[1]",
        ),
        (
            "steps: [{pause: go, accepts: {type: string, enum: [a, 1]}, otherwise: x}]",
            "/steps/0/accepts/enum/1",
            "1 is never possible: it must be of type string, not integer 1",
        ),
        ("steps: [{id: m, action: move, with: {search_params: x}}]", "/steps/0/with", "'move' can't be undone and has"),
        (
            "steps: [{id: m, action: move, with: {plan: null}}]",
            "/steps/0/with",
            "'move' can't be undone and has no plan",
        ),
        (
            "steps: [{id: m, playbook: moving}, {check: true, otherwise: x}]",
            "/steps/1",
            "step 'm' may have changed something before this check refuses; use outcome: incomplete",
        ),
        (
            "steps: [{id: m, action: move, with: {plan: p}}, {pause: go, otherwise: x}]",
            "/steps/1",
            "step 'm' may have changed something before this pause refuses; use outcome: incomplete",
        ),
        (
            "steps: [{id: p, pause: go, otherwise: x, when: '{{ run.key }}'}, {set: {v: '{{ steps.p.value }}'}}]",
            "/steps/1/set/v",
            "step 'p' may have no result; guard it",
        ),
        (
            runs("{who: a}", ", on_error: [{type: '*', do: continue}]").replace(
                "}]\n", "}, {set: {v: '{{ steps.job.moved }}'}}]"
            ),
            "/steps/1/set/v",
            "step 'job' may have no result; guard it",
        ),
        (
            "steps: [{action: create, with: {plan: p, idempotency_key: case-42}}]",
            "/steps/0/with/idempotency_key",
            "every run would have this key, and only the first one would make a job; read an input",
        ),
        (
            "steps: [{finish: true, message: x}]",
            "/steps/0/finish",
            "the condition is always true, so every run ends he",
        ),
        (
            "steps: [{check: false, otherwise: x}]",
            "/steps/0/check",
            "the condition is always false, so every run ends h",
        ),
        (
            runs("{who: a}", ", for_each: [1, 2]"),
            "/steps/0/with",
            "`with` reads neither item nor index, so every run does the same",
        ),
        (
            "steps: [{action: read, on_error: [{type: any}]}]",
            "/steps/0/on_error/0/type",
            "unknown error type 'any'; write",
        ),
        ("steps: [{set: {v: 'at ${{ run.id }}'}}]", "/steps/0/set/v", "the $ before {{ … }} stays in the text"),
        ("steps: [{set: {v: '${inputs.x}'}}]", "/steps/0/set/v", "'${inputs.x}' is text here; write an expression"),
        ("steps: [{set: {v: '<% ctx().x %>'}}]", "/steps/0/set/v", "'<% ctx().x %>' is text here"),
        (
            "steps: [{id: s, set: {v: 1}}, {set: {w: steps.s.v}}]",
            "/steps/1/set/w",
            'this is text; to read the value write "{{ steps.s.v }}"',
        ),
    ],
)
def test_the_check_warns_at_its_place(text: str, pointer: str, message: str) -> None:
    keyless = "steps: [{id: c, action: create, with: {plan: p}}]"
    found = findings_of(text, waiting=WAITING, moving=MOVING, keyless=keyless)
    assert [(s, at, text[: len(message)]) for s, at, text in found] == [("warning", pointer, message)], found


@pytest.mark.parametrize(
    "text",
    [
        runs("{who: a, most: 9, note: null}") + 'outputs: "{{ steps.job }}"',
        runs("{who: '{{ item.name }}', note: 'no {{ index }}'}", ", for_each: [{name: a}], at_most: 3")
        + 'outputs: {n: "{{ steps.job.runs[0].outputs.moved }}", all: "{{ steps.job.runs | length }}"}',
        runs("{who: a}", ", on_error: [{type: '*', do: continue}]") + 'outputs: {n: "{{ steps.job.moved }}"}',
        "steps: [{id: p, pause: go, count: 2, accepts: {type: object, required: [by]}, otherwise: late}]\n"
        'outputs: {by: "{{ steps.p.value.by }}", first: "{{ steps.p.values[0].by }}"}',
        'key: "{{ inputs.a.AlertID }}"\ninputs: {a: {type: object}}\nsteps: [{sleep: "{{ inputs.a.wait }}"}]',
        "steps: [{action: move-named, with: {ids: []}}]",
        "steps: [{action: move, with: {dry_run: true}}]",
        "steps: [{id: job, playbook: middle}]\noutputs: {n: '{{ steps.job.moved }}'}",
    ],
)
def test_a_sound_playbook_has_no_finding(text: str) -> None:
    middle = runs("{who: a}") + 'outputs: "{{ steps.job }}"'
    assert findings_of(text, middle=middle) == []


def test_a_sub_playbook_has_the_key_of_the_playbook_that_runs_it() -> None:
    keyless = "steps: [{action: create, with: {plan: p}}]"
    text = 'key: "{{ inputs.case }}"\ninputs: {case: {type: string}}\nsteps: [{playbook: keyless}]'
    assert findings_of(text, keyless=keyless) == []


def test_a_plan_that_is_missing_as_a_parameter_is_reported_once() -> None:
    found = findings_of("steps: [{action: create}]")
    assert [(at, message) for _, at, message in found] == [("/steps/0/with/plan", "the key 'plan' is missing")]


def test_a_part_is_named_with_its_file(tmp_path: Path) -> None:
    root, part = tmp_path / "root.yaml", tmp_path / "part.yaml"
    root.write_text(HEAD + "steps:\n- {playbook: part}\n- {playbook: absent}\n- {id: x, action: raed}\n")
    part.write_text("playbook: 1\nid: part\ntitle: Part\nsteps:\n- {run: x}\n")
    found = check_source(root, ACTIONS, bundle=lambda playbook: library.with_parts(playbook, root))
    assert [(f.pointer, f.line) for f in found] == [
        ("/steps/0/playbook", 5),
        ("/steps/1/playbook", 6),
        ("/steps/2/action", 7),
    ]
    assert found[0].message.startswith("part.yaml: ")
    assert "/steps/0: line 5: a step must have exactly one of the keys" in found[0].message
    assert found[1].message.startswith("unknown playbook 'absent'")


def test_a_playbook_that_runs_itself_through_another_is_found(tmp_path: Path) -> None:
    root = tmp_path / "root.yaml"
    root.write_text(HEAD + "steps:\n- {sleep: 1}\n- {playbook: part}\n")
    (tmp_path / "part.yaml").write_text("playbook: 1\nid: part\ntitle: Part\nsteps: [{playbook: root}]\n")
    found = check_source(root, ACTIONS, bundle=lambda playbook: library.with_parts(playbook, root))
    assert found == [
        Finding("error", "/steps/1/playbook", "a playbook can't run itself: root → part → root", 6),
    ]


def test_a_run_refuses_a_part_with_an_error() -> None:
    middle = runs("{hwo: a}").replace("id: job, ", "")
    playbook = playbook_of(
        "steps: [{playbook: middle}]", middle=middle, part=PART.replace("action: read", "action: read-alert")
    )
    with pytest.raises(PlaybookInvalid) as caught:
        require_sound(playbook)
    found = {problem["pointer"] for problem in caught.value.problems}
    assert {"/parts/middle/steps/0/with/hwo", "/parts/middle/steps/0/with/who", "/parts/part/steps/0/with/who"} <= found


CHANGED: dict[str, Any] = playbook_of(
    'key: "{{ inputs.who }}"\ninputs: {who: {type: string, minLength: 1}}\n'
    "steps: [{id: ask, pause: go, count: 2, accepts: {type: object, required: [by]}, about: {a: 1}, otherwise: late}, "
    '{id: each, playbook: part, for_each: [1, 2], at_most: 2, with: {who: "{{ item }}"}}, '
    '{id: move, action: move, when: "{{ steps.ask.value.by == inputs.who }}", with: {plan: {}}}, {sleep: 1}]\n'
    'outputs: {n: "{{ steps.each.runs[0].outputs.moved }}"}'
).document()


def places_of(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*place, key)
        yield from places_of(child, (*place, key))


@settings(max_examples=25)
@given(
    place=st.sampled_from(list(places_of(CHANGED))),
    value=st.sampled_from(
        [None, True, -1, 1.5, "", "{{ x }}", "{{ item }}", "${{ x }}", "{{ [1][2] }}", [], {}, [None], {"type": "null"}]
    )
    | st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)
def test_a_change_of_any_value_gives_findings_and_no_exception(place: tuple[str | int, ...], value: Any) -> None:
    document = copy.deepcopy(CHANGED)
    parent: Any = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    for finding in check_source(json.dumps(document), ACTIONS, effects=EFFECTS):
        assert finding.message


def test_a_rule_that_is_null_does_not_apply() -> None:
    assert (
        findings_of(
            "inputs: {n: {type: integer, minimum: null, enum: null, default: 3}}\n"
            'steps: [{action: read, with: {n: "{{ inputs.n }}"}}]'
        )
        == []
    )


@pytest.mark.parametrize(
    ("value", "seconds"), [("5m", 300), ("90 s", 90), ("2 hours", 7200), ("1d", 86400), ("PT5M", 300), ("10min", 600)]
)
@pytest.mark.parametrize("step", ["sleep: {}", "pause: go, otherwise: x, within: {}"])
def test_a_duration_with_a_unit_is_converted(step: str, value: str, seconds: int) -> None:
    ((_, _, message),) = findings_of(f"steps: [{{{step.format(value)}}}]")
    assert message.endswith(f"and is '{value}'; write {seconds}")


@pytest.mark.parametrize("page", ["reference/playbook-language", "how-to/write-a-playbook", "how-to/test-a-playbook"])
def test_a_documented_playbook_has_no_finding(page: str, tmp_path: Path) -> None:
    blocks = [block for block in read_blocks(ROOT / "docs" / f"{page}.md") if block.language == "yaml"]
    for block in blocks:
        (tmp_path / str(block.file)).write_text(block.text)
    names = [path for path in tmp_path.iterdir() if not path.name.endswith(".test.yaml")]
    assert names
    assert {path.name: findings(str(path)) for path in names} == {path.name: [] for path in names}
