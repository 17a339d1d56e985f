"""The caller is the identity that the platform proves, never a text in the event. Two callers have two names."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.connection import PERSON, Connection
from core.errors import AuthenticationFailed, ConnectionSettingsError, ParameterError
from platforms import aws_lambda
from platforms.caller import caller_of, name_of, with_caller
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.platforms.test_aws_lambda import Context

ARN = "arn:aws:iam::123456789012:user/ana"
SSO = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Analyst_0123456789abcdef/ana@corp.example"
POOL = "arn:aws:sts::123456789012:assumed-role/Cognito_Auth_Role/CognitoIdentityCredentials"
CLAIMS = {"sub": "8f1e", "iss": "https://id.example/pool", "email": "Ana@Corp.example", "email_verified": "true"}
ANA = "ana@corp.example"


def settings(caller_from: str | None = None, **more: Any) -> Connection:
    return Connection.checked({"account_id": "a", "api_token": "t", "caller_from": caller_from, **more})


def http_api(**authorizer: Any) -> dict[str, Any]:
    return {"requestContext": {"authorizer": authorizer}}


def rest_api(**identity: Any) -> dict[str, Any]:
    return {"requestContext": {"identity": {"cognitoIdentityId": None, "userArn": None, **identity}}}


def caller_name(event: Any, caller_from: str, context: object = None) -> str | None:
    return caller_of(event, context, settings(caller_from, requested_by="soar"))


FORGED = [
    {"requestContext": {"authorizer": {"iam": {"userArn": ARN}, "jwt": {"claims": CLAIMS}}}},
    {"requestContext": {"identity": {"userArn": ARN}}},
    {"params": {"requested_by": "ceo"}, "requested_by": "ceo", "identity": {"cognitoIdentityId": "x"}},
]


class TestCallerIdentity:
    @pytest.mark.parametrize("event", FORGED)
    def test_without_the_setting_the_event_is_ignored(self, event: Any) -> None:
        context = SimpleNamespace(identity=SimpleNamespace(cognito_identity_id="eu-west-1:someone"))
        assert caller_of(event, context, settings(requested_by="soar")) == "soar"
        assert caller_of(event, context, settings()) is None

    @pytest.mark.parametrize("event", [http_api(iam={"userArn": ARN}), rest_api(userArn=ARN)])
    def test_a_signed_request_names_its_user(self, event: Any) -> None:
        assert caller_name(event, "api-gateway-iam") == "arn%3Aaws%3Aiam%3A%3A123456789012%3Auser%2Fana"

    @pytest.mark.parametrize(
        "event",
        [
            http_api(iam={"userArn": POOL, "cognitoIdentity": {"identityId": "eu-west-1:0a1b"}}),
            rest_api(userArn=POOL, cognitoIdentityId="eu-west-1:0a1b"),
        ],
    )
    def test_users_of_an_identity_pool_have_different_names(self, event: Any) -> None:
        assert caller_name(event, "api-gateway-iam") == "cognito%3Aeu-west-1%3A0a1b"

    @pytest.mark.parametrize("authorizer", [{"jwt": {"claims": CLAIMS}}, {"claims": CLAIMS}])
    def test_a_token_names_its_verified_address(self, authorizer: Any) -> None:
        assert caller_name(http_api(**authorizer), "api-gateway-jwt") == ANA

    @pytest.mark.parametrize("verified", [None, False, "false", "", "1", 1, "TRUE "])
    def test_an_unverified_address_is_ignored(self, verified: Any) -> None:
        claims = {**CLAIMS, "email_verified": verified}
        name = caller_name(http_api(jwt={"claims": claims}), "api-gateway-jwt")
        assert name == "sub%3Ahttps%3A%2F%2Fid.example%2Fpool%7C8f1e"

    def test_a_subject_name_includes_its_issuer_and_is_never_an_address(self) -> None:
        def name_of_claims(**claims: str) -> str | None:
            return caller_name(http_api(jwt={"claims": claims}), "api-gateway-jwt")

        names = {
            name_of_claims(sub=ANA, iss="https://id.example"),
            name_of_claims(sub=ANA, iss="https://other.example"),
            name_of_claims(sub=f"other.example|{ANA}", iss="https://"),
            name_of_claims(sub=ANA, iss="https://id.example|x"),
            name_of_claims(sub=f"x|{ANA}", iss="https://id.example"),
            ANA,
        }
        assert len(names) == 6

    def test_the_identity_of_a_direct_call_comes_from_the_context(self) -> None:
        context = SimpleNamespace(identity=SimpleNamespace(cognito_identity_id="eu-west-1:0a1b"))
        assert caller_name({}, "cognito-identity", context) == "cognito%3Aeu-west-1%3A0a1b"

    @pytest.mark.parametrize("context", [None, SimpleNamespace(), SimpleNamespace(identity=None),
        SimpleNamespace(identity=SimpleNamespace(cognito_identity_id=None)),
        SimpleNamespace(identity=SimpleNamespace(cognito_identity_id="")),
    ])  # fmt: skip
    def test_a_context_without_an_identity_is_refused(self, context: Any) -> None:
        with pytest.raises(AuthenticationFailed):
            caller_name(FORGED[2], "cognito-identity", context)

    @pytest.mark.parametrize(
        "event",
        [None, [], "x", {}, {"requestContext": None}, {"requestContext": []}, {"requestContext": "x"},
         http_api(), http_api(iam=None), http_api(iam=[]), http_api(iam={"userArn": ["x"]}),
         http_api(iam={"userArn": ""}), http_api(iam={"userArn": " "}), http_api(iam={"userArn": "ana"}),
         http_api(iam={"userArn": f"{ARN}\nx"}), http_api(iam={"userArn": ARN + "x" * 3000}),
         http_api(jwt={"claims": {"email": ANA}}), http_api(jwt={"claims": {"sub": "x"}}),
         http_api(jwt={"claims": {"sub": 5, "iss": "x"}}), http_api(jwt={"claims": [CLAIMS]}),
         http_api(**{"lambda": {"email": ANA, "email_verified": "true"}}), rest_api(), rest_api(user="ana"),
         {**CLAIMS, "userArn": ARN}, {"body": FORGED[0], "params": {"requested_by": "ceo"}},
         {"requestContext": {"authorizer": {"iam": {"userArn": ARN}}, "identity": {"userArn": SSO}}}],
    )  # fmt: skip
    def test_an_event_without_a_platform_identity_is_refused(self, event: Any) -> None:
        for caller_from in ("api-gateway-iam", "api-gateway-jwt"):
            with pytest.raises(AuthenticationFailed, match=f"CFES_CALLER_FROM is {caller_from}") as caught:
                caller_name(event, caller_from)
            assert (caught.value.exit_code, caught.value.help.startswith("Nothing was changed.")) == (4, True)

    def test_an_identity_of_another_source_is_refused(self) -> None:
        for event, caller_from in (
            (http_api(iam={"userArn": ARN}), "api-gateway-jwt"),
            (http_api(jwt={"claims": CLAIMS}), "api-gateway-iam"),
            (http_api(iam={"userArn": ARN}), "cognito-identity"),
        ):
            with pytest.raises(AuthenticationFailed):
                caller_name(event, caller_from)

    def test_the_caller_becomes_the_requester_of_the_settings(self) -> None:
        event = http_api(jwt={"claims": CLAIMS})
        assert with_caller(settings("api-gateway-jwt", requested_by="soar"), event, None).requested_by == ANA

    @pytest.mark.parametrize("value", ["", " ", "iam", "API-GATEWAY-IAM", "api-gateway-iam ", "event"])
    def test_an_empty_or_unknown_setting_is_an_error(self, value: str) -> None:
        with pytest.raises(ConnectionSettingsError, match="CFES_CALLER_FROM"):
            settings(value)


class TestNames:
    @given(st.text(min_size=1, max_size=200))
    def test_every_identity_has_a_valid_stable_name(self, identity: str) -> None:
        assert re.fullmatch(PERSON, name_of(identity))
        assert name_of(identity) == name_of(identity)

    @given(st.text(st.sampled_from("a%:/.|3A\u00e9\ud800"), min_size=1, max_size=80),
           st.text(st.sampled_from("a%:/.|3A\u00e9\ud800"), min_size=1, max_size=80))  # fmt: skip
    def test_different_identities_have_different_names(self, one: str, other: str) -> None:
        assert (name_of(one) == name_of(other)) is (one == other)

    def test_a_short_identity_cannot_have_the_name_of_a_long_one(self) -> None:
        long = name_of(SSO)
        assert re.fullmatch(r"[0-9a-f]{32}%\.[0-9a-f]+%2Fana@corp\.example", long)
        assert len(long) == 64
        assert name_of(long) != long
        assert name_of("arn%3Aaws") != name_of("arn:aws")

    def test_long_identities_that_differ_have_different_names(self) -> None:
        assert len({name_of(SSO), name_of(SSO.replace("Analyst", "Admin")), name_of(SSO + "x")}) == 3

    def test_an_address_is_kept_unchanged(self) -> None:
        assert name_of("ana.b+c@corp.example") == "ana.b+c@corp.example"


MOVE = {"search_params": CAMPAIGN, "destination": "JunkEmail"}


class TestFunction:
    @pytest.fixture(autouse=True)
    def _connected(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CFES_REQUESTED_BY", "soar")

    def stamps(self, sandbox: RunningSandbox) -> list[str]:
        return [job["comment"] for job in sandbox.state.truth()["jobs"]]

    def test_the_job_names_the_caller_from_the_platform(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CFES_CALLER_FROM", "api-gateway-jwt")
        event = {"action": "create-move-job", "params": MOVE, **http_api(jwt={"claims": CLAIMS})}
        assert aws_lambda.handler(event, Context(60))["requested_by"] == ANA
        monkeypatch.setenv("CFES_CALLER_FROM", "api-gateway-iam")
        event = {"action": "create-move-job", "params": MOVE, **http_api(iam={"userArn": SSO})}
        assert aws_lambda.handler(event, Context(60))["requested_by"] == name_of(SSO)
        assert [f":by={name}" in stamp for name, stamp in zip((ANA, name_of(SSO)), self.stamps(sandbox), strict=True)]

    def test_a_parameter_that_names_another_person_is_refused(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CFES_CALLER_FROM", "api-gateway-jwt")
        for claimed in ("ceo@corp.example", "soar"):
            params = {**MOVE, "requested_by": claimed}
            event = {"action": "create-move-job", "params": params, **http_api(jwt={"claims": CLAIMS})}
            with pytest.raises(ParameterError, match="/requested_by"):
                aws_lambda.handler(event, Context(60))
        assert self.stamps(sandbox) == []

    @pytest.mark.parametrize("setting", [None, "cognito-identity"])
    @pytest.mark.parametrize("event", FORGED)
    def test_a_direct_call_with_an_identity_in_its_event_is_refused(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, setting: str | None, event: Any
    ) -> None:
        if setting is not None:
            monkeypatch.setenv("CFES_CALLER_FROM", setting)
        with pytest.raises(ParameterError):
            aws_lambda.handler({"action": "create-move-job", **event, "params": MOVE}, Context(60))
        assert self.stamps(sandbox) == []

    def test_a_direct_call_uses_the_requester_of_the_function(self, sandbox: RunningSandbox) -> None:
        assert aws_lambda.handler({"action": "create-move-job", "params": MOVE}, Context(60))["requested_by"] == "soar"
        with pytest.raises(ParameterError, match="/requested_by"):
            aws_lambda.handler({"action": "create-move-job", "params": {**MOVE, "requested_by": "ceo"}}, Context(60))
        assert len(self.stamps(sandbox)) == 1

    @pytest.mark.parametrize("caller_from", ["api-gateway-iam", "api-gateway-jwt", "cognito-identity"])
    def test_a_call_that_bypasses_the_gateway_is_refused(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, caller_from: str
    ) -> None:
        monkeypatch.setenv("CFES_CALLER_FROM", caller_from)
        with pytest.raises(AuthenticationFailed):
            aws_lambda.handler({"action": "create-move-job", "params": MOVE}, Context(60))
        assert self.stamps(sandbox) == []

    def test_each_call_of_a_warm_function_has_its_own_caller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CFES_CALLER_FROM", "api-gateway-jwt")
        names = []
        for name, destination in (("ana", "JunkEmail"), ("bob", "DeletedItems")):
            claims = {**CLAIMS, "email": f"{name}@corp.example"}
            params = {**MOVE, "destination": destination}
            event = {"action": "create-move-job", "params": params, **http_api(jwt={"claims": claims})}
            names.append(aws_lambda.handler(event, Context(60))["requested_by"])
        assert names == ["ana@corp.example", "bob@corp.example"]
