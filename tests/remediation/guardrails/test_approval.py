"""An approval counts only if an approver named in the policy signed it for this plan and account, in time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ApprovalRefused, ParameterError, PolicyUnusable
from remediation.guardrails.approvals.approval import (
    approve,
    approver_of,
    reject,
    verify_approvals,
)
from remediation.guardrails.approvals.keys import WEAK_KEYS, public_keys
from remediation.guardrails.approvals.token import LONGEST_REASON, LONGEST_TOKEN, ApprovalTerms, SignedToken, Signing
from remediation.guardrails.policy.people import unmatched_groups
from remediation.guardrails.policy.policy import Policy
from tests.exhaustive import exhaustive_unless

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
T = int(NOW.timestamp())
PLAN, OTHER_PLAN = "ab" * 32, "cd" * 32
ACCOUNT = "0123456789abcdef0123456789abcdef"

Key = Ed25519PrivateKey


def key_of(name: str) -> Key:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public_pem(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


BOB, CAROL, EVE = key_of("bob"), key_of("carol"), key_of("eve")
POLICY = Policy.model_validate(
    {
        "policy": 1,
        "approvers": [
            {"name": "bob", "public_key": public_pem(BOB)},
            {"name": "carol", "public_key": public_pem(CAROL)},
        ],
        "approval_hours": 2,
    }
)
HEADER = {"alg": "EdDSA", "typ": "cfes-approval+jwt", "kid": "bob"}
CLAIMS = {
    "iss": "cfes",
    "sub": "bob",
    "aud": f"cfes:{ACCOUNT}",
    "plan_hash": PLAN,
    "iat": T - 60,
    "exp": T + 3600,
    "jti": "one",
}


def approval_by(name: str, key: Key, **changed: Any) -> SignedToken:
    facts: dict[str, Any] = {
        "plan_hash": PLAN,
        "account_id": ACCOUNT,
        "approver": name,
        "private_key_pem": private_pem(key),
        "now": NOW,
        "lifetime_seconds": 3600,
        "jti": "one",
    }
    return approve(Signing(**{**facts, **changed}))


def rejection_by(name: str, key: Key, reason: str = "not these", **changed: Any) -> SignedToken:
    facts: dict[str, Any] = {
        "plan_hash": PLAN,
        "account_id": ACCOUNT,
        "approver": name,
        "private_key_pem": private_pem(key),
        "now": NOW,
        "lifetime_seconds": 3600,
        "jti": "one",
    }
    return reject(Signing(**{**facts, **changed}), reason)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_token(header: Any, claims: Any, key: Key = BOB) -> str:
    """Sign a token with any header and claims, given as objects or as text."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    content = ".".join(base64url(part.encode("utf-8", "surrogatepass")) for part in parts)
    return f"{content}.{base64url(key.sign(content.encode()))}"


def accepted_approvers(*tokens: Any, **changed: Any) -> list[str]:
    facts: dict[str, Any] = {
        "policy": POLICY,
        "plan_hash": PLAN,
        "account_id": ACCOUNT,
        "requesters": ["alice"],
        "now": NOW,
    }
    return verify_approvals(list(tokens), ApprovalTerms(**{**facts, **changed}))


def reason(*tokens: Any, **changed: Any) -> str:
    """Return the reason why the tokens are refused, after checking that it quotes none of them."""
    with pytest.raises(ApprovalRefused) as caught:
        accepted_approvers(*tokens, **changed)
    message = json.dumps(caught.value.document())
    for part in [part for token in tokens if isinstance(token, str) for part in token.split(".")]:
        assert len(part) <= 20 or part[:20] not in message
    return caught.value.message


