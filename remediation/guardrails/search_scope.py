"""The part of a job's search that the message search can express, and the checks for the rest.

Facts (docs/reference/remote-api.md): the message search has no exact_subject and no submissions, and six of the ten
dispositions. A job runs its search again, so it can find more than any count before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connectors.objects.search import SEARCHABLE_DISPOSITIONS, SearchParams, verdict_of

if TYPE_CHECKING:
    from connectors.objects.found_message import FoundMessage
    from connectors.objects.message import MessageDetails


@dataclass(frozen=True)
class SearchScope:
    """query: the search that the API runs. filters: checks on each message. uncountable: why there is no count."""

    query: SearchParams
    filters: list[Callable[[FoundMessage | MessageDetails], bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    uncountable: str | None = None

    def holds(self, message: FoundMessage | MessageDetails) -> bool:
        """Return whether a found message matches the whole search."""
        return all(check(message) for check in self.filters)


def search_warnings(search: SearchParams) -> list[str]:
    """Return warnings about parameters that are not given, and that the API decides then."""
    warnings = []
    if search.detections_only is None:
        warnings.append(
            "detections_only is not given, and the API's default is true: mail with a clean verdict is not touched"
        )
    if search.start is None:
        warnings.append("`start` is not given: the API does not document how far back a job searches")
    return warnings


def scope_of(search: SearchParams) -> SearchScope:
    """Split a search into the part that the API runs and the checks on each message that it finds."""
    filters: list[Callable[[FoundMessage | MessageDetails], bool]] = []
    notes = []
    left_out: dict[str, None] = {}
    if search.exact_subject is not None:
        subject = search.exact_subject
        left_out["exact_subject"] = None
        filters.append(lambda message: message.subject == subject)
        notes.append("the message search does not support exact_subject: it was checked on each message found")
    if search.final_disposition is not None and search.final_disposition not in SEARCHABLE_DISPOSITIONS:
        disposition = search.final_disposition
        left_out["final_disposition"] = None
        filters.append(lambda message: verdict_of(message.final_disposition) == disposition)
        notes.append(
            f"the message search does not support the disposition {disposition}: it was checked on each message found"
        )
    uncountable = None
    if search.submissions is not None:
        left_out["submissions"] = None
        if search.submissions:
            uncountable = "the message search does not support submissions"
    return SearchScope(search.model_copy(update=left_out), filters, notes, uncountable)
