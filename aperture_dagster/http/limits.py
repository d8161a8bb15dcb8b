"""What a service asks of every request, and how fast and how often it may be asked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aperture_dagster.http.rate_limit import Pacer


class Quota(Protocol):
    """A number of requests that may be sent in a time."""

    def spend(self) -> None:
        """Take one request, before it is sent. Raises QuotaSpent if there is none left."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a service asks of every request, and the settings that an operator corrects it in.

    Args:
        headers: may hold the key, which therefore never appears in a URL.
        params: for services that accept their key nowhere else.
        secrets: values that must not appear in any message.
        setting, address_setting: where to correct a refused key, and a wrong address.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    secrets: Iterable[str] = ()
    setting: str | None = None
    address_setting: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How fast, how often and for how long a service is asked.

    Args:
        pacer, quota: every attempt waits for the one and is taken from the other.
        timeout_seconds: for connecting (at most 10 s) and for each read. An attempt as a whole may take twice as long.
        attempts: tries in all, the first included.
        first_wait_seconds, longest_wait_seconds: between attempts; the wait doubles, with jitter.
        status_waits: the wait after an answer with a status, if the service states none.
    """

    pacer: Pacer | None = None
    quota: Quota | None = None
    timeout_seconds: float = 30
    attempts: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 20
    status_waits: Mapping[int, float] = field(default_factory=dict)

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row: doubled each time, with jitter."""
        doubled = self.first_wait_seconds * 2.0 ** min(failures - 1, 60)
        return min(doubled, self.longest_wait_seconds) + random.uniform(0, self.first_wait_seconds)