class TestAccepted:
    def test_an_approvers_signature_is_accepted(self) -> None:
        approval = approval_by("bob", BOB)
        assert accepted_approvers(approval.token) == ["bob"]
        assert (approval.approver, approval.plan_hash) == ("bob", PLAN)
        assert approval.expires_at == NOW + timedelta(hours=1)

    def test_an_unchanged_sample_token_is_accepted(self) -> None:
        assert accepted_approvers(signed_token(HEADER, CLAIMS)) == ["bob"]
        assert accepted_approvers(signed_token(HEADER, {**CLAIMS, "nbf": T})) == ["bob"]

    def test_each_approver_counts_once(self) -> None:
        bob, again, carol = approval_by("bob", BOB), approval_by("bob", BOB, jti="two"), approval_by("carol", CAROL)
        assert accepted_approvers(carol.token, bob.token) == ["bob", "carol"]
        assert accepted_approvers(bob.token, again.token, bob.token) == ["bob"]

    def test_no_approvals_name_no_approver(self) -> None:
        assert accepted_approvers() == []
        assert accepted_approvers(policy=Policy(policy=1)) == []

    def test_a_private_key_is_matched_to_its_approver(self) -> None:
        assert approver_of(private_pem(CAROL), POLICY) == "carol"
        assert approver_of(private_pem(EVE), POLICY) is None

    def test_the_token_is_in_no_repr(self) -> None:
        approval = approval_by("bob", BOB)
        assert approval.token not in repr(approval)


class TestTime:
    @pytest.mark.parametrize(
        ("issued", "expires", "message"),
        [
            (T - 3600, T + 1, None),
            (T - 3600, T, "expired at 2026-11-20T16:00:00Z"),
            (T - 3600, T - 1, "expired at 2026-11-20T15:59:59Z"),
            (T + 60, T + 3660, None),
            (T + 61, T + 3660, "made in the future"),
            (T, T + 7200, None),
            (T, T + 7201, "valid for longer than the policy's 2 h"),
            (T - 10**6, T + 10, "valid for longer"),
            (T + 30, T + 30, "valid for longer"),
            (T + 30, T + 20, "valid for longer"),
        ],
    )
    def test_an_approval_is_accepted_only_within_its_time_bounds(
        self, issued: int, expires: int, message: str | None
    ) -> None:
        token = signed_token(HEADER, {**CLAIMS, "iat": issued, "exp": expires})
        if message is None:
            assert accepted_approvers(token) == ["bob"]
        else:
            assert message in reason(token)

    def test_an_approval_expires_to_the_microsecond(self) -> None:
        approval = approval_by("bob", BOB)
        assert accepted_approvers(approval.token, now=approval.expires_at - timedelta(microseconds=1)) == ["bob"]
        assert "expired" in reason(approval.token, now=approval.expires_at)
        assert "expired" in reason(approval.token, now=approval.expires_at + timedelta(microseconds=1))

    def test_the_not_before_claim_is_checked(self) -> None:
        assert accepted_approvers(signed_token(HEADER, {**CLAIMS, "nbf": T + 60})) == ["bob"]
        assert "in the future" in reason(signed_token(HEADER, {**CLAIMS, "nbf": T + 61}))

    def test_the_longest_lifetime_is_accepted_at_any_fraction_of_a_second(self) -> None:
        for micro in (0, 1, 499_999, 999_999):
            moment = NOW + timedelta(microseconds=micro)
            approval = approval_by("bob", BOB, now=moment, lifetime_seconds=7200)
            assert accepted_approvers(approval.token, now=moment) == ["bob"]

    @pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan"), float("inf"), 1e300])
    def test_a_lifetime_that_is_zero_negative_or_infinite_is_refused(self, seconds: float) -> None:
        with pytest.raises(ParameterError):
            approval_by("bob", BOB, lifetime_seconds=seconds)


WRONG_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, float(T), 1e999, float("nan"), 10**20, 10**400, str(T), "", "x", "BOB", "eve",
    "\ud800", [], [PLAN], ["bob"], [f"cfes:{ACCOUNT}"], {}, {"a": 1}, PLAN.upper(), PLAN + "\n", f"cfes:{ACCOUNT} ",
    "cfes:", OTHER_PLAN, "CFES", T - 86_400, T + 86_400,
]  # fmt: skip


