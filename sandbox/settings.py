"""The settings of a sandbox. The flags of the command line have the same names and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandbox.clock import Instant
from sandbox.job_life import Pace
from sandbox.jobs import RowOrder

ACCOUNT_ID: Final = "023e105f4ecef8ad9ca31a8372d0c353"


class BadSettingsError(ValueError):
    """A setting is invalid; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a sandbox.

    - `seed`: the seed of everything random.
    - `messages`: the number of generated messages; None means 2,000, or 0 with `mbox`.
    - `alert`: a Logpush alert (path or JSON object) to create a campaign of `campaign_size` messages from. In addition,
      `late_copies` arrive after the start, one every `late_every` seconds.
    - `mbox`: real mail; `mbox_disposition` is the verdict on all of it.
    - `at`: the start time of the clock. Default: 30 minutes after the alert, else now (or, with `manual_clock`, a fixed
      date).
    - `quota` and `window`: the rate limit, in calls and seconds.
    - `permanent_failures`, `transient_failures`: the fractions (0 to 1) of copies that fail always, or at first.
    - `slow_search_seconds`: if not 0, each search first answers 202, and has its result after this time.
    - `row_order`: the order of a job's rows; with `recent`, rows move between pages while the job runs.
    """

    seed: int = 7
    messages: int | None = None
    account_id: str = ACCOUNT_ID
    host: str = "127.0.0.1"
    port: int = 0
    alert: Path | Mapping[str, Any] | None = None
    campaign_size: int = 420
    late_copies: int = 0
    late_every: float = 5.0
    mbox: Path | None = None
    mbox_disposition: str | None = None
    at: Instant | None = None
    manual_clock: bool = False
    quota: int = 1200
    window: int = 300
    pace: Pace = field(default_factory=Pace)
    permanent_failures: float = 0.02
    transient_failures: float = 0.03
    slow_search_seconds: float = 0.0
    row_order: RowOrder = "discovery"

    def __post_init__(self) -> None:
        positive = {
            "quota": self.quota,
            "window": self.window,
            "campaign-size": self.campaign_size,
            "discover-rate": self.pace.discover_rate,
            "process-rate": self.pace.process_rate,
            "late-every": self.late_every,
        }
        not_negative = {
            "messages": self.messages or 0,
            "late-copies": self.late_copies,
            "start-delay": self.pace.start_delay,
            "retry-delay": self.pace.retry_delay,
            "max-retries": self.pace.max_retries,
            "slow-search-seconds": self.slow_search_seconds,
            "permanent-failures": self.permanent_failures,
            "transient-failures": self.transient_failures,
            "moved-in-flight": self.pace.moved_in_flight,
        }
        for name, value in positive.items():
            if not 0 < value <= 1e9:
                raise BadSettingsError(f"{name} must be more than 0, and at most 1000000000")
        for name, value in not_negative.items():
            if not 0 <= value <= 1e9:
                raise BadSettingsError(f"{name} must be 0 or more, and at most 1000000000")
        if self.permanent_failures + self.transient_failures > 1:
            raise BadSettingsError("permanent-failures and transient-failures must be at most 1 in total")
        if not 0 <= self.port <= 65535:
            raise BadSettingsError("port must be from 0 to 65535")
        if not 1 <= len(self.account_id) <= 32 or "/" in self.account_id:
            raise BadSettingsError("account-id must have 1 to 32 characters and no slash")
