"""Compare a job with a request: its action, destination, search and window as the API shows them.

A tag is text in a comment. It proves what somebody wrote, not what the job does. So wherever the job itself can be
compared, it is never reused, limited or put into evidence by its tag alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from connectors.objects.job import BulkJob, BulkJobRequest
from connectors.objects.search import LOOK_BACK, SearchParams
from core.addresses import normal_form
from core.clock import CLOCK_SKEW
from core.instants import format_instant, instant_or_none
from core.search_words import ADDRESS_CRITERIA
from remediation.guardrails.limits import OLDEST_PLAN
from remediation.stamp import Stamp, StampKey, request_digest

# The values that the API adds to a search without them (docs/reference/remote-api.md).
DEFAULTS: dict[str, bool] = {"detections_only": True, "submissions": False, "action_log": False}

_WHOLE_SECOND = timedelta(seconds=1)
_AFTER = timedelta(milliseconds=1)
_LONGEST_VALUE = 100


class ExpectedJob(NamedTuple):
    """The expected job. request: as it would be sent now. asked: as the caller wrote it, without a pinned window.

    A job that was made earlier may have another start or end where `asked` has none, or an end in the future. Nothing
    else may differ. Where `asked` is None, nothing may differ.
    """

    request: BulkJobRequest
    asked: BulkJobRequest | None = None


def is_visible(job: BulkJob) -> bool:
    """Return whether the answer shows what the job does. Older answers, and rows of a list, may lack a part."""
    action = action_of(job)
    return action is not None and job.search_params is not None and (action != "MOVE" or _folder_of(job) is not None)


def differences(expected: ExpectedJob, job: BulkJob) -> list[str]:
    """Return the differences, each in a few words; empty if the job does what is expected.

    A part that the answer lacks is not compared: call `is_visible` first.
    """
    found = list(_other_action(expected.request, job))
    if job.search_params is not None:
        found += _other_criteria(expected.request.search_params.request(), job.search_params)
        found += _other_window(expected, job, job.search_params)
    return found


def does_the_same(one: BulkJob, other: BulkJob) -> bool:
    """Return whether two jobs show the same action, destination and criteria, and windows of one request.

    Where the request left an end of the window open, each job has it pinned to the time of its own plan or creation.
    """
    if not is_visible(one) or not is_visible(other):
        return False
    mine, theirs = one.search_params or {}, other.search_params or {}
    same = (action_of(one), _folder_of(one)) == (action_of(other), _folder_of(other))
    if not same or list(_other_criteria(mine, theirs)):
        return False
    for name in ("start", "end"):
        ours, found = instant_or_none(mine.get(name)), instant_or_none(theirs.get(name))
        if (ours is None) != (found is None):
            return False
        if ours is not None and found is not None and abs(ours - found) > OLDEST_PLAN + CLOCK_SKEW:
            return False
    return True


def missed_search(expected: ExpectedJob, job: BulkJob) -> SearchParams | None:
    """Return the search for mail that arrived before the job's creation and after the end of its window.

    None if the window reaches to the job's creation, or if the caller set its end.
    """
    end, created = instant_or_none((job.search_params or {}).get("end")), instant_or_none(job.created_at)
    if expected.asked is None or end is None or created is None or end >= created - CLOCK_SKEW:
        return None
    asked = expected.asked.search_params
    if asked.end is not None and _same_instant(asked.end, end):
        return None
    return expected.request.search_params.model_copy(update={"start": end + _AFTER, "end": created})


def window_search(expected: ExpectedJob, job: BulkJob) -> SearchParams:
    """Return the expected search within the job's own window."""
    search = job.search_params or {}
    window = {name: instant_or_none(search.get(name)) for name in ("start", "end")}
    return expected.request.search_params.model_copy(update={name: at for name, at in window.items() if at is not None})


def sent_digest(request: BulkJobRequest) -> str:
    """Return a digest of the request as it is sent. `digest_of_job` returns the same for its job."""
    return _digest(request.action, request.destination, request.search_params.request())


def digest_of_job(job: BulkJob) -> str | None:
    """Return the digest of the job's own request; None if the answer does not show the request."""
    if not is_visible(job):
        return None
    return _digest(action_of(job), _folder_of(job), job.search_params or {})