class TestClaims:
    @pytest.mark.parametrize("name", CLAIMS)
    def test_a_missing_claim_is_refused(self, name: str) -> None:
        reason(signed_token(HEADER, {key: value for key, value in CLAIMS.items() if key != name}))

    @pytest.mark.parametrize("name", [*CLAIMS, "nbf"])
    @pytest.mark.parametrize(
        "value",
        exhaustive_unless(lambda value: value in WRONG_VALUES[::3], WRONG_VALUES),
        ids=lambda value: repr(value)[:20],
    )
    def test_a_wrong_value_of_a_claim_is_refused(self, name: str, value: Any) -> None:
        harmless = {"jti": ("x", "BOB", "eve", str(T), PLAN.upper(), OTHER_PLAN, "CFES"), "iat": (), "nbf": (0, 1)}
        token = signed_token(HEADER, {**CLAIMS, name: value})
        if type(value) is not bool and value in (*harmless.get(name, ()), *((T - 86_400,) if name == "nbf" else ())):
            assert accepted_approvers(token) == ["bob"]
        else:
            reason(token)

    @pytest.mark.parametrize("name", ["scope", "cnf", "only_if", "azp", "Exp", ""])
    def test_an_unknown_claim_is_refused(self, name: str) -> None:
        assert "unknown or missing claims" in reason(signed_token(HEADER, {**CLAIMS, name: "x"}))

    def test_a_duplicate_claim_is_refused(self) -> None:
        text = json.dumps(CLAIMS)[:-1] + f', "plan_hash": "{PLAN}"}}'
        assert "not the token" in reason(signed_token(HEADER, text))

    @pytest.mark.parametrize("claims", ["", "[]", "null", "1", '"x"', "{", "[" * 1400, '{"a":' * 200, "\ud800"])
    def test_claims_that_are_not_a_json_object_are_refused(self, claims: str) -> None:
        assert "not the token" in reason(signed_token(HEADER, claims))

    def test_an_approval_for_another_plan_account_or_approver_is_refused(self) -> None:
        token = approval_by("bob", BOB).token
        assert "for another plan" in reason(token, plan_hash=OTHER_PLAN)
        assert "for another account" in reason(token, account_id=ACCOUNT[::-1])
        assert "for another account" in reason(token, account_id="")
        assert "does not name its approver" in reason(approval_by("eve", EVE).token)
        assert "not signed by bob's key" in reason(approval_by("bob", EVE).token)
        assert "not signed by bob's key" in reason(approval_by("bob", CAROL).token)
        assert "does not name its approver" in reason(approval_by("BOB", BOB).token)

    @pytest.mark.parametrize("plan_hash", ["", "x", PLAN.upper(), PLAN[:-1], PLAN + "0"])
    def test_an_invalid_plan_hash_cannot_be_approved(self, plan_hash: str) -> None:
        with pytest.raises(ParameterError):
            approval_by("bob", BOB, plan_hash=plan_hash)
        reason(signed_token(HEADER, {**CLAIMS, "plan_hash": plan_hash}), plan_hash=plan_hash)

    @pytest.mark.parametrize("requesters", [["bob"], ["BOB"], [" Bob "], ["alice", "bob"]])
    def test_the_requester_cannot_approve(self, requesters: list[str]) -> None:
        assert "can't approve their own requests" in reason(approval_by("bob", BOB).token, requesters=requesters)
        assert accepted_approvers(approval_by("carol", CAROL).token, requesters=requesters) == ["carol"]


REJECTION_HEADER = {**HEADER, "typ": "cfes-rejection+jwt"}
REJECTION_CLAIMS = {**CLAIMS, "reason": "not these"}


