"""read-alert: the meaning of an alert in a small result, for any attacker-controlled content."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actions import preview_job, read_alert
from connectors.email_security import EmailSecurity
from core.errors import ParameterError
from tests.conftest import CAMPAIGN

OWN = ["corp.example"]


def read(alert: Any, **params: Any) -> dict[str, Any]:
    return read_alert.run({"alert": alert, **params})


def test_the_example_alert_is_from_an_unproved_outsider(alert: dict[str, Any]) -> None:
    result = read(alert)
    assert (result["id"], result["sender"]) == (alert["AlertID"], CAMPAIGN["sender"])
    assert (result["received"], result["since"]) == ("2026-11-20T15:32:35Z", "2026-11-13T15:32:35Z")
    assert (result["outsider"], result["sender_proved"], result["disposition"]) == ("yes", "no", "malicious")
    assert (result["search"]["by"], result["search_problem"]) == ("attachment", None)
    assert [pivot["by"] for pivot in result["pivots"]] == ["subject", "sender_domain"]


def test_every_search_of_the_result_works_in_a_preview(alert: dict[str, Any], api: EmailSecurity) -> None:
    result = read(alert, search_by="sender")
    for search in [result["search"], *result["pivots"]]:
        params = {"action": "MOVE", "destination": "JunkEmail", "search_params": search["search_params"]}
        assert preview_job.run(params, api)["messages"] > 0, search


def test_search_parameters_are_accepted_as_an_alert() -> None:
    result = read({**CAMPAIGN, "sender": "A@Evil.test"}, own_domains=OWN)
    assert (result["outsider"], result["sender_proved"]) == ("yes", "unknown")
    assert result["search"]["search_params"]["detections_only"] is False
    assert result["id"] == read({**CAMPAIGN, "sender": "A@Evil.test"})["id"] != read(CAMPAIGN)["id"]
    assert read({"query": "ab" * 32})["outsider"] == "unknown"
    assert "own_domains" in read(CAMPAIGN)["outsider_reason"]


def test_a_list_of_alerts_returns_each_alert(alert: dict[str, Any]) -> None:
    result = read([alert, CAMPAIGN, {**alert, "AlertID": "second"}])
    assert [one["id"] for one in result["alerts"]][::2] == [alert["AlertID"], "second"]
    assert result["id"] == alert["AlertID"]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "/alert/AlertID"),
        ([], "/alert"),
        (None, "/alert"),
        ("alert.json", "/alert"),
        ([{"sender": "a@b.example"}, []], "/alert"),
        ({"sendr": "a@b.example"}, "/alert/AlertID"),
        ({"sender": ""}, "/alert/sender"),
        ({"sender": "a@b.example", "start": "yesterday"}, "/alert/start"),
        ([{"sender": "a@b.example"}, {"AlertID": "x"}], "/alert/1/From"),
        ({"AlertID": "x", "From": "a@b.example", "Timestamp": "0001-01-02T00:00:00Z"}, "/alert/Timestamp"),
    ],
)
def test_an_invalid_alert_is_refused_with_a_pointer(given: Any, pointer: str) -> None:
    with pytest.raises(ParameterError) as refused:
        read(given)
    assert refused.value.problems[0]["pointer"] == pointer


def test_the_result_stays_small_for_a_hostile_alert(alert: dict[str, Any]) -> None:
    long = "{{ 7*7 }} ../../x \u202e' OR 1=1 <script>" * 60
    hostile = {
        **alert,
        "Subject": long[:2000],
        "FinalDisposition": long,
        "DMARCResult": long,
        "DKIMResult": long,
        "SPFResult": long,
        "Links": [f"https://a{number}.test/{long}" for number in range(150)],
        "SMTPEnvelopeTo": [f"user@d{number}.example" for number in range(1000)],
        "Attachments": [{"Sha256": f"{number:064x}", "Name": long} for number in range(100)],
    }
    result = read(hostile)
    assert (len(result["pivots"]), result["more_pivots"] > 200, len(result["own_domains"])) == (10, True, 20)
    assert len(json.dumps(result)) < 12_000
    assert len(json.dumps(read([hostile] * 40))) < 210_000


def test_a_lone_surrogate_becomes_a_replacement_character(alert: dict[str, Any]) -> None:
    assert read({**alert, "Subject": "Invoice \ud83d"})["subject"] == "Invoice \N{REPLACEMENT CHARACTER}"