def is_proved(job: BulkJob, account_id: str, stamp_key: StampKey | None) -> bool:
    """Return whether the job's tag was made with this key, for a job that does the same as this job.

    Then the requester and the approvers in the tag are proved.
    """
    stamp = Stamp.read(job.comment)
    if stamp is None or stamp_key is None or not stamp.is_authentic(account_id, stamp_key):
        return False
    # A whole tag may have been copied into the comment of another job.
    return bool(stamp.sent) and stamp.sent == digest_of_job(job)


def meaning(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normal form of a search: equal for two searches that find the same messages.

    It has one form of addresses, domains, IP addresses and keywords. Instants are in UTC, in whole seconds. The API's
    own defaults are left out.
    """
    return {name: _meant(name, value) for name, value in _criteria(search).items()} | _window(search)


def is_formerly_stamped(expected: ExpectedJob, job: BulkJob, stamp: Stamp) -> bool:
    """Return whether an earlier version tagged the job for the expected request, in another spelling.

    Earlier digests depended on fractions of seconds, the order of keywords and the spelling of domains. So the request
    that the job shows is digested in the same way, with start and end only where the caller set them.
    """
    if expected.asked is None:
        return True
    asked, shown = expected.asked.search_params, _formerly_meant(job.search_params or {})
    unasked = {name for name in ("start", "end") if getattr(asked, name) is None}
    body = {"action": action_of(job), "destination": _folder_of(job)}
    request = {name: value for name, value in body.items() if value is not None}
    search = {name: value for name, value in shown.items() if name not in unasked}
    return request_digest({**request, "search_params": search}) == stamp.request


def _formerly_meant(search: Mapping[str, Any]) -> dict[str, Any]:
    meant = _criteria(search)
    for name in ADDRESS_CRITERIA:
        if isinstance(meant.get(name), str):
            meant[name] = meant[name].strip().casefold()
    with suppress(ValueError):
        meant["smtp_helo_ip"] = str(ipaddress.ip_address(str(meant.get("smtp_helo_ip", "")).strip()))
    window = {name: instant_or_none(search.get(name)) for name in ("start", "end")}
    return meant | {name: format_instant(at) for name, at in window.items() if at is not None}


def _digest(action: str | None, destination: str | None, search: Mapping[str, Any]) -> str:
    criteria = {name: _normal(name, value) for name, value in _criteria(search).items()} | _window(search)
    canonical = json.dumps([action, destination, criteria], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"cfes sent\0{canonical}".encode(errors="surrogatepass")).hexdigest()[:32]


def _window(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given ones of start and end as RFC 3339, in UTC and whole seconds."""
    window = {name: search[name] for name in ("start", "end") if search.get(name) is not None}
    instants = {name: instant_or_none(value) for name, value in window.items()}
    return window | {name: format_instant(_whole(at)) for name, at in instants.items() if at is not None}


def action_of(job: BulkJob) -> str | None:
    """Return the job's action: MOVE, RELEASE or a new one; None if the answer does not show it."""
    if job.action_type is not None or job.action_params is None:
        return job.action_type
    return job.action_params.type


def _folder_of(job: BulkJob) -> str | None:
    return None if job.action_params is None else job.action_params.destination


def _other_action(request: BulkJobRequest, job: BulkJob) -> Iterator[str]:
    named = {job.action_type, None if job.action_params is None else job.action_params.type} - {None}
    for action in sorted(str(name) for name in named if name != request.action):
        yield f"action is {_shown(action)}, expected {request.action}"
    folder = _folder_of(job)
    if folder != request.destination and (folder is not None or is_visible(job)):
        yield f"destination is {_shown(folder)}, expected {request.destination or 'none'}"


def _criteria(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the criteria without the window, without what is absent and without the API's own defaults."""
    return {
        name: value
        for name, value in search.items()
        if name not in ("start", "end")
        and value is not None
        and not (value == "" and name in SearchParams.model_fields)
        and not (name in DEFAULTS and value is DEFAULTS[name])
    }


def _other_criteria(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    mine, theirs = _criteria(wanted), _criteria(found)
    for name in sorted(mine.keys() | theirs.keys()):
        ours, others = (side.get(name, DEFAULTS.get(name)) for side in (mine, theirs))
        if _meant(name, ours) != _meant(name, others) or type(ours) is not type(others):
            known = name in SearchParams.model_fields
            added = "" if known else " (a criterion that this version does not know)"
            yield f"{name if known else _shown(name)} is {_shown(others)}, expected {_shown(ours)}{added}"


def _other_window(expected: ExpectedJob, job: BulkJob, search: Mapping[str, Any]) -> Iterator[str]:
    created = instant_or_none(job.created_at)
    start, end = (instant_or_none(search.get(name)) for name in ("start", "end"))
    for name, found in (("start", start), ("end", end)):
        if found is None and search.get(name) not in (None, ""):
            yield f"{name} is {_shown(search[name])}, not a valid date-time"
            return
    request = expected.request.search_params
    if expected.asked is None:
        for name, theirs, ours in (("start", start, request.start), ("end", end, request.end)):
            if theirs != ours and (theirs is None or ours is None or not _same_instant(ours, theirs)):
                yield f"{name} is {_when(theirs)}, expected {_when(ours)}"
        return
    asked = expected.asked.search_params
    yield from _other_start(asked, request, start, created)
    yield from _other_end(asked, end, created)
    pinned = end is not None and not (asked.end is not None and _same_instant(asked.end, end))
    if pinned and end is not None and (start or request.start or datetime.min.replace(tzinfo=UTC)) >= end:
        yield f"the window is empty: end is {format_instant(end)}, not after the start"


def _other_start(
    asked: SearchParams, request: SearchParams, found: datetime | None, created: datetime | None
) -> Iterator[str]:
    if asked.start is not None:
        # As it would be sent: an edited plan may ask for one window and have another.
        if request.start is None or found is None or not _same_instant(request.start, found):
            yield f"start is {_when(found)}, expected {_when(request.start)}"
    elif found is None:
        if request.start is not None:
            yield f"start is none, expected {_when(request.start)}"
    elif created is None:
        yield "created_at is missing or not a valid time: the pinned start can't be checked"
    else:
        latest, earliest = created + CLOCK_SKEW, created - OLDEST_PLAN - CLOCK_SKEW
        if asked.end is not None:
            latest, earliest = min(latest, asked.end), min(earliest, asked.end)
        if not earliest - LOOK_BACK - _WHOLE_SECOND <= found <= latest - LOOK_BACK:
            yield f"start is {_when(found)}, expected {LOOK_BACK.days} days before the job was made"


def _other_end(asked: SearchParams, found: datetime | None, created: datetime | None) -> Iterator[str]:
    given = asked.end
    if given == found or (given is not None and found is not None and _same_instant(given, found)):
        return
    if found is None:
        yield f"end is none, expected {_when(given)}"
    elif created is None:
        yield "created_at is missing or not a valid time: the pinned end can't be checked"
    elif given is not None and given < created - CLOCK_SKEW:
        yield f"end is {_when(found)}, expected {_when(given)}"
    elif found > created + CLOCK_SKEW:
        yield (
            f"end is {_when(found)}, but Cloudflare made the job before that, at {_when(created)}: the clock of this "
            "machine or of the machine that made the job is wrong (a sandbox takes its time from --at)"
        )
    elif found < created - OLDEST_PLAN - CLOCK_SKEW:
        yield (
            f"end is {_when(found)}, more than {OLDEST_PLAN // timedelta(hours=1)} hours before the job was made "
            f"({_when(created)})"
        )


def _same_instant(expected: datetime, found: datetime) -> bool:
    """Return whether the instants are equal in whole seconds: the API, or the source of a time, may keep no more."""
    return _whole(expected) == _whole(found)


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _normal(name: str, value: Any) -> Any:
    """Return the normal form of a value: the API may return it in another spelling than it was sent."""
    if isinstance(value, str) and name in ADDRESS_CRITERIA:
        return normal_form(value)
    if isinstance(value, str) and name == "smtp_helo_ip":
        with suppress(ValueError):
            address = ipaddress.ip_address(value.strip())
            # Python's own text of an IPv4-mapped address differs between Python versions; a tag must not.
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            return str(address) if mapped is None else f"::ffff:{mapped}"
    return value


def _meant(name: str, value: Any) -> Any:
    """Return the normal form of a value: equal for all values that find the same messages."""
    if not isinstance(value, str):
        return value
    match name:
        case "query":
            # Its terms are case-insensitive, and all must match.
            return " ".join(sorted(set(value.lower().split())))
        case "subject":
            # Keywords, in any order. Whether their case counts is not documented.
            return " ".join(sorted(set(value.split())))
        case _:
            return _normal(name, value if name == "exact_subject" else value.strip())


def _when(moment: datetime | None) -> str:
    return "none" if moment is None else format_instant(moment)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) and value.isidentifier() else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
