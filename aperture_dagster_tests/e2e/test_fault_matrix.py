"""Every kind of fault in every kind of request: films, series and episodes, users, histories, TMDb.

Each time, no data is lost, the message is clear, and other items are not affected. After the fault, the next run ends
in the same state as a home that never had the fault. ``Twins`` compare the two row by row.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from aperture_dagster_tests.conftest import tuned
from aperture_dagster_tests.e2e.twins import NAMES, Twins, portrait, twins_on
from aperture_dagster_tests.household import failures

pytestmark = pytest.mark.e2e

# For each kind of request: job, step, and how many requests succeed before the fault. Most fail half-way.
SUBJECTS = {
    "users": ("sync_users", "users", 0),
    "movies": ("sync_movies", "movies", 1),
    "series": ("sync_series", "series", 1),
    "episodes": ("sync_series", "episodes", 1),
    "watch_history": ("sync_watch_history", "watch_history", 1),
    "tmdb": ("enrich_metadata", "tmdb_metadata", 1),
}
# Transient faults, and words in the message to the operator if they persist.
RETRY_AFTER = "0.2"
OUTAGES: dict[str, tuple[dict[str, Any], str]] = {
    "429 with Retry-After": ({"status": 429, "retry_after": RETRY_AFTER}, "429"),
    "429": ({"status": 429}, "429"),
    "500": ({"status": 500}, "500"),
    "slow": ({"kind": "slow", "delay_seconds": 0.7}, "no answer in time"),
    "cut off": ({"kind": "cut_off"}, "closed"),
    "malformed": ({"kind": "malformed_json"}, "not JSON (application/json"),
    "html": ({"kind": "html"}, "not JSON (text/html"),
}
# The field without which an answer is unreadable, if it is not the list of a listing.
FEW = ("429 with Retry-After", "cut off", "html")
# Answers that are valid JSON, but not the expected data.


AT_NIGHT = pytest.mark.nightly(
    reason="Every fault in every request of both servers: a minute and a half of processor time.",
    instead="the same test on the other server, or with other requests",
)
# What `make test` has. Other reads, and those of Jellyfin, have the same transport.
BY_DAY = {("emby", "series")}
EVERYTHING = [(server, subject) for server in ("jellyfin", "emby") for subject in SUBJECTS]
MATRIX = [
    *((server, subject, FEW) for server, subject in EVERYTHING if (server, subject) in BY_DAY),
    # Emby has other requests, but the same transport.
    *(
        pytest.param(server, subject, tuple(OUTAGES) if server == "jellyfin" else FEW, marks=AT_NIGHT)
        for server, subject in EVERYTHING
        if server == "jellyfin" or (server, subject) not in BY_DAY
    ),
]


@pytest.fixture
def twins(postgres: str, serve: Callable[..., Any]) -> Callable[[str], AbstractContextManager[Twins]]:
    """``with twins("emby") as twins``: two homes with data, on stand-ins."""
    return lambda server: twins_on(server, postgres, serve, f"twins_{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize(("server", "subject", "names"), MATRIX)
def test_an_outage_loses_nothing_and_a_transient_one_is_retried(
    twins, server: str, subject: str, names: tuple[str, ...]
):
    job, step, passing = SUBJECTS[subject]
    # One unreadable title is not an outage.
    unlike = ("slow", "malformed") if subject == "tmdb" else ()
    faults = {name: OUTAGES[name] for name in names if name not in unlike}
    with twins(server) as home:
        home.add_news()
        before = portrait(home.troubled)
        home.update_undisturbed(job)
        impatient = home.with_settings(http_attempts=2, media_server_timeout_seconds=0.35)
        for fault, why in faults.values():
            home.fault(fault, subject, after=passing, retry_after=0 if "retry_after" in fault else None)
            result = home.run(impatient, job)
            assert list(failures(result)) == [step], (fault, failures(result))
            said = home.messages(result)[0]
            assert ("TMDb" if subject == "tmdb" else NAMES[server]) in said, said
            assert why in said and "kept" in said, said
            home.assert_nothing_lost(before)
            home.state.clear_faults()
        # All transient faults once, some of them in a row.
        passing_faults = [fault for name, (fault, _) in faults.items() if name != "malformed"]
        for number, fault in enumerate(passing_faults):
            home.fault(fault, subject, after=passing if number == 0 else (number + 1) % 2, times=1)
        patient = home.with_settings(http_attempts=10, http_retry_wait_seconds=0.001, media_server_timeout_seconds=0.35)
        home.state.reset_counters()
        with tuned(page_size=3):
            home.must(patient, job)
        assert home.state.faults.active() == {}, "every fault occurred"
        arrivals = home.state.arrivals(*home.target(subject))
        first, met_at = arrivals[passing]
        again_at = next(at for target, at in arrivals[passing + 1 :] if target == first)
        assert again_at - met_at >= float(RETRY_AFTER)
        home.assert_equal()
