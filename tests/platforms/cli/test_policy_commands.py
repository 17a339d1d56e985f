"""`cfes policy init`, `cfes policy check` and `cfes approve`."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from actions.shapes.example_plan import EXAMPLE_PLAN
from core.errors import ApprovalRefused
from platforms.cli.commands import approve as approve_command
from remediation.guardrails.approvals.approval import verify_approvals
from remediation.guardrails.approvals.token import ApprovalTerms
from remediation.guardrails.change import Change, plan_hash
from remediation.guardrails.plans.plan import new_plan, read_plan
from remediation.guardrails.plans.seal import seal_plan
from remediation.guardrails.policy.document import policy_hash
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.policy import Policy
from tests.clock import FakeClock
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.remediation.guardrails.test_approval import BOB, CAROL, EVE, POLICY, private_pem, public_pem

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "policy.yaml"
PLAN = dict(EXAMPLE_PLAN)
IDS = ["4WtWkr6nlBz9sNH-1", "4WtWkr6nlBz9sNH-2"]
DRY_RUN = {
    "dry_run": True,
    "plan_hash": plan_hash(PLAN["account_id"], Change("MOVE", "JunkEmail"), IDS),
    "account_id": PLAN["account_id"],
    "action": "MOVE",
    "destination": "JunkEmail",
    "messages": 2,
    "recipients": None,
    "requested_by": "dana@corp.example",
    "requester_proved": True,
    "by_sender": {"billing@invoice-portal.example": 2},
    "sample": [{"subject": "Overdue", "from": "billing@invoice-portal.example", "recipients": ["x@corp.example"]}],
    "warnings": ["look at it"],
    "results": [],
}
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\u202e]")

Approve = Callable[..., CommandResult]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(approve_command, "SystemClock", lambda: fake)
    return fake


@pytest.fixture
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of CFES_POLICY: bob and carol approve, for two hours at most."""
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(POLICY.model_dump(mode="json", exclude_defaults=True)))
    monkeypatch.setenv("CFES_POLICY", str(path))
    return path


@pytest.fixture
def bob(tmp_path: Path) -> str:
    return _key_file(tmp_path / "bob.pem", BOB)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """A function that sets the typed answer; without it there is no terminal."""

    def set_answer(answer: str | None) -> None:
        monkeypatch.setattr(approve_command, "typed_answer", lambda: answer)
        monkeypatch.setattr(approve_command, "can_answer", lambda: answer is not None)

    set_answer(None)
    return set_answer


def _key_file(path: Path, key: Any, mode: int = 0o600) -> str:
    path.write_bytes(private_pem(key))
    path.chmod(mode)
    return str(path)


def _accepted(ended: CommandResult, clock: FakeClock, plan: Any = PLAN, policy: Policy = POLICY) -> list[str]:
    return verify_approvals(
        [ended.document["approval"]],
        ApprovalTerms(
            policy=policy,
            plan_hash=plan["plan_hash"],
            account_id=plan["account_id"],
            requesters=["dana@corp.example"],
            now=clock.now(),
        ),
    )


