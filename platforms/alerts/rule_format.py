"""The YAML format of alert rules as strict models, and its JSON Schema.

`python -m platforms.alerts.rule_format` writes the JSON Schema of the format, for editors, to
`platforms/alerts/alert-rules.schema.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.json_values import Json

SCHEMA_PATH = Path(__file__).with_name("alert-rules.schema.json")

MOST_RULES = 100
MOST_DOMAINS = 1000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AlertRule(_Part):
    """Starts a playbook for each alert that matches."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = Field(
        description="The name of the rule, unique in the file."
    )
    title: str = Field("", description="What the rule does, shown to people.")
    when: bool | str = Field(
        description="The condition: true, or one expression in {{ … }}. It may read `alert`, the record as it came, "
        "and `meaning`, the result of read-alert for it."
    )
    playbook: str = Field(
        min_length=1,
        description="The ID of a shipped playbook, or the path of a YAML file, relative to the file of the rules.",
    )
    inputs: dict[str, Json] = Field(
        default_factory=dict,
        description="The inputs of the playbook. Texts may contain expressions, which may read `alert` and `meaning`. "
        "The value `omit` leaves a key out.",
    )


class AlertRules(_Part):
    """Says which alerts start which playbook. Without a rule that matches, an alert starts none."""

    alert_rules: Literal[1] = Field(description="The version of the format.")
    own_domains: list[str] = Field(
        default_factory=list,
        max_length=MOST_DOMAINS,
        description="Your organization's domains, for `meaning`: in addition to those in SMTPEnvelopeTo.",
    )
    rules: list[AlertRule] = Field(
        max_length=MOST_RULES,
        description="The rules. Every rule that matches starts its playbook. For one alert a playbook starts once, "
        "with the inputs of the first rule that matches.",
    )


def schema_text() -> str:
    """Return the text of `alert-rules.schema.json`, a JSON Schema (2020-12)."""
    schema = AlertRules.model_json_schema(by_alias=True, mode="validation")
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
