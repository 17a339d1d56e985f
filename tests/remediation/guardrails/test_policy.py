"""A policy is read in full or refused in full, and no spelling of an address evades it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.objects.job import Reach
from core.addresses import AddressSet
from core.errors import PolicyUnusable
from core.strict_yaml import MAX_BYTES, YamlRefused, read
from remediation.guardrails.approvals.keys import public_keys
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.policy import NO_POLICY, Policy
from remediation.guardrails.policy.rules import ApprovalRule, Approver, Budget, DeleteRule, Rule

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "policy.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
KEYS = [approver["public_key"] for approver in DOCUMENT["approvers"]]


@pytest.fixture
def problems_of(tmp_path: Path) -> Any:
    """Return a function that maps the pointer of each problem in a policy text to its message."""

    def problems(text: str | bytes) -> dict[str, str]:
        path = tmp_path / "policy.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(PolicyUnusable) as caught:
            load_policy(str(path))
        assert caught.value.exit_code == 3
        return {problem["pointer"]: problem["message"] for problem in caught.value.problems}

    return problems


def policy_text(**fields: Any) -> str:
    return yaml.safe_dump({"policy": 1, **fields})


class TestReading:
    def test_the_example_policy_loads_and_its_keys_are_valid(self) -> None:
        policy = load_policy(str(EXAMPLE))
        assert policy == Policy.model_validate(DOCUMENT)
        assert list(public_keys(policy)) == ["bob", "carol@corp.example"]

    @pytest.mark.parametrize(
        ("delete", "pointer"),
        [
            ("allowed", "/delete"), ({}, "/delete"), ([], "/delete"), (None, "/delete"), (False, "/delete"),
            ({"evidence": "none"}, "/delete/evidence"), ({"evidence": None}, "/delete/evidence"),
            ({"refused": False}, "/delete/refused"),
            ({"evidence": "signed", "refused": True}, "/delete"), ({"evidnce": "signed"}, "/delete/evidnce"),
            ({"evidence": "required", "public_key": KEYS[0]}, "/delete"),
            ({"evidence": "signed", "public_key": "none"}, "/delete/public_key"),
        ],
    )  # fmt: skip
    def test_an_invalid_delete_rule_is_refused(self, delete: Any, pointer: str, problems_of: Any) -> None:
        assert pointer in problems_of(policy_text(delete=delete))

    def test_the_example_and_the_reference_page_show_every_field(self) -> None:
        page = (ROOT / "docs" / "reference" / "policy.md").read_text()
        for model in (Policy, Rule, ApprovalRule, Approver, Budget, DeleteRule):
            for name, field in model.model_fields.items():
                assert f"`{name}`" in page
                assert field.description
        assert set(DOCUMENT) == set(Policy.model_fields)

    def test_the_smallest_policy_allows_everything(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text("\ufeffpolicy: 1\n")
        assert load_policy(str(path)) == NO_POLICY

    @pytest.mark.parametrize("name", Policy.model_fields)
    def test_a_misspelled_key_is_refused_with_a_suggestion(self, name: str, problems_of: Any) -> None:
        wrong = name[:-1] + "x"
        assert problems_of(policy_text(**{wrong: DOCUMENT[name]}))[f"/{wrong}"].endswith(f"did you mean '{name}'?")

    @pytest.mark.parametrize(
        ("within", "model"),
        [("plan_needed", Rule), ("approval_needed", ApprovalRule), ("approvers", Approver), ("budgets", Budget)],
    )
    def test_a_misspelled_key_in_a_list_is_refused_with_a_suggestion(
        self, within: str, model: type[Rule], problems_of: Any
    ) -> None:
        for name in model.model_fields:
            wrong = name + "s"
            problems = problems_of(policy_text(**{within: [{wrong: 1}]}))
            assert problems[f"/{within}/0/{wrong}"].endswith(f"did you mean '{name}'?")

    @pytest.mark.parametrize("value", ["text", True, -1, 1.5, [1], {"a": 1}, "7"])
    @pytest.mark.parametrize("name", ["max_messages", "max_recipients"])
    def test_a_limit_is_a_whole_number(self, name: str, value: Any, problems_of: Any) -> None:
        assert problems_of(policy_text(**{name: value})).keys() == {f"/{name}"}

    @pytest.mark.parametrize(
        ("field", "pointer"),
        [
            ({"policy": 2}, "/policy"),
            ({"policy": "1"}, "/policy"),
            ({"policy": True}, "/policy"),
            ({"policy": 1.0}, "/policy"),
            ({"max_drift_percent": -1}, "/max_drift_percent"),
            ({"max_drift_percent": "10"}, "/max_drift_percent"),
            ({"approval_hours": 0}, "/approval_hours"),
            ({"approval_hours": 721}, "/approval_hours"),
            ({"destinations": "Inbox"}, "/destinations"),
            ({"destinations": ["Junk"]}, "/destinations/0"),
            ({"protected_recipients": ["ceo"]}, "/protected_recipients/0"),
            ({"protected_recipients": ["*.corp.example"]}, "/protected_recipients/0"),
            ({"protected_senders": ["@corp.example"]}, "/protected_senders/0"),
            ({"protected_senders": ["corp.example, other.example"]}, "/protected_senders/0"),
            ({"protected_senders": [5]}, "/protected_senders/0"),
            ({"plan_needed": {"actions": ["MOVE"]}}, "/plan_needed"),
            ({"plan_needed": ["always"]}, "/plan_needed/0"),
            ({"plan_needed": [{"actions": []}]}, "/plan_needed/0/actions"),
            ({"plan_needed": [{"actions": ["DELETE"]}]}, "/plan_needed/0/actions/0"),
            ({"plan_needed": [{"actions": ["RELEASE"], "destinations": ["JunkEmail"]}]}, "/plan_needed/0"),
            ({"plan_needed": [{"delivers": False, "actions": ["RELEASE"]}]}, "/plan_needed/0"),
            ({"plan_needed": [{"delivers": True, "destinations": ["JunkEmail"]}]}, "/plan_needed/0"),
            ({"plan_needed": [{"delivers": "yes"}]}, "/plan_needed/0/delivers"),
            ({"own_domains": ["@corp.example"]}, "/own_domains/0"),
            ({"overrides": ["allow_all"]}, "/overrides/0"),
            ({"budgets": [{"hours": 24}]}, "/budgets/0"),
            ({"budgets": [{"hours": 0, "jobs": 1}]}, "/budgets/0/hours"),
            ({"budgets": [{"hours": 721, "jobs": 1}]}, "/budgets/0/hours"),
            ({"budgets": [{"hours": 1, "jobs": -1}]}, "/budgets/0/jobs"),
            ({"budgets": [{"hours": 1, "jobs": 1, "per": ["sender"]}]}, "/budgets/0/per/0"),
            ({"reason_needed": "yes"}, "/reason_needed"),
            ({"observe": 1}, "/observe"),
            ({"approval_needed": [{"approvals": 6}]}, "/approval_needed/0/approvals"),
            ({"approval_needed": [{"approvals": 0}]}, "/approval_needed/0/approvals"),
            ({"approval_needed": [{}]}, "/approval_needed/0/approvals"),
            ({"approvers": [{"name": "bob"}]}, "/approvers/0/public_key"),
            ({"approvers": [{"name": "bob smith", "public_key": KEYS[0]}]}, "/approvers/0/name"),
            ({"approvers": [{"name": "bob", "public_key": "ssh-ed25519 AAAA"}]}, "/approvers/0/public_key"),
            ({"approvers": [{"name": "bob", "public_key": KEYS[0] + KEYS[1]}]}, "/approvers/0/public_key"),
        ],
    )
    def test_an_invalid_value_is_reported_by_its_pointer(
        self, field: dict[str, Any], pointer: str, problems_of: Any
    ) -> None:
        assert problems_of(policy_text(**field)).keys() == {pointer}

    @pytest.mark.parametrize("key", ["protected_recipients", "protected_senders", "own_domains"])
    @pytest.mark.parametrize(
        ("entry", "named"),
        [
            ("\u200eceo@corp.example", "U+200E LEFT-TO-RIGHT MARK"),
            ("\ufeffcorp.example", "U+FEFF ZERO WIDTH NO-BREAK SPACE (byte order mark)"),
            ("\u202aceo@corp.example\u202c", "U+202A LEFT-TO-RIGHT EMBEDDING"),
            ("ceo\u200b@corp.example", "U+200B ZERO WIDTH SPACE"),
            ("corp\u00ad.example", "U+00AD SOFT HYPHEN"),
            ("mailto:ceo@corp.example", "U+003A COLON"),
            ("ceo%40corp.example", "U+0025 PERCENT SIGN"),
            (" corp.example", "U+0020 SPACE"),
            ("corp.example\ufe0f", "U+FE0F VARIATION SELECTOR-16"),
        ],
    )
    def test_an_entry_that_would_protect_nobody_is_refused_with_its_character(
        self, key: str, entry: str, named: str, problems_of: Any
    ) -> None:
        found = problems_of(policy_text(**{key: ["good.example", entry]}))
        assert found.keys() == {f"/{key}/1"}
        assert named in found[f"/{key}/1"]

    def test_an_address_is_refused_as_an_own_domain(self, problems_of: Any) -> None:
        assert "U+0040 COMMERCIAL AT" in problems_of(policy_text(own_domains=["ceo@corp.example"]))["/own_domains/0"]

    def test_every_problem_is_reported_at_once(self, problems_of: Any) -> None:
        assert problems_of("max_messages: -1\ndestination: []\n").keys() == {"/policy", "/max_messages", "/destination"}
        assert len(problems_of(policy_text(protected_senders=["x"] * 2000))) <= 51

    def test_the_same_approver_twice_is_refused(self, problems_of: Any) -> None:
        twice = [{"name": "bob", "public_key": KEYS[0]}, {"name": "BOB", "public_key": KEYS[0].replace("\n", "\n\n")}]
        assert problems_of(policy_text(approvers=twice)).keys() == {"/approvers/1/name", "/approvers/1/public_key"}

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("bob", "bob+x"),
            ("bob", "bob@corp.example"),
            ("BOB@corp.example", "bob+case@Corp.Example"),
            ("bob%40corp.example", "bob@corp.example"),
            ("bob@corp.example", "bob@corp.example."),
        ],
    )
    def test_two_spellings_of_one_approver_are_refused(self, first: str, second: str, problems_of: Any) -> None:
        both = [{"name": first, "public_key": KEYS[0]}, {"name": second, "public_key": KEYS[1]}]
        assert problems_of(policy_text(approvers=both)).keys() == {"/approvers/1/name"}

    def test_the_same_login_in_two_domains_gives_two_approvers(self) -> None:
        names = ("bob@corp.example", "bob@partner.example")
        both = [{"name": name, "public_key": key} for name, key in zip(names, KEYS, strict=True)]
        assert len(Policy.model_validate({"policy": 1, "approvers": both}).approvers) == 2

    @pytest.mark.parametrize("name", ["bob", "BOB", "bob+soar", "bob@corp.example"])
    def test_a_service_account_is_refused_as_an_approver(self, name: str, problems_of: Any) -> None:
        approvers = [{"name": "bob", "public_key": KEYS[0]}]
        problems = problems_of(policy_text(approvers=approvers, service_accounts=[name]))
        assert problems == {"/approvers/0/name": "is a service account: only a person can approve"}

    @pytest.mark.parametrize(
        ("groups", "one_from", "expected"),
        [
            ([["legal"], ["security"]], ["legal", "security"], None),
            ([["legal", "security"], ["legal"]], ["legal", "security"], None),
            ([["legal", "security"], ["legal"]], ["security", "legal"], None),
            ([["legal", "security"], []], ["legal", "security"], "left for security"),
            ([["legal"], ["legal"]], ["security"], "left for security"),
            ([["legal"], ["legal"]], ["legal", "legal"], "names a group twice"),
            ([["Legal"], []], ["legal"], "left for legal"),
        ],
    )
    def test_a_rule_whose_groups_can_never_be_matched_is_refused(
        self, groups: list[list[str]], one_from: list[str], expected: str | None, problems_of: Any
    ) -> None:
        approvers = [
            {"name": name, "public_key": key, "groups": of}
            for name, key, of in zip(("bob", "carol"), KEYS, groups, strict=True)
        ]
        fields = {"approvers": approvers, "approval_needed": [{"one_from": one_from}]}
        if expected is None:
            reach = Reach("MOVE", None, 1, 1)
            assert Policy.model_validate({"policy": 1, **fields}).approvals_needed(reach) == len(one_from)
        else:
            found = problems_of(policy_text(**fields))
            assert found.keys() == {"/approval_needed/0/one_from"}
            assert expected in found["/approval_needed/0/one_from"]

    @pytest.mark.parametrize(
        ("field", "pointer"),
        [
            ({"approval_needed": [{"one_from": []}]}, "/approval_needed/0/one_from"),
            ({"approval_needed": [{"one_from": ["a b"]}]}, "/approval_needed/0/one_from/0"),
            ({"approvers": [{"name": "b", "public_key": KEYS[0], "groups": ["a,b"]}]}, "/approvers/0/groups/0"),
            ({"service_accounts": ["a b"]}, "/service_accounts/0"),
        ],
    )
    def test_an_invalid_group_or_account_name_is_refused(self, field: Any, pointer: str, problems_of: Any) -> None:
        assert problems_of(policy_text(**field)).keys() == {pointer}

    def test_a_rule_that_needs_more_approvals_than_approvers_is_refused(self, problems_of: Any) -> None:
        text = policy_text(approvers=DOCUMENT["approvers"], approval_needed=[{"approvals": 2}, {"approvals": 3}])
        assert problems_of(text) == {
            "/approval_needed/1/approvals": "needs 3 approvals, and the policy names 2 approvers"
        }

    def test_a_private_key_is_refused_and_not_quoted(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHNlY3JldHNlY3JldA==\n-----END PRIVATE KEY-----\n"
        path.write_text(policy_text(approvers=[{"name": "bob", "public_key": pem}]))
        with pytest.raises(PolicyUnusable) as caught:
            load_policy(str(path))
        assert "is a private key" in caught.value.message
        assert "MC4C" not in str(caught.value.document())


class TestHostileText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "is empty"),
            ("# nothing\n", "is empty"),
            ("---\n...\n", "is empty"),
            ("null", "is empty"),
            ("policy: 1\npolicy: 1\n", "duplicate key"),
            ("policy: 1\nplan_needed: [{actions: [MOVE], actions: [RELEASE]}]", "duplicate key"),
            ("a: &a [1]\nb: *a\n", "anchors"),
            ("policy: &one 1\n", "anchors"),
            ("&k policy: 1\n", "anchors"),
            ("policy: !!int 1\n", "tags"),
            ("!!python/object/apply:os.system ['true']", "tags"),
            ("policy: 1\n---\npolicy: 1\n", "more than one document"),
            ("[" * 100_000, "nested deeper"),
            ("- " * 10_000, "nested deeper"),
            ("{" * 10_000, "a key must be text"),
            ("? [a]\n: 1\n", "a key must be text"),
            ("policy: 1\0", "has NUL"),
            ('"\\UFFFFFFFF"', "out of range"),
            ('"\\U00110000"', "out of range"),
            ("%YAML " + "1" * 5000 + ".1\n---\n", "out of range"),
            ("policy: [1", "not valid YAML"),
            ("\tpolicy: 1", "not valid YAML"),
            ("just text", "must be a map"),
            ("- policy: 1", "must be a map"),
        ],
    )
    def test_hostile_text_is_refused_with_a_reason(self, text: str, expected: str, problems_of: Any) -> None:
        [message] = problems_of(text).values()
        assert expected in message

    def test_a_billion_laughs_attack_is_refused_quickly(self, problems_of: Any) -> None:
        lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
        started = time.monotonic()
        assert "anchors" in str(problems_of("\n".join(lines)))
        assert time.monotonic() - started < 5

    def test_a_merge_key_is_refused_as_an_unknown_key(self, problems_of: Any) -> None:
        assert "/<<" in problems_of("policy: 1\n<<: {max_messages: 5}\n")

    @pytest.mark.parametrize("text", ["no", "0777", "12:30", "1_000", "0x10", ".inf", ".nan", "1e9", "2026-11-20"])
    def test_values_that_yaml_would_convert_stay_text(self, text: str, problems_of: Any) -> None:
        assert read(f"a: {text}").data == {"a": text}
        assert problems_of(f"policy: 1\nmax_messages: {text}\n").keys() == {"/max_messages"}

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"policy: 1 # \xff", "is not UTF-8 text"),
            ("policy: 1".encode("utf-16"), "is not UTF-8 text"),
            (b"# " + b"x" * MAX_BYTES, "is larger than 256 KiB"),
        ],
    )
    def test_a_file_that_is_too_large_or_not_utf8_is_refused(self, data: bytes, expected: str, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_bytes(data)
        with pytest.raises(PolicyUnusable, match=expected):
            load_policy(str(path))

    @pytest.mark.parametrize("path", ["missing.yaml", ".", "a\0b", "x" * 5000, "/dev/zero", "\ud800"])
    def test_an_unreadable_path_is_refused(self, path: str, tmp_path: Path) -> None:
        with pytest.raises(PolicyUnusable) as caught:
            load_policy(path if path.startswith("/") else f"{tmp_path}/{path}")
        assert "\0" not in caught.value.message
        assert "policy check" in caught.value.help

    @given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t\\U0~<=.1é\u2028\ud800"), max_size=40))
    def test_any_text_is_read_or_refused_with_a_printable_reason(self, text: str) -> None:
        try:
            read(text)
        except YamlRefused as error:
            assert error.message.isprintable()

    @pytest.mark.parametrize("key", ["\x1b[31mred", "a\nb", "\u202eevil", "a/b~c", "x" * 10_000, "<<"])
    def test_a_hostile_key_is_reported_in_printable_text(self, key: str, problems_of: Any) -> None:
        found = problems_of(policy_text(**{key: 1}))
        assert len(found) == 1
        for text in (*found, *found.values()):
            assert text.isprintable()
            assert len(text) <= 500


def policy(**fields: Any) -> Policy:
    return Policy.model_validate({"policy": 1, **fields})


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "applies", "does_not"),
        [
            ({}, [("MOVE", "Inbox", 0, 0), ("RELEASE", None, None, None)], []),
            # A MOVE to Inbox delivers, as a RELEASE does.
            (
                {"actions": ["RELEASE"]},
                [("RELEASE", None, 1, 1), ("MOVE", "Inbox", 1, 1), ("MOVE", None, 1, 1)],
                [("MOVE", "JunkEmail", None, None)],
            ),
            (
                {"delivers": True},
                [("RELEASE", None, 1, 1), ("MOVE", "Inbox", 1, 1)],
                [("MOVE", "DeletedItems", None, None)],
            ),
            (
                {"delivers": False},
                [("MOVE", "DeletedItems", 1, 1)],
                [("RELEASE", None, None, None), ("MOVE", "Inbox", None, None)],
            ),
            ({"actions": ["MOVE"], "delivers": True}, [("MOVE", "Inbox", 1, 1)], [("RELEASE", None, None, None)]),
            (
                {"destinations": ["JunkEmail"]},
                [("MOVE", "JunkEmail", 1, 1), ("MOVE", None, 1, 1)],
                [("MOVE", "Inbox", None, None), ("RELEASE", None, None, None)],
            ),
            (
                {"more_than_messages": 10},
                [("MOVE", "Inbox", 11, 1), ("MOVE", "Inbox", None, 1)],
                [("MOVE", "Inbox", 10, 99)],
            ),
            (
                {"more_than_messages": 10, "more_than_recipients": 5},
                [("MOVE", "Inbox", 11, 6), ("MOVE", "Inbox", None, None)],
                [("MOVE", "Inbox", 11, 5), ("MOVE", "Inbox", 10, None)],
            ),
        ],
    )
    def test_a_rule_needs_all_its_conditions_and_an_unknown_count_exceeds_any_limit(
        self, rule: dict[str, Any], applies: list[Any], does_not: list[Any]
    ) -> None:
        tested_policy = policy(plan_needed=[rule])
        assert [tested_policy.needs_plan(Reach(*case)) for case in applies] == [True] * len(applies)
        assert [tested_policy.needs_plan(Reach(*case)) for case in does_not] == [False] * len(does_not)

    def test_the_rule_with_the_most_approvals_applies(self) -> None:
        tested_policy = load_policy(str(EXAMPLE))
        assert tested_policy.approvals_needed(Reach("MOVE", "JunkEmail", 1000, 1)) == 0
        assert tested_policy.approvals_needed(Reach("MOVE", "JunkEmail", 1001, 1)) == 1
        assert tested_policy.approvals_needed(Reach("MOVE", "RecoverableItemsDeletions", 5000, 1)) == 2
        assert tested_policy.approvals_needed(Reach("RELEASE", None, None, None)) == 1

    def test_an_empty_destination_list_allows_none_and_no_list_allows_all(self) -> None:
        assert NO_POLICY.allows_destination("RecoverableItemsPurges")
        assert not policy(destinations=[]).allows_destination("Inbox")
        assert not load_policy(str(EXAMPLE)).allows_destination("RecoverableItemsPurges")

    def test_a_policy_reports_whether_it_needs_a_message_count(self) -> None:
        assert not NO_POLICY.counts
        assert not policy(destinations=[], plan_needed=[{}]).counts
        for field in (
            {"max_messages": 5},
            {"protected_senders": ["a.example"]},
            {"plan_needed": [{"more_than_recipients": 1}]},
        ):
            assert policy(**field).counts

    def test_a_loaded_policy_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError):
            setattr(policy(), "max_messages", 5)  # noqa: B010 -- mypy knows that it can't be done


class TestProtected:
    tested_policy = policy(
        protected_recipients=["corp.example", "CEO@board.example", "bücher.example", "straße.example"],
        protected_senders=["xn--bcher-kva.example"],
    )

    @pytest.mark.parametrize(
        "address",
        [
            "a@corp.example",
            "a@CORP.Example",
            "a@mail.corp.example",
            "a@corp.example.",
            " a@corp.example ",
            "A Name <a@corp.example>",
            "a@ｃorp.example",
            "a@corp。example",
            '"a@b"@corp.example',
            "corp.example",
            "ceo@board.example",
            "Ceo+tag@board.example.",
            "a@BÜCHER.example",
            "a@bu\u0308cher.example",
            "a@xn--bcher-kva.example",
            "a@XN--BCHER-KVA.example",
            "a@x.bücher.example",
            "a@strasse.example",
            "a@xn--strae-oqa.example",
        ],
    )
    def test_a_protected_address_is_recognized_in_every_spelling(self, address: str) -> None:
        assert self.tested_policy.protects_recipient(address)

    @pytest.mark.parametrize(
        "address",
        ["", "@", "a@notcorp.example", "a@corp.example.evil", "b@board.example", "board.example", "xceo@board.example",
         "a@corp", "corp.example@evil.example", "a@bucher.example"],
    )  # fmt: skip
    def test_other_addresses_are_not_protected(self, address: str) -> None:
        assert not self.tested_policy.protects_recipient(address)

    def test_protected_senders_and_recipients_are_separate_lists(self) -> None:
        assert self.tested_policy.protects_sender("a@bücher.example")
        assert not self.tested_policy.protects_sender("a@corp.example")
        assert not NO_POLICY.protects_sender("a@corp.example")

    @given(st.text(max_size=300))
    def test_any_text_is_checked_without_an_exception(self, text: str) -> None:
        assert self.tested_policy.protects_recipient(text) in (True, False)
        assert self.tested_policy.protects_recipient(f"a@{text}.corp.example")

    def test_a_huge_address_is_checked_quickly(self) -> None:
        started = time.monotonic()
        for hostile in ("a@" + "." * 1_000_000, "ü" * 1_000_000, "a@" + "ü." * 500_000, "<" * 1_000_000 + ">"):
            assert not self.tested_policy.protects_recipient(hostile)
        assert time.monotonic() - started < 5


def test_importing_a_policy_loads_neither_yaml_nor_cryptography() -> None:
    code = (
        "import sys, remediation.guardrails.approvals.approval, remediation.guardrails.policy.policy; "
        "from connectors.objects.job import Reach; "
        "remediation.guardrails.policy.policy.NO_POLICY.needs_plan(Reach('MOVE', None, 1, 1)); "
        "sys.exit(' '.join({'yaml', 'jwt', 'cryptography', 'difflib'} & set(sys.modules)) or 0)"
    )
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr


@pytest.mark.parametrize("key", list(Policy.model_fields))
def test_a_key_without_a_value_is_refused(key: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"policy: 1\n{key}:\n" if key != "policy" else "policy:\n")
    with pytest.raises(PolicyUnusable) as caught:
        load_policy(str(file))
    assert [problem["pointer"] for problem in caught.value.problems] == [f"/{key}"]


@pytest.mark.parametrize(
    "written", ["ceo@corp.example;", "ceo@corp.example (Boss)", "smtp:ceo@corp.example", "a, <ceo@corp.example>"]
)
def test_an_address_within_other_text_is_protected(written: str) -> None:
    assert AddressSet(["ceo@corp.example"]).covers(written)
    assert not AddressSet(["cfo@corp.example"]).covers(written)