class TestRejections:
    def test_a_rejection_overrides_approvals(self) -> None:
        bob, carol = approval_by("bob", BOB).token, rejection_by("carol", CAROL, "61 mailboxes, not 6").token
        for tokens in ([carol], [bob, carol], [carol, bob], [bob, carol, bob]):
            assert f"carol rejected plan {PLAN}: 61 mailboxes, not 6" in reason(*tokens)

    def test_a_rejection_is_reported_before_invalid_approvals(self) -> None:
        assert "bob rejected" in reason("x.y.z", approval_by("eve", EVE).token, rejection_by("bob", BOB).token)

    def test_the_requester_can_reject(self) -> None:
        assert "bob rejected" in reason(rejection_by("bob", BOB).token, requesters=["bob"])

    def test_an_invalid_rejection_is_reported_as_not_accepted(self) -> None:
        for token in (
            rejection_by("eve", EVE).token,
            rejection_by("bob", EVE).token,
            rejection_by("bob", BOB, plan_hash=OTHER_PLAN).token,
            rejection_by("bob", BOB, account_id=ACCOUNT[::-1]).token,
            rejection_by("bob", BOB, now=NOW - timedelta(hours=2)).token,
        ):
            assert "approval 1 of 1 is not accepted" in reason(token)

    @pytest.mark.parametrize("name", [*CLAIMS, "reason"])
    def test_a_rejection_without_a_claim_is_not_accepted(self, name: str) -> None:
        claims = {key: value for key, value in REJECTION_CLAIMS.items() if key != name}
        assert "rejected" not in reason(signed_token(REJECTION_HEADER, claims))
        assert "bob rejected" in reason(signed_token(REJECTION_HEADER, REJECTION_CLAIMS))

    def test_approvals_and_rejections_are_not_interchangeable(self) -> None:
        assert "unknown or missing claims" in reason(signed_token(HEADER, REJECTION_CLAIMS))
        assert "unknown or missing claims" in reason(signed_token(REJECTION_HEADER, CLAIMS))

    @pytest.mark.parametrize(
        "text", ["", " ", "a\nb", "a\x1b[31m", "\u202eabc", "\ud800", "x" * (LONGEST_REASON + 1), None, 5, ["x"], {}]
    )
    def test_a_reason_is_printable_text_on_one_line(self, text: Any) -> None:
        assert "its reason is not" in reason(signed_token(REJECTION_HEADER, {**CLAIMS, "reason": text}))
        with pytest.raises(ParameterError):
            rejection_by("bob", BOB, text)

    @pytest.mark.parametrize("character", ["x", "é", "\N{PILE OF POO}", '"'])
    def test_the_longest_reason_fits_into_a_token(self, character: str) -> None:
        text = character * LONGEST_REASON
        assert text in reason(rejection_by("bob", BOB, text, approver="bob").token)

    def test_a_rejection_with_a_flipped_bit_is_not_read_as_a_rejection(self) -> None:
        good = signed_token(REJECTION_HEADER, REJECTION_CLAIMS)
        for place, character in enumerate(good):
            assert "rejected" not in reason(good[:place] + chr(ord(character) ^ 1) + good[place + 1 :])

    def test_the_token_is_in_no_repr(self) -> None:
        rejection = rejection_by("bob", BOB)
        assert rejection.token not in repr(rejection)


class TestNames:
    @pytest.mark.parametrize(
        "requester",
        ["bob", "BOB", "bob+soar", "Bob+a+b", "bob@corp.example", "bob+x@Corp.Example", "bob%40corp.example", "bob."],
    )
    def test_the_requester_cannot_approve_under_another_spelling(self, requester: str) -> None:
        assert "can't approve their own requests" in reason(approval_by("bob", BOB).token, requesters=[requester])

    @pytest.mark.parametrize("requester", ["bobby", "bo", "alice", "bob-2", "alice@bob", "+bob"])
    def test_a_similar_name_is_another_person(self, requester: str) -> None:
        assert accepted_approvers(approval_by("bob", BOB).token, requesters=[requester]) == ["bob"]

    @pytest.mark.parametrize(
        ("requester", "same"), [("bob", True), ("bob@corp.example", True), ("bob@partner.example", False)]
    )
    def test_the_same_login_in_another_domain_is_another_person(self, requester: str, same: bool) -> None:
        approver = POLICY.approvers[0].model_copy(update={"name": "bob@corp.example"})
        policy = POLICY.model_copy(update={"approvers": [approver]})
        token = approval_by("bob@corp.example", BOB).token
        if same:
            assert "can't approve their own requests" in reason(token, requesters=[requester], policy=policy)
        else:
            assert accepted_approvers(token, requesters=[requester], policy=policy) == ["bob@corp.example"]

    def test_a_service_account_cannot_approve(self) -> None:
        policy = POLICY.model_copy(update={"service_accounts": ["bob@corp.example"]})
        assert "is a service account" in reason(approval_by("bob", BOB).token, policy=policy)


