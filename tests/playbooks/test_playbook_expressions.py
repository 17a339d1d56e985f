"""Expressions keep the types of data, have helpful errors, and reach nothing outside their data."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbooks.language.data_environment import EvaluationFailed, Results
from playbooks.language.expressions import TemplateInvalid, compile_template
from playbooks.language.filters import FILTERS, file_name, instant

NAMES = frozenset({"inputs", "steps"})


def value(source: str, **inputs: Any) -> Any:
    return compile_template(source, NAMES).evaluate({"inputs": inputs, "steps": Results({}, {})})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ inputs.n }}", 3),
        ("{{ inputs.n }}\n", 3),
        (" {{ inputs.n }}", " 3"),
        ("{{ inputs.s }}", "123"),
        ("{{ inputs.t }}{{ inputs.n }}", "{{ 7*7 }}3"),
        ("{{ inputs.l + [1] }}", [1, 2, 1]),
        ("{{ inputs.m.items }}", "mine"),
        ("{{ inputs.m['keys'] }}", "keys"),
        ("{{ inputs.m.count if inputs.m.count is defined else 0 }}", 0),
        ("{{ inputs.m.get is defined }}", False),
        ("{{ inputs.l[0:1] }}", [1]),
        ("{{ inputs.l[-1] }}", 2),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ inputs.rows | map(attribute='a') | unique }}", [1, 2]),
        ("{{ inputs.rows | selectattr('a', 'equalto', 1) | list | length }}", 2),
        ("{{ inputs.rows | join(' ') }}", '{"a": 1} {"a": 1} {"a": 2}'),
        ("{{ {'a': 1} | keys }}", ["a"]),
        ("{{ {'a': 1} | items }}", [["a", 1]]),
        ("{{ inputs.n * 2 // 4 % 2 }}", 1),
        ("{{ true and not false }}", True),
        ("yes: {{ true }}, {{ 1.5 }}, {{ [1, 'é'] }}", 'yes: true, 1.5, [1, "\\u00e9"]'),
        ("{{ ' A@B.Example ' | trim | domain | lower }}", "b.example"),
        ("{{ 'abc' | truncate(1) }}", "…"),
        ("{{ {'a': 1, 'b': 1} | combine({'b': 2, 'c': 3}) }}", {"a": 1, "b": 2, "c": 3}),
        ("{{ ['a', 'b'] | last }}", "b"),
        ("{{ 12.5 | round }}", 13),
        ("{{ 12.34 | round(1, 'ceil') }}", 12.4),
        ("{{ 12.36 | round(1, 'floor') }}", 12.3),
        ("{{ inputs.none | default('x', true) }}", "x"),
        ("{{ (inputs.at | epoch) < ('2026-11-20T15:32:35.5Z' | epoch) }}", True),
        ("{{ inputs.at | shift(days=-7, hours=1, minutes=2) }}", "2026-11-13T16:34:35Z"),
    ],
)
def test_an_expression_keeps_the_type_of_its_data(source: str, expected: Any) -> None:
    data = {
        "n": 3,
        "s": "123",
        "t": "{{ 7*7 }}",
        "l": [1, 2],
        "none": None,
        "at": "2026-11-20T15:32:35Z",
        "m": {"items": "mine", "keys": "keys"},
        "rows": [{"a": 1}, {"a": 1}, {"a": 2}],
    }
    found = value(source, **data)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ ().__class__.__mro__ }}", "'__mro__' is not allowed"),
        ("{{ inputs['x'].__class__ }}", "'__class__' is not allowed"),
        ("{{ inputs.get('x') }}", "calls are not allowed; use a filter"),
        ("{{ range(9) }}", "calls are not allowed"),
        ("{% for x in inputs %}{% endfor %}", "statements {% … %} are not allowed"),
        ("{% set x = 1 %}", "statements {% … %} are not allowed"),
        ("{% include 'x' %}", "statements {% … %} are not allowed"),
        ("{{ 9 ** 9 ** 9 }}", "** is not allowed"),
        ("{{ 'a' ~ none }}", "~ is not allowed"),
        ("{{ input.x }}", "unknown name 'input'; did you mean 'inputs'?"),
        ("{{ self }}", "unknown name 'self'"),
        ("{{ steps.a-b }}", "Write a key with a dash as steps['a-b']"),
        ("{{ 1 | domian }}", "unknown filter 'domian'; did you mean 'domain'?"),
        ("{{ 1 | attr('x') }}", "unknown filter 'attr'"),
        ("{{ 1 | format(1) }}", "unknown filter 'format'"),
        ("{{ [] | map('domian') }}", "map(): unknown name 'domian'; did you mean 'domain'?"),
        ("{{ 1 is definde }}", "unknown test 'is definde'; did you mean 'defined'?"),
        ("{{ 1 | shift(day=1) }}", "filter 'shift': got an unexpected keyword argument 'day'"),
        ("{{ 1 | shift(*inputs.x) }}", "* and ** are not allowed in a filter's arguments"),
        ("{{ 1", "not a valid expression"),
        ("{{ 1 + }}", "not a valid expression"),
        ("{{ }}", "not a valid expression"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deeply"),
        ("{{ " + "not " * 3000 + "1 }}", "nested too deeply"),
        ("{{ '" + "a" * 20_000 + "' }}", "longer than 20000 characters"),
    ],
)
def test_a_forbidden_expression_is_refused_at_load(source: str, message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        compile_template(source, NAMES)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ inputs.Fron }}", "there is no key 'Fron'; did you mean 'From'?"),
        ("{{ inputs.x.y }}", "there is no key 'x'"),
        ("x{{ inputs.x }}", "there is no key 'x'"),
        ("{{ [inputs.x] }}", "Undefined is not a JSON type"),
        ("{{ inputs.none.a }}", "in a value of type null"),
        ("{{ inputs.From.upper }}", "in a value of type str"),
        ("{{ inputs.list[5] }}", "there is no item 5; the length is 1"),
        ("{{ [] | first }}", "No first item"),
        ("a{{ inputs.none }}", "the value is null and can't be part of a text"),
        ("{{ 'a' + inputs.none }}", "can only concatenate"),
        ("{{ 'a' * 999999999 }}", "* takes numbers"),
        ("{{ '%0999999999d' % 1 }}", "% takes numbers"),
        ("{{ inputs.big * inputs.big }}", "too large"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1e308 * 10 }}", "not a JSON number"),
        ("{{ none | lower }}", "null is not text"),
        ("{{ inputs.none | domain }}", "null is not text"),
        ("{{ inputs.x | domain }}", "there is no key 'x'"),
        ("{{ 'abc' | counted('row') }}", "'abc' is not a whole number"),
        ("{{ 1.5 | counted('row') }}", "1.5 is not a whole number"),
        ("{{ true | counted('row') }}", "true is not a whole number"),
        ("{{ 1 | round(999999999, 'ceil') }}", "takes 0 to 12 digits"),
        ("{{ 1 | round(1, 'up') }}", "method must be common, ceil or floor"),
        ("{{ 'abc' | unique }}", "'abc' is not a list"),
        ("{{ [1] | keys }}", "[1] is not a map"),
        ("{{ [inputs.long, inputs.long] | join }}", "longer than"),
        ("{{ inputs.long }}{{ inputs.long }}", "longer than"),
        ("{{ ['b', 1] | sort }}", "not supported between"),
        ("{{ '2026-11-20T15:32:35' | instant }}", "must have a time of day and a time zone"),
        ("{{ '2026-13-20T15:32:35Z' | instant }}", "not a date that exists"),
        ("{{ 'yesterday' | instant }}", "must be an RFC 3339 date-time"),
        ("{{ 12 | instant }}", "must count s, ms, µs or ns"),
        ("{{ [] | instant }}", "not list"),
        ("{{ '2026-11-20T15:32:35Z' | shift(days=9999999) }}", "beyond the years"),
        ("{{ '2026-11-20T15:32:35Z' | shift(days='1') }}", "unsupported type"),
    ],
)
def test_unsuitable_data_is_an_error_with_a_reason_in_its_message(source: str, message: str) -> None:
    data = {"From": "a@b.example", "none": None, "list": [1], "big": 2**600, "long": "a" * 600_000}
    with pytest.raises(EvaluationFailed) as caught:
        value(source, **data)
    assert message in str(caught.value)


@pytest.mark.parametrize("timestamp", [1763652755, 1763652755000, 1763652755000000, 1763652755000000000, "1763652755"])
def test_an_instant_is_read_from_every_logpush_format(timestamp: Any) -> None:
    assert instant(timestamp) == "2025-11-20T15:32:35Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T15:32:35Z", "2026-11-20T15:32:35Z"),
        ("2026-11-20t16:32:35+01:00", "2026-11-20T15:32:35Z"),
        ("2026-11-20 15:32:35.120z", "2026-11-20T15:32:35.12Z"),
        ("2026-11-20T15:32:35.123456789Z", "2026-11-20T15:32:35.123456Z"),
        ("2026-11-20T15:32:30.000Z", "2026-11-20T15:32:30Z"),
    ],
)
def test_an_instant_is_written_in_utc(text: str, expected: str) -> None:
    assert instant(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "@b.example", "a@", "a@b", "a@b..example", "a@-b.example", "a b@c.example", "x@a@b.example",
     "a@[10.0.0.1]", "a@b.exam ple", "a@b.example/x"],
)  # fmt: skip
def test_a_text_that_is_not_an_address_has_no_domain(text: str) -> None:
    with pytest.raises(EvaluationFailed, match="is not an email address"):
        value("{{ inputs.a | domain }}", a=text)


def test_two_addresses_have_no_single_domain() -> None:
    with pytest.raises(EvaluationFailed, match="has 2 addresses instead of one"):
        value("{{ inputs.a | domain }}", a="a@b.example, c@d.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bill@Shop.Example", "shop.example"),
        ('"a@b c"@d.example', "d.example"),
        ("a@MÜNCHEN.example.", "xn--mnchen-3ya.example"),
        ("Bill <Bill@Shop.Example>", "shop.example"),
    ],
)
def test_the_domain_of_an_address_is_in_lower_case(text: str, expected: str) -> None:
    assert value("{{ inputs.a | domain }}", a=text) == expected


@pytest.mark.parametrize(("number", "text"), [(1, "1 message was"), (1200, "1,200 messages were")])
def test_counted_writes_the_unit_in_singular_or_plural(number: int, text: str) -> None:
    assert value("{{ inputs.n | counted('message was', 'messages were') }}", n=number) == text


@given(st.text())
def test_a_file_name_is_safe_for_any_text(text: str) -> None:
    name = file_name(text)
    assert 0 < len(name) <= 80
    assert name.isascii()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert name[0] not in ".-"
    assert file_name(name) == name


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "CON", "nul.txt", ".hidden", "-rf", "", "a" * 300, "a\x00b", "x."]
)
def test_a_changed_file_name_has_a_hash_suffix(text: str) -> None:
    assert file_name(text) != text
    assert file_name(text)[-9] == "-"


FILTERS_WITH_ARGUMENTS = {"combine", "counted", "related", "has_criteria"}
FILTER_TEMPLATES = [
    compile_template(f"{{{{ inputs.v | {name} }}}}", NAMES) for name in FILTERS if name not in FILTERS_WITH_ARGUMENTS
]
FILTER_TEMPLATES += [
    compile_template(f"{{{{ inputs.v | {call} }}}}", NAMES)
    for call in (
        "counted(inputs.v)",
        "related(inputs.v)",
        "combine(inputs.v)",
        "has_criteria(inputs.v)",
    )
]


@settings(deadline=None)
@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), st.lists, max_leaves=4))
def test_a_filter_raises_only_evaluation_failed(data: Any) -> None:
    for template in FILTER_TEMPLATES:
        try:
            found = template.evaluate({"inputs": {"v": data}, "steps": Results({}, {})})
        except EvaluationFailed:
            continue
        assert not (isinstance(found, float) and not math.isfinite(found))
