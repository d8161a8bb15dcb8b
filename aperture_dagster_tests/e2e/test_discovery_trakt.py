"""Trakt's recommendations as a further source of suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.records import parse_tokens
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.e2e.discovery import DAY, NOW, Discovering, title, watched, world
from aperture_dagster_tests.household import Household, SetClock

pytestmark = pytest.mark.e2e

# Nothing else leads to them: no list of recommendations, and no trait of what ann likes.
UNHEARD = [
    title(3000 + number, "space", title=f"Unheard {number}", vote_count=400, recommended_tmdb_ids=())
    for number in range(3)
]
PLAYS: list[Play] = [*watched("ann", 3, 6, 9), *watched("bob", 3, 6, 9)]


@pytest.fixture
def connected(household: Any) -> Any:
    """``with connected(**settings) as home``: ann has connected Trakt, which recommends what is unheard of here."""

    @contextmanager
    def living(**overrides: Any) -> Iterator[Discovering]:
        clock = SetClock(NOW)
        with household(world(*UNHEARD, plays=PLAYS, owned=9), {"clock": clock}) as (simulator, home):
            trakt = {
                "trakt_url": simulator.trakt_url,
                "trakt_client_id": simulator.state.settings.trakt_client_id,
                "trakt_client_secret": simulator.state.settings.trakt_client_secret,
                "secret_key": "a key with which tokens are encrypted",
                "http_attempts": 1,
                "discovery_per_list": 200,
                # No list of TMDb's has a title.
                "discovery_minimum_votes": 100_000,
            }
            settings = load_settings(**home.settings.model_dump(exclude_unset=True) | trakt | overrides)
            found = Discovering(simulator, Household(settings, home.instance, clock=clock), clock)
            found.prepare()
            tokens = parse_tokens(simulator.state.trakt_connect("ann"), clock.now())
            user_id = found.home.value("SELECT user_id FROM users WHERE name = 'ann'")
            TraktAccounts(settings, found.home.database, clock).connect(user_id, tokens)
            simulator.state.trakt_recommend("ann", [one.key for one in UNHEARD])
            yield found

    return living


def unheard(home: Discovering) -> set[str]:
    """Return the titles of Trakt's list that are wanted in the pool now."""
    rows = home.home.rows(
        "SELECT title FROM discovery_pool WHERE title LIKE 'Unheard%' "
        "AND wanted_at = (SELECT max(wanted_at) FROM discovery_pool)"
    )
    return {row["title"] for row in rows}


def recommendations(home: Discovering) -> int:
    """Return the number of requests for recommendations to Trakt."""
    return home.state.requests("trakt", "recommendations")


def test_what_trakt_recommends_is_asked_once_a_day_and_an_empty_answer_or_failure_keeps_it(connected: Any) -> None:
    with connected() as home:
        assert home.discover()["requests_to_trakt"] == 2
        every = {one.title for one in UNHEARD}
        assert unheard(home) == every
        home.use(discovery_minimum_votes=50)
        home.suggest()
        assert every <= set(home.titles("ann"))
        home.use(discovery_minimum_votes=100_000)
        assert home.discover()["requests_to_trakt"] == 0 and recommendations(home) == 2
        home.clock.moment += DAY
        home.state.trakt_recommend("ann", [])
        home.discover()
        assert recommendations(home) == 4 and unheard(home) == every
        home.discover()
        assert recommendations(home) == 4, "that it was empty is known for the day"
        home.clock.moment += DAY
        home.state.add_fault(FaultRule("trakt", status=503))
        assert home.discover()["lists_failed"] == 1
        assert unheard(home) == every
        home.state.clear_faults()
        home.clock.moment += DAY
        before = recommendations(home)
        home.use(trakt_sync_only=True)
        assert home.discover()["requests_to_trakt"] == 0 and recommendations(home) == before
        assert unheard(home) == set(), "Trakt is only kept in step"
