"""The settings of a sandbox. Each one is also a flag of the command line, with the same name and default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_origin, get_type_hints

from sandbox.clock import Instant
from sandbox.contract.values import Disposition
from sandbox.jobs import RowOrder

ACCOUNT_ID: Final = "023e105f4ecef8ad9ca31a8372d0c353"

_LARGEST: Final = 1e9


class BadSettingsError(ValueError):
    """A setting is invalid; the message names it."""


class Flag(NamedTuple):
    """The flag of a setting: its help, its lower bound (inclusive or exclusive), and the group that it begins."""

    description: str
    least: int | None = None
    above: int | None = None
    group: str = ""

    @staticmethod
    def of(settings: type[Any]) -> Iterator[tuple[str, Any, "Flag"]]:
        """Yield name, type and flag of each setting that has a flag."""
        for name, hint in get_type_hints(settings, include_extras=True).items():
            if get_origin(hint) is Annotated:
                yield name, hint.__origin__, hint.__metadata__[0]


def flag_name(name: str) -> str:
    return name.replace("_", "-")


def _check_bounds(settings: Any) -> None:
    """Raise BadSettingsError for a number out of bounds."""
    for name, _, flag in Flag.of(type(settings)):
        value = getattr(settings, name) or 0
        if flag.above is not None and not flag.above < value <= _LARGEST:
            raise BadSettingsError(f"{flag_name(name)} must be more than {flag.above}, and at most {_LARGEST:.0f}")
        if flag.least is not None and not flag.least <= value <= _LARGEST:
            raise BadSettingsError(f"{flag_name(name)} must be {flag.least} or more, and at most {_LARGEST:.0f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The speed of jobs: rates in rows per second, delays in seconds."""

    start_delay: Annotated[float, Flag("seconds a job stays PENDING", least=0)] = 1.0
    discover_rate: Annotated[float, Flag("rows discovered per second", above=0)] = 200.0
    process_rate: Annotated[float, Flag("rows processed per second", above=0)] = 100.0
    retry_delay: Annotated[float, Flag("seconds before a retry, times the attempts so far", least=0)] = 2.0
    max_retries: Annotated[int, Flag("retries of a row", least=0)] = 3
    moved_in_flight: Annotated[
        float, Flag("fraction of the messages in progress when a job is cancelled that are still moved", least=0)
    ] = 0.5

    def __post_init__(self) -> None:
        _check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a sandbox. `alert` may also be a JSON object."""

    host: Annotated[str, Flag("address to listen on", group="network")] = "127.0.0.1"
    port: Annotated[int, Flag("port; 0 selects a free one")] = 0
    account_id: Annotated[str, Flag("ID of the only account")] = ACCOUNT_ID
    seed: Annotated[int, Flag("the same seed creates the same mail", group="mail")] = 7
    messages: Annotated[int | None, Flag("number of messages (default: 2000, with --mbox 0)", least=0)] = None
    alert: Annotated[
        Path | Mapping[str, Any] | None, Flag("Logpush email_security_alerts record to create a campaign from")
    ] = None
    campaign_size: Annotated[int, Flag("messages of the campaign", above=0)] = 420
    late_copies: Annotated[int, Flag("copies that arrive after the start", least=0)] = 0
    late_every: Annotated[float, Flag("seconds between late copies", above=0)] = 5.0
    mbox: Annotated[Path | None, Flag("real mail: an mbox, a Maildir, a folder of .eml files, or one")] = None
    mbox_disposition: Annotated[Disposition | None, Flag("verdict on all mail of --mbox")] = None
    at: Annotated[
        Instant | None, Flag("start time of the clock (default: 30 minutes after the alert, or now)", group="clock")
    ] = None
    manual_clock: Annotated[bool, Flag("advance time only by POST /_sandbox/clock")] = False
    quota: Annotated[int, Flag("calls per window", above=0, group="rate limit")] = 1200
    window: Annotated[int, Flag("length of the window in seconds", above=0)] = 300
    permanent_failures: Annotated[
        float, Flag("fraction of rows that fail permanently", least=0, group="jobs and searches")
    ] = 0.02
    transient_failures: Annotated[float, Flag("fraction of rows that fail at the first attempt", least=0)] = 0.03
    row_order: Annotated[RowOrder, Flag("order of a job's rows; with recent, rows move between pages")] = "discovery"
    slow_search_seconds: Annotated[float, Flag("seconds during which a search answers 202", least=0)] = 0.0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        _check_bounds(self)
        if self.permanent_failures + self.transient_failures > 1:
            raise BadSettingsError("permanent-failures and transient-failures must be at most 1 in total")
        if not 0 <= self.port <= 65535:
            raise BadSettingsError("port must be from 0 to 65535")
        if not 1 <= len(self.account_id) <= 32 or "/" in self.account_id:
            raise BadSettingsError("account-id must have 1 to 32 characters and no slash")