class TestGroups:
    def test_each_group_needs_a_different_person(self) -> None:
        people = {"ana": ["legal", "security"], "ben": ["legal"], "cid": ["security"], "dan": []}
        for chosen, missing in (
            (["ana"], ["security"]),
            (["ana", "ben"], []),
            (["ben", "ana"], []),
            (["ana", "cid"], []),
            (["ben", "cid"], []),
            (["ben", "dan"], ["security"]),
            (["cid", "dan"], ["legal"]),
            (["dan"], ["legal", "security"]),
        ):
            assert unmatched_groups(["legal", "security"], {name: people[name] for name in chosen}) == missing

    def test_people_are_matched_to_groups_in_every_order(self) -> None:
        """Person i is in the groups 0 to i, so only one assignment is possible."""
        groups = [str(n) for n in range(6)]
        people = {f"p{n}": groups[: n + 1] for n in range(6)}
        for order in itertools.permutations(groups, 6):
            assert unmatched_groups(order, people) == []
        assert len(unmatched_groups(groups, dict.fromkeys(people, groups[:3]))) == 3


class TestHeaders:
    @pytest.mark.parametrize(
        "header",
        [
            {**HEADER, "crit": ["exp"], "exp": T},
            {**HEADER, "crit": []},
            {**HEADER, "crit": ["b64"], "b64": False},
            {**HEADER, "b64": True},
            {**HEADER, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(b"\1" * 32)}},
            {**HEADER, "jku": "https://evil.example/keys"},
            {**HEADER, "x5u": "https://evil.example/cert"},
            {**HEADER, "x5c": ["MIIB"]},
            {**HEADER, "cty": "JWT"},
            {**HEADER, "zip": "DEF"},
            {**HEADER, "typ": "JWT"},
            {**HEADER, "typ": "CFES-approval+jwt"},
            {**HEADER, "typ": ["cfes-approval+jwt"]},
            {**HEADER, "alg": "none"},
            {**HEADER, "alg": "None"},
            {**HEADER, "alg": "eddsa"},
            {**HEADER, "alg": "Ed25519"},
            {**HEADER, "alg": "HS256"},
            {**HEADER, "alg": "RS256"},
            {**HEADER, "alg": ["EdDSA"]},
            {**HEADER, "alg": None},
            {**HEADER, "kid": "carol"},
            {**HEADER, "kid": ["bob"]},
            {**HEADER, "kid": 1},
            {**HEADER, "kid": "../../bob.pem"},
            {"alg": "EdDSA", "typ": "cfes-approval+jwt"},
            {"alg": "EdDSA", "kid": "bob"},
            {"typ": "cfes-approval+jwt", "kid": "bob"},
            {},
            "[]",
            "null",
            '{"alg": "none", "alg": "EdDSA", "typ": "cfes-approval+jwt", "kid": "bob"}',
        ],
    )
    def test_an_unexpected_header_is_refused_despite_a_valid_signature(self, header: Any) -> None:
        reason(signed_token(header, CLAIMS))

    @pytest.mark.parametrize("alg", ["none", "NONE", "nOnE"])
    @pytest.mark.parametrize("signature", ["", "AA", base64url(bytes(64))])
    def test_an_unsigned_token_is_refused(self, alg: str, signature: str) -> None:
        content = f"{base64url(json.dumps({**HEADER, 'alg': alg}).encode())}.{base64url(json.dumps(CLAIMS).encode())}"
        reason(f"{content}.{signature}")
        good = signed_token(HEADER, CLAIMS).rpartition(".")[0]
        reason(f"{good}.{signature}")

    @pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
    @pytest.mark.parametrize("secret", [public_pem(BOB).encode(), public_pem(BOB).strip().encode(), b"", bytes(32)])
    def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(self, alg: str, secret: bytes) -> None:
        content = f"{base64url(json.dumps({**HEADER, 'alg': alg}).encode())}.{base64url(json.dumps(CLAIMS).encode())}"
        reason(f"{content}.{base64url(hmac.digest(secret, content.encode(), 'sha256'))}")

    def test_a_token_signed_by_another_approvers_key_is_refused(self) -> None:
        reason(signed_token({**HEADER, "kid": "bob"}, {**CLAIMS, "sub": "carol"}, CAROL))
        reason(signed_token({**HEADER, "kid": "carol"}, CLAIMS, CAROL))
        reason(signed_token(HEADER, CLAIMS, CAROL))


