"""The alert, the title and the warnings of a report."""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import ActionParams


class AlertFacts(ActionParams):
    """The alert that started the response."""

    id: str | None = Field(None, description="The alert's ID.")
    sender: str | None = Field(None, description="The sender's address.")
    subject: str | None = Field(None, description="The subject line.")
    received: str | None = Field(None, description="RFC 3339.")


class About(ActionParams):
    """What a report says beside the job's own facts."""

    title: str = Field("Bulk action report", min_length=1, max_length=300, description="The report's title.")
    alert: AlertFacts | None = Field(None, description="The alert that started the response.")
    warnings: list[str] = Field(default_factory=list, max_length=1000, description="Warnings of earlier steps.")
