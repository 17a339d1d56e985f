"""Channels and the link to a run come from settings. A wrong setting is named, and its value is not shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from core.errors import ConnectionSettingsError, ParameterError
from remediation.notifications.channels import LIST, VARIABLES, choose, read_channels
from remediation.notifications.run_link import run_link
from tests.remediation.notifications.receivers import API_KEY, URL_SECRET, environment

URL = f"https://hooks.slack.com/{URL_SECRET}"


def problem_of(settings: dict[str, str]) -> str | None:
    """Return the problem of the only channel."""
    [channel] = read_channels(settings).listed
    return channel.problem


def test_no_setting_means_no_channel() -> None:
    assert read_channels({}) == ([], [])
    assert read_channels({LIST: " , "}) == ([], [])


def test_channels_are_read_in_the_order_of_the_list() -> None:
    settings = {
        LIST: "soc=slack, case = thehive",
        "CFES_NOTIFY_SOC_URL": URL,
        "CFES_NOTIFY_CASE_URL": "https://thehive.example/",
        "CFES_NOTIFY_CASE_SECRET": API_KEY,
    }
    channels, problems = read_channels(settings)
    assert [(one.name, one.kind, one.problem) for one in channels] == [
        ("soc", "slack", None),
        ("case", "thehive", None),
    ]
    assert problems == []
    assert channels[0].url.get_secret_value() == URL


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    settings = {}
    for variable, value in (
        (LIST, "soc=webhook"),
        ("CFES_NOTIFY_SOC_URL", "https://soar.example/in"),
        ("CFES_NOTIFY_SOC_SECRET", "whsec_" + base64.b64encode(b"k" * 24).decode()),
    ):
        (tmp_path / variable).write_text(f"{value}\n")
        settings[f"{variable}_FILE"] = str(tmp_path / variable)
    assert problem_of(settings) is None


@pytest.mark.parametrize("kind", ["slack", "teams", "webhook", "thehive", "ticket"])
def test_no_repr_shows_a_secret(kind: str) -> None:
    shown = repr(read_channels(environment(kind, URL)))
    assert URL_SECRET not in shown
    assert "never-show" not in shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (None, "CFES_NOTIFY_SOC_URL is not set"),
        ("", "CFES_NOTIFY_SOC_URL is not set"),
        ("hooks.slack.com/x", "CFES_NOTIFY_SOC_URL: is not an http(s) URL"),
        ("file:///etc/passwd", "CFES_NOTIFY_SOC_URL: is not an http(s) URL"),
        ("https://user:password@hooks.example/x", "CFES_NOTIFY_SOC_URL: must not have a user name"),
        ("https://hooks.example/x#y", "CFES_NOTIFY_SOC_URL: must not have a user name, a query or a fragment"),
        ("http://hooks.example/x", "CFES_NOTIFY_SOC_URL: is plain http to another machine"),
        ("http://169.254.169.254/latest", "CFES_NOTIFY_SOC_URL: is plain http to another machine"),
        ("https://hooks.example/a b", "CFES_NOTIFY_SOC_URL: is not an http(s) URL"),
        ("https://hooks.example/\r\nHost: x", "CFES_NOTIFY_SOC_URL: is not an http(s) URL"),
        ("https://" + "a" * 3000, "CFES_NOTIFY_SOC_URL: has more than 2048 characters"),
    ],
)
def test_an_unusable_url_is_a_problem_of_its_channel(url: str | None, problem: str) -> None:
    found = problem_of({LIST: "soc=slack"} | ({} if url is None else {"CFES_NOTIFY_SOC_URL": url}))
    assert found is not None
    assert found.startswith(problem)
    assert "hooks.example" not in found


def test_only_thehive_may_not_have_a_query() -> None:
    url = "https://logic.example/workflows/1?api-version=1&sig=x"
    assert problem_of({LIST: "soc=teams", "CFES_NOTIFY_SOC_URL": url}) is None
    found = problem_of({LIST: "soc=thehive", "CFES_NOTIFY_SOC_URL": url, "CFES_NOTIFY_SOC_SECRET": API_KEY})
    assert found is not None
    assert "a query" in found


@pytest.mark.parametrize(
    ("kind", "secret", "problem"),
    [
        ("webhook", None, "is not set"),
        ("thehive", None, "is not set"),
        ("webhook", "plain-secret", "must be whsec_ followed by base64 of 24 to 64 bytes"),
        ("webhook", "whsec_!!!!", "must be whsec_ followed by base64 of 24 to 64 bytes"),
        ("webhook", "whsec_" + base64.b64encode(b"k" * 23).decode(), "must be whsec_ followed by"),
        ("webhook", "whsec_" + base64.b64encode(b"k" * 65).decode(), "must be whsec_ followed by"),
        ("thehive", "key\r\nX-Header: 1", "has a space, a line break or another character that is not allowed"),
        ("ticket", "k\u00e9y", "has a space, a line break or another character that is not allowed"),
        ("ticket", "k" * 5000, "has more than 4096 characters"),
    ],
)
def test_an_unusable_secret_is_a_problem_of_its_channel(kind: str, secret: str | None, problem: str) -> None:
    settings = {LIST: f"soc={kind}", "CFES_NOTIFY_SOC_URL": URL}
    found = problem_of(settings | ({} if secret is None else {"CFES_NOTIFY_SOC_SECRET": secret}))
    assert found is not None
    assert found.startswith(f"CFES_NOTIFY_SOC_SECRET {problem}")


@pytest.mark.parametrize(
    ("text", "names", "problem"),
    [
        (f"{URL},soc=slack", ["soc"], "entry 1 is not NAME=KIND"),
        ("SOC=slack", [], "entry 1 is not NAME=KIND"),
        ("a b=slack", [], "entry 1 is not NAME=KIND"),
        ("soc=slack,soc=teams", ["soc"], "has the channel soc twice: the first one counts"),
        (",".join(f"c{n}=slack" for n in range(12)), [f"c{n}" for n in range(10)], "has more than 10 channels"),
    ],
)
def test_a_wrong_entry_of_the_list_is_a_problem_and_the_others_count(text: str, names: list[str], problem: str) -> None:
    channels, problems = read_channels({LIST: text})
    assert [one.name for one in channels] == names
    [found] = problems
    assert problem in found
    assert URL_SECRET not in found


def test_an_unknown_kind_is_a_problem_of_its_channel() -> None:
    assert problem_of({LIST: "soc=slak"}) == (
        f"{LIST}: the channel soc needs a kind, one of slack, teams, webhook, thehive, ticket"
    )
    assert problem_of({LIST: "soc"}) is not None


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    channels = read_channels({LIST: "soc=slack,case=thehive"})
    with pytest.raises(ParameterError, match="/channels/1: unknown channel 'sco'; did you mean 'soc'") as caught:
        choose(channels, ["soc", "sco"])
    assert caught.value.help.startswith("Nothing was sent.")
    assert [one.name for one in choose(channels, ["case", "soc", "case"])] == ["case", "soc"]


class TestRunLink:
    def link(self, template: str, run_id: str | None = "run-1") -> str | None:
        return run_link({"CFES_RUN_URL": template}, run_id)

    def test_the_placeholder_becomes_the_id(self) -> None:
        assert self.link("https://soar.example/runs/{run_id}") == "https://soar.example/runs/run-1"
        assert self.link("https://soar.example/#/runs/{run_id}?a=1") == "https://soar.example/#/runs/run-1?a=1"
        assert self.link("http://127.0.0.1:8080/runs/{run_id}") == "http://127.0.0.1:8080/runs/run-1"

    def test_an_id_is_encoded(self) -> None:
        assert self.link("https://soar.example/{run_id}", "../a b?<x>") == "https://soar.example/..%2Fa%20b%3F%3Cx%3E"

    def test_there_is_no_link_without_a_template_or_a_run(self) -> None:
        assert run_link({}, "run-1") is None
        assert self.link("https://soar.example/runs/{run_id}", None) is None

    @pytest.mark.parametrize(
        "template",
        [
            "https://soar.example/runs",
            "https://soar.example/{run_id}/{run_id}",
            "https://soar.example/{run_id}/{playbook}",
            "https://{run_id}.example/",
            "http://soar.example/{run_id}",
            "javascript:alert({run_id})",
            "https://user:secret@soar.example/{run_id}",
            "https://soar.example/{run_id}|<!channel>",
            "https://soar.example/{run_id})",
            "https://soar.example/{run_id}\n",
            "{run_id}",
        ],
    )
    def test_an_unusable_template_is_refused_by_its_name(self, template: str) -> None:
        with pytest.raises(ConnectionSettingsError, match="CFES_RUN_URL") as caught:
            self.link(template)
        assert "soar.example" not in caught.value.message


def test_each_setting_has_a_row_in_the_reference() -> None:
    assert [one.name for one in VARIABLES] == [
        LIST,
        "CFES_NOTIFY_NAME_URL",
        "CFES_NOTIFY_NAME_SECRET",
        "CFES_RUN_URL",
    ]