class TestDamaged:
    GOOD = signed_token(HEADER, CLAIMS)

    def test_a_token_with_a_flipped_bit_is_refused(self) -> None:
        flips = 0
        for place, character in enumerate(self.GOOD):
            for bit in (0, 3, 5):
                flips += 1
                reason(self.GOOD[:place] + chr(ord(character) ^ 1 << bit) + self.GOOD[place + 1 :])
        assert flips > 800

    def test_a_truncated_token_is_refused(self) -> None:
        for length in range(len(self.GOOD)):
            reason(self.GOOD[:length])
            reason(self.GOOD[len(self.GOOD) - length :])

    def test_a_token_with_changed_characters_is_refused(self) -> None:
        rng = random.Random(7)
        alphabet = "ABCXYZabcxyz0189-_.=+/ \n\0é"
        for _ in range(2000):
            changed = self.GOOD
            for _ in range(rng.randint(1, 4)):
                place, removed = rng.randrange(len(changed)), rng.randint(0, 1)
                changed = changed[:place] + rng.choice(["", *alphabet]) + changed[place + removed :]
            if changed != self.GOOD:
                reason(changed)

    @pytest.mark.parametrize("around", ["{}=", "{}\n", " {}", "{}.", ".{}", "{}.AA", "Bearer {}", "{0}{0}", "{0}.{0}"])
    def test_text_around_a_token_is_refused(self, around: str) -> None:
        reason(around.format(self.GOOD))

    @pytest.mark.parametrize(
        "token", [None, 5, b"a.b.c", ["a"], {}, "", ".", "..", "a.b.c", "a" * LONGEST_TOKEN, "é.é.é"]
    )
    def test_an_invalid_token_is_refused(self, token: Any) -> None:
        assert "approval 2 of 2 is not accepted" in reason(self.GOOD, token)

    def test_an_oversized_token_is_refused(self) -> None:
        assert "not the token" in reason(signed_token(HEADER, {**CLAIMS, "jti": "x" * LONGEST_TOKEN}))

    def test_more_than_ten_tokens_are_refused(self) -> None:
        assert accepted_approvers(*[self.GOOD] * 10) == ["bob"]
        assert "at most 10 are accepted" in reason(*[self.GOOD] * 11)

    def test_one_invalid_approval_refuses_the_valid_ones(self) -> None:
        carol = approval_by("carol", CAROL).token
        expired = signed_token(HEADER, {**CLAIMS, "exp": T - 1})
        assert "approval 2 of 3 is not accepted: it expired" in reason(carol, expired, self.GOOD)

    @given(st.text(max_size=200))
    def test_random_text_is_refused(self, text: str) -> None:
        reason(text)

    @given(st.binary(max_size=90), st.binary(max_size=90), st.binary(max_size=66))
    def test_random_bytes_are_refused(self, header: bytes, claims: bytes, signature: bytes) -> None:
        reason(f"{base64url(header)}.{base64url(claims)}.{base64url(signature)}")

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=5,
    )

    @given(st.sampled_from(["iss", "sub", "aud", "plan_hash", "iat", "exp", "nbf", "zzz"]), json_values)
    def test_a_random_value_of_a_claim_is_refused(self, name: str, value: Any) -> None:
        fits = type(value) is int and {
            "iat": T + 3600 - 7200 <= value <= T + 60,
            "exp": T < value <= T - 60 + 7200,
            "nbf": 0 <= value <= T + 60,
        }.get(name, False)
        if not fits:
            reason(signed_token(HEADER, {**CLAIMS, name: value}))

    @given(
        st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jwk", "b64"]) | st.text(max_size=5), json_values)
    )
    def test_a_random_header_value_is_refused(self, changed: dict[str, Any]) -> None:
        if changed:
            reason(signed_token({**HEADER, **changed}, CLAIMS))