class TestPolicyInit:
    def test_init_writes_a_valid_policy_and_a_private_key_file(self, cfes: Cfes, tmp_path: Path) -> None:
        ended = cfes("policy", "init", str(tmp_path / "etc" / "cfes"))
        policy, key = tmp_path / "etc" / "cfes" / "policy.yaml", tmp_path / "etc" / "cfes" / "plan.key"
        assert ended.document["settings"] == {"CFES_POLICY": str(policy), "CFES_PLAN_KEY_FILE": str(key)}
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert re.fullmatch(r"[0-9a-f]{64}\n", key.read_text())
        assert key.read_text().strip() not in ended.out + ended.err
        assert cfes("policy", "check", str(policy)).code == 0
        other = cfes("policy", "init", str(tmp_path / "other"))
        assert Path(other.document["settings"]["CFES_PLAN_KEY_FILE"]).read_text() != key.read_text()

    @pytest.mark.parametrize("name", ["policy.yaml", "plan.key"])
    def test_init_overwrites_nothing(self, name: str, cfes: Cfes, tmp_path: Path) -> None:
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
        ended = cfes("policy", "init", str(tmp_path))
        assert (ended.code, sorted(path.name for path in tmp_path.iterdir())) == (2, [name])
        assert "Nothing was overwritten" in ended.error["help"]

    def test_init_warns_about_a_directory_that_others_can_write(self, cfes: Cfes, tmp_path: Path) -> None:
        (tmp_path / "shared").mkdir(mode=0o777)
        (tmp_path / "shared").chmod(0o777)
        assert "chmod" in cfes("policy", "init", str(tmp_path / "shared")).err
        assert "warning" not in cfes("policy", "init", str(tmp_path / "own")).err

    def test_a_policy_with_plans_but_no_plan_key_is_warned_about(
        self, cfes: Cfes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "CFES_PLAN_KEY is not set here" in cfes("policy", "check", str(EXAMPLE)).err
        monkeypatch.setenv("CFES_PLAN_KEY", "k" * 32)
        assert "CFES_PLAN_KEY" not in cfes("policy", "check", str(EXAMPLE)).err


class TestPolicyCheck:
    def test_a_good_policy_is_shown_as_json(self, cfes: Cfes) -> None:
        ended = cfes("policy", "check", str(EXAMPLE))
        assert ended.code == 0
        policy = load_policy(str(EXAMPLE))
        expected = {"file": str(EXAMPLE), "sha256": policy_hash(policy), "policy": policy.model_dump(mode="json")}
        assert ended.document == expected

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("", "max drift 10 %, and 0 % for RecoverableItemsDeletions and RecoverableItemsPurges"),
            ("max_drift_percent: 5", "max drift 5 %, and 0 % for RecoverableItemsDeletions"),
            ("max_drift_percent: 0", "max drift 0 %"),
            ("max_drift_percent: 50", "(the policy's 50 % has no effect: no plan allows more than 10 %)"),
        ],
    )
    def test_the_effective_drift_is_shown(self, setting: str, expected: str, cfes: Cfes, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(f"policy: 1\n{setting}\n")
        shown = " ".join(cfes("policy", "check", str(path), "--output", "table").out.split())
        assert expected in shown
        assert "no limit" not in shown.partition("drift at most")[2].partition("moves to")[0]

    def test_a_good_policy_is_shown_as_text_on_a_terminal(self, cfes: Cfes) -> None:
        expected = cfes("policy", "check", str(EXAMPLE), "--output", "table").out
        for words in (
            "5,000",
            "MOVE, RELEASE to RecoverableItemsDeletions: 2 approvals",
            "MOVE, RELEASE above 1,000 messages: 1 approval, one from each of security",
            "bob (security), carol@corp.example (security, legal)",
            "soar-runner",
            "up to 12 h",
        ):
            assert words in expected

    def test_the_policy_path_is_read_from_the_setting_or_its_file(
        self, cfes: Cfes, policy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cfes("policy", "check").document["file"] == str(policy_file)
        monkeypatch.delenv("CFES_POLICY")
        assert cfes("policy", "check").code == 2
        (tmp_path / "where").write_text(f"{policy_file}\n")
        monkeypatch.setenv("CFES_POLICY_FILE", str(tmp_path / "where"))
        assert cfes("policy", "check").document["file"] == str(policy_file)

    def test_problems_of_a_policy_have_pointers(self, cfes: Cfes, tmp_path: Path) -> None:
        (tmp_path / "bad.yaml").write_text("policy: 1\nmax_mesages: 5\nmax_recipients: many\n")
        ended = cfes("policy", "check", "bad.yaml", err=True)
        assert (ended.code, ended.error["type"]) == (3, "PolicyUnusable")
        assert {p["pointer"] for p in ended.error["problems"]} == {"/max_mesages", "/max_recipients"}
        assert "did you mean 'max_messages'?" in ended.err

    def test_one_problem_is_shown_with_the_file_and_the_key(self, cfes: Cfes, tmp_path: Path) -> None:
        (tmp_path / "bad.yaml").write_text("policy: 1\nmax_mesages: 5\n")
        shown = " ".join(cfes("policy", "check", "bad.yaml", err=True).err.split())
        assert "the policy 'bad.yaml' can't be used: /max_mesages: unknown key" in shown

    def test_a_key_that_is_not_an_ed25519_key_is_reported(self, cfes: Cfes, policy_file: Path) -> None:
        policy_file.write_text(policy_file.read_text().replace(public_pem(BOB).splitlines()[1], "A" * 60))
        ended = cfes("policy", "check")
        assert ended.code == 3
        assert [p["message"] for p in ended.error["problems"]] == ["is not an Ed25519 public key"]

    @pytest.mark.parametrize("name", ["missing.yaml", ".", "\x1b[31m"])
    def test_an_unreadable_policy_file_gives_no_traceback(self, name: str, cfes: Cfes) -> None:
        ended = cfes("policy", "check", name, err=True)
        assert ended.code == 3
        assert "\x1b[31m.yaml" not in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.usefixtures("answers", "policy_file")
class TestApprove:
    @pytest.fixture
    def approve(self, cfes: Cfes, bob: str) -> Approve:
        """A function that approves a document from a file."""

        def run(document: Any, *arguments: str, **streams: Any) -> CommandResult:
            text = document if isinstance(document, str) else json.dumps(document)
            Path("plan.json").write_text(text)
            return cfes(
                "approve", "plan.json", *(() if "--key" in arguments else ("--key", bob)), *arguments, **streams
            )

        return run

    @pytest.fixture(autouse=True)
    def _in_its_own_directory(self, cfes: Cfes) -> None:
        """The `cfes` fixture changes the directory before a test writes files."""

    def test_an_approval_is_accepted_within_its_lifetime(
        self, approve: Approve, answers: Any, clock: FakeClock
    ) -> None:
        answers("y\n")
        ended = approve(PLAN)
        assert ended.code == 0
        assert set(ended.document) == {"approval", "approver", "plan_hash", "expires_at"}
        assert (ended.document["approver"], ended.document["plan_hash"]) == ("bob", PLAN["plan_hash"])
        assert ended.document["expires_at"] == "2026-11-20T18:02:35Z", "no longer than the policy allows"
        assert _accepted(ended, clock) == ["bob"]
        clock.advance(7200 - 1)
        assert _accepted(ended, clock) == ["bob"]

    def test_the_plan_is_shown_before_the_question(self, approve: Approve, answers: Any) -> None:
        answers("y\n")
        plan = new_plan(
            {
                **PLAN,
                "warnings": ["the window is open"],
                "protected": ["ceo@corp.example"],
                "refusals": [{"type": "TooManyMessages", "message": "more than 5"}],
            }
        ).model_dump(mode="json")
        shown, _, _ = approve(plan).err.partition("Approve this plan? [y/N]")
        for fact in (
            "action: MOVE",
            "destination: JunkEmail",
            "messages: 420 (claim of the file)",
            "recipients: 418 (claim of the file)",
            "requested by: dana@corp.example (proved, as the file claims)",
            "search: sender: billing@invoice-portal.example",
            "approver: bob",
            "the file claims: the window is open",
            "the file claims: protected: ceo@corp.example",
            "the file claims: the job would be refused: TooManyMessages: more than 5",
            "the file claims: sender: billing@invoice-portal.example: 420",
            "THE SERVICE WAS NOT ASKED: CLOUDFLARE_API_TOKEN is not set",
            plan["plan_hash"],
        ):
            assert fact in shown

    @pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n", None])
    def test_nothing_is_signed_without_a_yes(self, approve: Approve, answers: Any, answer: str | None) -> None:
        answers(answer)
        ended = approve(PLAN)
        assert (ended.code, ended.error["type"]) == (3, "NotGiven")
        assert "Nothing was signed" in ended.error["help"]
        assert "eyJ" not in ended.out + ended.err

    def test_a_plan_from_standard_input_gives_a_one_line_token(self, cfes: Cfes, bob: str) -> None:
        ended = cfes("approve", "-", "--key", bob, "--yes", "--output", "table", typed=json.dumps(PLAN))
        assert ended.code == 0
        assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", ended.out.splitlines()[-1])

    def test_requesters_cannot_approve_their_own_plans(self, approve: Approve) -> None:
        plan = new_plan({**PLAN, "requested_by": "BOB"}).model_dump(mode="json")
        ended = approve(plan, "--yes")
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        assert "can't approve their own requests" in ended.error["message"]

    @pytest.mark.parametrize("name", ["bob", "bob+soar", "Bob@corp.example"])
    def test_requesters_in_another_spelling_cannot_approve_their_own_plans(self, approve: Approve, name: str) -> None:
        plan = new_plan({**PLAN, "requested_by": name}).model_dump(mode="json")
        assert "can't approve their own requests" in approve(plan, "--yes").error["message"]
        assert "can't approve their own requests" in approve({**DRY_RUN, "ids": IDS, "requested_by": name}, "--yes").out

    @pytest.mark.parametrize("name", ["dana@corp.example", None])
    def test_a_plan_without_a_proved_requester_is_not_signed(self, approve: Approve, name: str | None) -> None:
        expected = {"requested_by": name, "requester_proved": False}
        plan = new_plan({**PLAN, **expected}).model_dump(mode="json")
        older = {key: value for key, value in DRY_RUN.items() if key != "requester_proved"}
        for document in (plan, {**DRY_RUN, "ids": IDS, **expected}, {**older, "ids": IDS}):
            ended = approve(document, "--yes")
            assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
            assert "nothing proves who requested the plan" in ended.error["message"]
            assert "CFES_REQUESTED_BY" in ended.error["help"]

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"destination": "RecoverableItemsPurges", "max_drift": 0.0, "cancel_if_discovered_over": 420}, "undone"),
            ({"max_drift": 1000.0}, "allows a drift of 1000 percent, 10 percent"),
            ({"cancel_if_discovered_over": None}, "no discovery limit, the limit is 462 messages"),
            ({"cancel_if_discovered_over": 100_000}, "discovery limit is 100,000 messages, the limit is 462"),
        ],
    )
    def test_a_plan_edited_with_a_matching_hash_is_not_signed(
        self, approve: Approve, changed: dict[str, Any], expected: str
    ) -> None:
        plan = new_plan({**PLAN, **changed}).model_dump(mode="json")
        ended = approve(plan, "--yes")
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        assert expected in ended.error["message"]
        assert f"DIFFERENT: {ended.error['message'].partition('says: ')[2].split('; ')[0]}" in ended.err
        assert approve(plan, "--yes", "--accept-differences").document["approver"] == "bob"

    def test_a_plan_for_another_search_than_requested_is_never_signed(self, approve: Approve) -> None:
        for changed in (
            {"asked_search_params": {**PLAN["asked_search_params"], "sender": "nobody@nowhere.example"}},
            {"search_params": {**PLAN["search_params"], "end": "2026-11-20T17:00:00Z"}},
        ):
            plan = new_plan({**PLAN, **changed}).model_dump(mode="json")
            assert approve(plan, "--yes", "--accept-differences").error["type"] == "PlanRefused"

    def test_a_plan_without_counts_for_a_countable_search_is_not_signed(self, approve: Approve) -> None:
        nothing = dict.fromkeys(("messages", "distinct_messages", "recipients", "malicious"))
        ended = approve(new_plan({**PLAN, **nothing}).model_dump(mode="json"), "--yes", "--accept-differences")
        assert ended.error["type"] == "PlanRefused"

    def test_the_seal_is_checked_if_the_approver_has_the_plan_key(
        self, approve: Approve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, other = SecretStr("k" * 40), SecretStr("o" * 40)
        unsealed, sealed = PLAN, seal_plan(new_plan(PLAN), key).model_dump(mode="json")
        broken = seal_plan(new_plan(PLAN), other).model_dump(mode="json")
        assert "sealed: not checked: CFES_PLAN_KEY is not set here" in approve(sealed, "--yes").err
        assert "sealed: NO: not proved" in approve(unsealed, "--yes").err
        monkeypatch.setenv("CFES_PLAN_KEY", key.get_secret_value())
        ended = approve(sealed, "--yes")
        assert "sealed: yes" in ended.err
        assert "requested by: dana@corp.example (proved, and sealed with the plan)" in ended.err
        assert ended.code == 0
        assert "preview-job did not seal the plan" in approve(unsealed, "--yes").error["message"]
        assert approve(unsealed, "--yes", "--accept-differences").code == 0
        edited = {**new_plan({**PLAN, "messages": 419}).model_dump(mode="json"), "seal": sealed["seal"]}
        for document in (broken, edited):
            ended = approve(document, "--yes", "--accept-differences")
            assert (ended.code, ended.error["type"]) == (3, "PlanRefused")
            assert "seal" in ended.error["message"]
            assert key.get_secret_value() not in ended.out + ended.err

    def test_the_number_of_needed_approvals_comes_from_the_policy(
        self, approve: Approve, policy_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "policy requires: no approval" in approve(PLAN, "--yes").err
        text = policy_file.read_text()
        policy_file.write_text(text + "approval_needed: [{more_than_messages: 419, approvals: 2}]\n")
        assert "policy requires: 2 approvals" in approve(PLAN, "--yes").err
        assert "policy requires: no approval" in approve({**DRY_RUN, "ids": IDS, "recipients": 2}, "--yes").err
        monkeypatch.delenv("CFES_POLICY")
        assert "policy asks for" not in approve(PLAN, "--yes", "--as", "bob").err

    def test_a_plan_that_delivers_mail_is_marked(self, approve: Approve) -> None:
        plan = new_plan({**PLAN, "destination": "Inbox"}).model_dump(mode="json")
        assert "delivers mail: YES" in approve(plan, "--yes").err
        assert "delivers mail" not in approve(PLAN, "--yes").err

    def test_the_policy_limits_the_drift_of_a_plan(self, approve: Approve, policy_file: Path) -> None:
        policy_file.write_text(policy_file.read_text() + "max_drift_percent: 5\n")
        assert "5 percent is allowed" in approve(PLAN, "--yes").error["message"]

    def test_a_rejection_is_signed_and_refuses_the_plan(self, approve: Approve, clock: FakeClock, answers: Any) -> None:
        answers("y\n")
        ended = approve(PLAN, "--reject", "61 mailboxes, not 6")
        assert ended.code == 0
        assert set(ended.document) == {"rejection", "approver", "plan_hash", "expires_at", "reason"}
        assert (ended.document["approver"], ended.document["reason"]) == ("bob", "61 mailboxes, not 6")
        assert "Reject this plan? [y/N]" in ended.err
        with pytest.raises(ApprovalRefused, match=r"bob rejected plan .*: 61 mailboxes, not 6"):
            _accepted(CommandResult(0, json.dumps({"approval": ended.document["rejection"]}), ""), clock)

    def test_approvers_can_reject_plans_that_they_cannot_approve(self, approve: Approve) -> None:
        for changed in ({"requested_by": "bob"}, {"requester_proved": False}, {"max_drift": 1000.0}):
            plan = new_plan({**PLAN, **changed}).model_dump(mode="json")
            assert approve(plan, "--yes").code == 3
            assert "rejection" in approve(plan, "--yes", "--reject", "no").document

    def test_a_dry_run_can_be_rejected(self, approve: Approve) -> None:
        assert approve({**DRY_RUN, "ids": IDS}, "--yes", "--reject", "no").document["reason"] == "no"

    @pytest.mark.parametrize("reason", ["", " ", "a\nb", "\x1b[31m", "x" * 201, "\u202e"])
    def test_an_unprintable_or_empty_reason_is_refused(self, approve: Approve, reason: str) -> None:
        ended = approve(PLAN, "--yes", "--reject", reason)
        assert ended.code == 2
        assert "reason" in ended.error["message"]

    @pytest.mark.parametrize("answer", ["n\n", None])
    def test_nothing_is_rejected_without_a_yes(self, approve: Approve, answers: Any, answer: str | None) -> None:
        answers(answer)
        assert approve(PLAN, "--reject", "no").error["type"] == "NotGiven"

    def test_the_key_identifies_the_approver(self, approve: Approve, tmp_path: Path) -> None:
        carol, eve = _key_file(tmp_path / "carol.pem", CAROL), _key_file(tmp_path / "eve.pem", EVE)
        assert approve(PLAN, "--yes", "--key", carol).document["approver"] == "carol"
        assert approve(PLAN, "--yes", "--key", carol, "--as", "Carol").document["approver"] == "carol"
        assert "the key belongs to carol" in approve(PLAN, "--yes", "--key", carol, "--as", "bob").error["message"]
        assert "does not name" in approve(PLAN, "--yes", "--key", eve).error["message"]

    def test_the_approver_must_be_named_without_a_policy(
        self, approve: Approve, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CFES_POLICY")
        assert "--as NAME" in approve(PLAN, "--yes").error["help"]
        assert approve(PLAN, "--yes", "--as", "bob smith").code == 2
        ended = approve(PLAN, "--yes", "--as", "bob")
        assert ended.document["expires_at"] == "2026-11-21T00:02:35Z", "eight hours"
        long = POLICY.model_copy(update={"approval_hours": 8})
        assert _accepted(ended, clock, policy=long) == ["bob"]

    @pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "2.01", "1e300"])
    def test_hours_beyond_the_policy_are_refused(self, approve: Approve, hours: str) -> None:
        assert approve(PLAN, "--yes", "--hours", hours).code == 2
        assert approve(PLAN, "--yes", "--hours", "0.5").document["expires_at"] == "2026-11-20T16:32:35Z"

    def test_an_edited_plan_is_refused(self, approve: Approve) -> None:
        for edited in ({**PLAN, "messages": 4}, {**PLAN, "warnings": ["x"]}, {**PLAN, "requested_by": "alice"}):
            assert approve(edited, "--yes").error["type"] == "PlanRefused"

    def test_a_plan_with_missing_fields_is_not_read_as_a_dry_run(self, approve: Approve) -> None:
        for dropped in ("messages", "search_params", "asked_search_params", "previewed_at"):
            less = {key: value for key, value in PLAN.items() if key != dropped}
            assert approve(less, "--yes").error["type"] in ("ParameterError", "PlanRefused")
        bare = {key: value for key, value in PLAN.items() if key not in ("search_params", "previewed_at")}
        assert "can't be checked" in approve(bare, "--yes").error["message"]

    def test_an_expired_plan_is_refused(self, approve: Approve, clock: FakeClock) -> None:
        clock.advance(timedelta(hours=25).total_seconds())
        assert approve(PLAN, "--yes").error["type"] == "PlanRefused"

    def test_a_dry_run_is_approved_by_its_ids(self, approve: Approve, clock: FakeClock) -> None:
        ended = approve({**DRY_RUN, "ids": IDS}, "--yes")
        assert _accepted(ended, clock, DRY_RUN) == ["bob"]
        for words in (
            "recipients: not known (claim of the file)",
            "requested by: dana@corp.example (proved, as the file claims)",
            "the file claims: look at it",
            "the file claims: message: 'Overdue' from billing@invoice-portal.example to x@corp.example",
            "THE SERVICE WAS NOT ASKED",
        ):
            assert words in ended.err
        for changed in ({"ids": IDS[:1]}, {"destination": "Inbox"}, {"messages": 1}, {"account_id": "other"}):
            assert approve({**DRY_RUN, "ids": IDS, **changed}, "--yes").error["type"] == "PlanRefused"

    def test_a_dry_run_without_ids_is_refused(self, approve: Approve) -> None:
        assert "can't be checked" in approve(DRY_RUN, "--yes").error["message"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"plan_hash": "x"},
            {"plan_hash": "AB" * 32},
            {"plan_hash": None},
            {"account_id": "a/b"},
            {"action": ""},
            {"action": 5},
            {"messages": -1},
            {"messages": "2"},
            {"messages": True},
            {"destination": ["Inbox"]},
            {"requested_by": "a b"},
            {"ids": "x"},
            {"sample": ["x"]},
            {"by_sender": {"x": "y"}},
        ],
    )
    def test_an_invalid_dry_run_is_refused_with_a_pointer(self, approve: Approve, changed: dict[str, Any]) -> None:
        ended = approve({**DRY_RUN, **changed}, "--yes")
        assert ended.code == 2
        assert all(p["pointer"].startswith(f"/{name}") for p in ended.error["problems"] for name in changed)

    @pytest.mark.parametrize("text", ["", "[]", "{", "null", "{}", '{"a": 1, "a": 1}', "[" * 5000, "\x00"])
    def test_an_invalid_plan_is_refused(self, approve: Approve, text: str) -> None:
        assert approve(text, "--yes").code == 2

    def test_control_characters_in_a_plan_are_not_printed(self, approve: Approve) -> None:
        evil = "\x1b[2J\r\u202emessages: 1\nmessages: 1\x07"
        search = {"subject": "\u202emessages: 1"}
        message = {"subject": evil, "from": evil, "recipients": [evil], "final_disposition": evil}
        counts = {name: {evil: 1} for name in ("by_sender", "by_recipient_domain", "by_disposition")}
        changed = {
            "search_params": {**PLAN["search_params"], **search},
            "asked_search_params": {**PLAN["asked_search_params"], **search},
            "reversibility": {"reversible": True, "how": evil},
            "refusals": [{"type": evil, "message": evil}],
            "sample": [message],
            "warnings": [evil],
            "parity_notes": [evil],
            "protected": [evil],
            **counts,
        }
        plan = new_plan({**PLAN, **changed}).model_dump(mode="json")
        dry_run = {**DRY_RUN, "ids": IDS, "warnings": [evil], "sample": [message], **counts}
        for document in (plan, dry_run):
            ended = approve(document, "--yes")
            assert ended.code == 0
            assert not UNPRINTABLE.search(ended.err)
            assert "\nmessages: 1" not in ended.err
            watched = approve(document, "--yes", err=True)
            assert watched.code == 0
            assert "\x1b[2J" not in watched.err
            assert "\u202e" not in watched.err

    def test_a_plan_with_an_invalid_search_is_refused(self, approve: Approve) -> None:
        plan = new_plan({**PLAN, "search_params": {**PLAN["search_params"], "sendr": "x"}}).model_dump(mode="json")
        assert approve(plan, "--yes").error["type"] == "PlanRefused"

    def test_long_claims_are_cut_and_shown_before_the_counts(self, approve: Approve) -> None:
        plan = new_plan({**PLAN, "warnings": ["x" * 5000] * 500}).model_dump(mode="json")
        expected = approve(plan, "--yes").err
        assert len(expected) < 30_000
        assert "more" in expected
        assert expected.index("the file claims: xxx") < expected.index("messages: 420")

    def test_a_key_file_that_others_can_read_is_warned_about(self, approve: Approve, tmp_path: Path) -> None:
        assert "chmod 600" not in approve(PLAN, "--yes").err
        shared = _key_file(tmp_path / "shared.pem", BOB, 0o640)
        ended = approve(PLAN, "--yes", "--key", shared)
        assert ended.code == 0
        assert "chmod 600" in ended.err

    @pytest.mark.parametrize("key", ["missing.pem", ".", "-", "public.pem", "/dev/zero"])
    def test_an_invalid_key_file_is_refused(self, approve: Approve, tmp_path: Path, key: str) -> None:
        (tmp_path / "public.pem").write_text(public_pem(BOB))
        assert approve(PLAN, "--yes", "--key", key).code == 2

    def test_an_invalid_policy_approves_nothing(self, approve: Approve, policy_file: Path) -> None:
        policy_file.write_text("policy: 2")
        assert approve(PLAN, "--yes").error["type"] == "PolicyUnusable"


def test_the_example_plan_is_valid() -> None:
    assert read_plan(PLAN).requested_by == "dana@corp.example"
