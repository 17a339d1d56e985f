"""The alert rules: which alerts start which playbook, with which inputs.

Every rule that matches starts its playbook. For one alert a playbook starts once, with the inputs of the first rule
that matches. A rule that can't be evaluated for an alert is reported for it; the other rules go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import PackError
from core.json_values import Json, shown
from playbooks.language.data_environment import EvaluationFailed
from playbooks.language.errors import ExpressionFailed
from playbooks.language.format import Playbook
from playbooks.language.program import Field
from remediation.alerts.alert import read_alert_id
from remediation.alerts.meaning import is_search, read_meaning

NAMES = frozenset({"alert", "meaning"})


@dataclass(frozen=True)
class Match:
    """A rule matches an alert: its playbook is to start with these inputs."""

    alert_id: str
    rule_id: str
    playbook: Playbook
    inputs: Mapping[str, Json]


@dataclass(frozen=True)
class Refusal:
    """Nothing is started for an alert by a rule, and the reason. rule_id: None if it concerns no certain rule."""

    alert_id: str | None
    rule_id: str | None
    reason: str


class RuleField(Field):
    """A place of the rules that may have expressions. playbook_id: the ID of the rule."""

    def failed(self, pointer: str, why: str, *, source: str | None = None) -> ExpressionFailed:
        """Return an error that names the rule and the place."""
        shown_source = f" in {shown(' '.join(source.split()), 200)}" if source else ""
        return ExpressionFailed(f"{pointer}: {why}{shown_source}", help="Nothing was started. Correct the alert rules.")


@dataclass(frozen=True)
class Rule:
    """A rule that was checked."""

    id: str
    title: str
    when: RuleField
    playbook: Playbook
    inputs: RuleField


@dataclass(frozen=True)
class Rules:
    """The rules of a file, in order. Without rules no alert starts a playbook."""

    rules: Sequence[Rule] = ()
    own_domains: Sequence[str] = ()

    def of(self, alert: Mapping[str, Json]) -> Iterator[Match | Refusal]:
        """Yield what the rules say of an alert. Raises nothing."""
        if not self.rules:
            return
        context = {"alert": alert, "meaning": _Meaning(alert, self.own_domains)}
        started: set[str] = set()
        for rule in self.rules:
            if rule.playbook.id in started:
                continue
            found = _apply(rule, alert, context)
            if found is not None:
                yield found
            if isinstance(found, Match):
                started.add(rule.playbook.id)


def _apply(rule: Rule, alert: Mapping[str, Json], context: Mapping[str, Any]) -> Match | Refusal | None:
    try:
        if not rule.when.condition(context):
            return None
        inputs = rule.inputs.value(context)
    except ExpressionFailed as error:
        return Refusal(_name(alert), rule.id, error.message)
    try:
        return Match(read_alert_id(alert.get("AlertID")), rule.id, rule.playbook, inputs)
    except ValueError as error:
        # Without its ID a repetition of the alert would start a second run.
        return Refusal(None, rule.id, f"the AlertID {error}")


def _name(alert: Mapping[str, Json]) -> str | None:
    try:
        return read_alert_id(alert.get("AlertID"))
    except ValueError:
        return None


class _Meaning(Mapping[str, Json]):
    """The result of read-alert for an alert, which is computed if an expression reads it."""

    def __init__(self, alert: Mapping[str, Json], own_domains: Sequence[str]) -> None:
        self._alert = alert
        self._own_domains = own_domains
        self._found: dict[str, Json] | None = None

    def __getitem__(self, key: str) -> Json:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Json]:
        if self._found is None:
            if is_search(self._alert):
                raise EvaluationFailed("the record is not an alert")
            try:
                self._found = read_meaning(self._alert, own_domains=self._own_domains).model_dump(mode="json")
            except PackError as error:
                raise EvaluationFailed(f"read-alert can't read the alert: {error.message}") from None
        return self._found