class TestPolicyOfApprovers:
    def test_a_policy_without_approvers_accepts_no_approval(self) -> None:
        assert "no policy names approvers" in reason(approval_by("bob", BOB).token, policy=Policy(policy=1))

    def test_a_key_removed_from_the_policy_is_refused(self) -> None:
        left = POLICY.model_copy(update={"approvers": POLICY.approvers[1:]})
        assert "does not name its approver" in reason(approval_by("bob", BOB).token, policy=left)

    @pytest.mark.parametrize(
        "make",
        [
            ed448.Ed448PrivateKey.generate,
            lambda: ec.generate_private_key(ec.SECP256R1()),
            lambda: rsa.generate_private_key(65537, 2048),
        ],
    )
    def test_a_key_of_another_algorithm_is_refused(self, make: Callable[[], Any]) -> None:
        key = make()
        policy = _policy_with(public_pem(key))
        for call in (
            lambda: public_keys(policy),
            lambda: accepted_approvers(approval_by("carol", CAROL).token, policy=policy),
        ):
            with pytest.raises(PolicyUnusable) as caught:
                call()
            assert [problem["pointer"] for problem in caught.value.problems] == ["/approvers/0/public_key"]
        with pytest.raises(ParameterError):
            approval_by("bob", BOB, private_key_pem=private_pem(key))

    def test_an_invalid_public_key_is_refused(self) -> None:
        for text in ("AAAA", "MCowBQYDK2VwAyEA", "=", "MCowBQYDK2VwAyEACPXmpRqKcwLFhocF1aewCXalzc1jsKZ7N2cz1dYk6c"):
            with pytest.raises(PolicyUnusable):
                public_keys(_policy_with(f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))

    @pytest.mark.parametrize("sign", [0, 0x80])
    @pytest.mark.parametrize("weak", sorted(WEAK_KEYS), ids=lambda raw: raw.hex()[:8])
    def test_a_weak_public_key_is_refused(self, weak: bytes, sign: int) -> None:
        raw = weak[:31] + bytes([weak[31] | sign])
        der = bytes.fromhex("302a300506032b6570032100") + raw
        pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
        with pytest.raises(PolicyUnusable, match="anybody can sign"):
            public_keys(_policy_with(pem))

    def test_signatures_can_be_forged_under_weak_keys(self) -> None:
        """A weak key that the library accepts verifies a forged signature for some message."""
        forged = bytes([1]) + bytes(63)
        forgeries = 0
        for weak in WEAK_KEYS:
            key = Ed25519PublicKey.from_public_bytes(weak)
            forgeries += any(_verifies(key, forged, bytes([n])) for n in range(200))
        assert forgeries >= 4

    def test_two_approvers_with_the_same_key_are_refused(self) -> None:
        der = base64.b64decode("".join(public_pem(CAROL).split("-----")[2].split()))
        respelt = base64.b64encode(bytes([0x30, 0x81, 0x2A]) + der[2:]).decode()
        policy = _policy_with(f"-----BEGIN PUBLIC KEY-----\n{respelt}\n-----END PUBLIC KEY-----\n")
        with pytest.raises(PolicyUnusable):
            public_keys(policy)


class TestPrivateKeys:
    @pytest.mark.parametrize(
        "pem",
        [
            b"",
            b"\0" * 100,
            b"\xff\xfe",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            b"x" * 10_000_000,
            public_pem(BOB).encode(),
            private_pem(BOB)[:-40],
            BOB.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            BOB.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            BOB.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        ],
        ids=range(10),
    )
    def test_an_invalid_private_key_is_refused_and_not_quoted(self, pem: bytes) -> None:
        for call in (lambda: approval_by("bob", BOB, private_key_pem=pem), lambda: approver_of(pem, POLICY)):
            with pytest.raises(ParameterError) as caught:
                call()
            assert "Nothing was approved" in caught.value.help
            assert len(caught.value.message) < 200

    @pytest.mark.parametrize("fact", [{"approver": "bob smith"}, {"approver": ""}, {"jti": ""}, {"jti": "a" * 65}])
    def test_an_invalid_approver_or_token_id_is_refused(self, fact: dict[str, str]) -> None:
        with pytest.raises(ParameterError):
            approval_by("bob", BOB, **fact)


@pytest.mark.parametrize("missing", ["jwt", "cryptography.hazmat.primitives.asymmetric.ed25519"])
def test_a_missing_extra_is_reported_with_the_install_command(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = approval_by("bob", BOB).token
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ApprovalRefused) as caught:
        accepted_approvers(token)
    assert "pip install -e '.[approval]'" in caught.value.help
    assert accepted_approvers() == []


def _policy_with(pem: str) -> Policy:
    """Return a policy whose first approver has this key."""
    return POLICY.model_copy(
        update={"approvers": [POLICY.approvers[0].model_copy(update={"public_key": pem}), POLICY.approvers[1]]}
    )


def _verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
