"""From what users like to what is suggested to them of what the library does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import make_url

from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.e2e.discovery import (
    DAY,
    JOB,
    NOW,
    Discovering,
    command,
    dismiss,
    odd_world,
    outside,
    title,
)
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of, run_check

pytestmark = pytest.mark.e2e

WORLD = odd_world()
PEOPLE = ("ann", "bob", "kid")
MADE = ("discovery_candidates", "discovery_vectors", "discovery_pool")


@pytest.fixture(scope="module")
def prepared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a household that has discovered titles once; its name."""
    with database_copy(postgres) as url:
        with running_simulator(WORLD) as simulator, dg.DagsterInstance.ephemeral() as instance:
            settings = load_settings(
                home=tmp_path_factory.mktemp("prepared"),
                database_url=url,
                timezone="UTC",
                country="DE",
                discovery_per_list=200,
                media_server_url=simulator.jellyfin_url,
                media_server_api_key="demo-jellyfin-key",
                tmdb_url=simulator.tmdb_url,
                tmdb_api_key="demo-tmdb-key",
                tmdb_requests=9000,
                embedder_url=simulator.openai_url,
                embedder_api_key="demo-openai-key",
                embedder_model="demo-embedding",
            )
            clock = SetClock(NOW)
            home = Discovering(simulator, Household(settings, instance, clock=clock), clock)
            home.prepare()
            home.discover()
        close_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        yield str(make_url(url).database)


@pytest.fixture
def database_url(postgres: str, prepared: str) -> Iterator[str]:
    """A copy of the prepared database."""
    with database_copy(postgres, prepared) as url:
        yield url


@pytest.fixture
def discovered(household: Any) -> Any:
    """``with discovered(**settings) as home``: some minutes after the first discovery.

    ``undone``: before the first discovery.
    """

    @contextmanager
    def living(*, undone: bool = False, stand_ins: Any = None, **overrides: Any) -> Iterator[Discovering]:
        clock = SetClock(NOW)
        overrides = {"country": "DE", "http_attempts": 1, "discovery_per_list": 200} | overrides
        stand_ins = SimulatorSettings(**stand_ins) if stand_ins else None
        with household(WORLD, {"clock": clock}, stand_ins=stand_ins, **overrides) as (simulator, home):
            home.instance.add_dynamic_partitions(USERS, list(PEOPLE))
            if undone:
                for table in (*MADE, "discovery_lists"):
                    home.rows(f"DELETE FROM {table} RETURNING 1")
                home.rows("DELETE FROM fetches WHERE source = 'tmdb_discovery' RETURNING 1")
            yield Discovering(simulator, home, clock)

    return living


# What is suggested


def test_people_get_what_resembles_their_taste_and_nothing_with_something_against_it(discovered: Any) -> None:
    with discovered() as home:
        ann, bob, kid = (home.titles(user) for user in PEOPLE)
        assert {one.split()[0] for one in ann[:5]} <= {"Heist", "For", "Unrated", "Documentary"}
        assert {one.split()[0] for one in bob[:5]} == {"Ghost"}
        for one in (ann, bob, kid):
            assert not {"Adult", "Erotic", "Unreleased", "In Cinemas", "Few Votes", "Korean"} & set(one)
            assert "Owned As Another" not in one and len(set(one)) == len(one)
        assert {"For Adults", "Unrated"} <= set(ann)
        assert not {"For Adults", "Unrated"} & set(kid) and "Heist 1030" in kid
        assert home.titles("ann", "series")[0].startswith("Heist")


def test_the_command_shows_lists_with_reasons_and_where_to_stream(
    discovered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with discovered() as home:
        said = command(home, monkeypatch, "discover", "ann", "--count", "3")
        rows = [line for line in said.splitlines() if "Heist" in line]
        assert len(rows) >= 5 and "People who liked Heist 3 and Heist 9 also liked this" in rows[0]
        assert "Where to stream (DE)" in said and "JustWatch" in said and "TMDb" in said
        dismiss(home, monkeypatch, "kid", "Heist 1031")
        assert "tmdb:movie:1031" in command(home, monkeypatch, "discover", "kid", "--dismissed")


# Requests


def test_a_day_later_only_what_is_new_or_old_is_requested(discovered: Any) -> None:
    with discovered() as home:
        home.clock.moment += DAY
        result = home.home.must(JOB, users=list(PEOPLE))
        assert metadata_of(result, "discovery_pool")["details_requested"] == 0 and home.lists() == 0, "all are known"
        shown = metadata_of(result, "discovery_candidates", "ann")
        row = shown["films"].splitlines()[2]
        assert "liked Heist" in row and "![](" in row and "/w92/" in row, row
        assert len(shown["films"]) < 1000 and "JustWatch" in shown["attribution"]
        home.state.add_title(title(2050, "heist", title="Newcomer", vote_count=5000))
        home.clock.moment += 14 * DAY
        metadata = home.discover()
        assert "Newcomer" in home.titles("ann")
        assert max(home.details().values()) == 1
        # At the border of two pages, a list repeats one title and hides another.
        assert metadata["details_requested"] >= metadata["dagster/row_count"] - 2
        assert metadata["embedded"] == metadata["added"] <= 3, "equal texts are not embedded again"


# What users and the library have


def test_a_dismissed_title_leaves_at_once_for_its_user_alone_and_comes_back_when_undone(
    discovered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with discovered(discovery_per_list=10) as home:
        home.suggest()
        before = home.titles("ann")
        assert "Heist 1030" in before
        said = dismiss(home, monkeypatch, "ann", "Heist 1030 (2010)")
        assert said.strip() == "Heist 1030 (2010) is not suggested to ann any more."
        said = dismiss(home, monkeypatch, "ann", "Heist 6 (2010)")
        assert said.endswith(" It has left their list.\n"), "it is in the library"
        dismiss(home, monkeypatch, "ann", "Heist 6 (2010)", "--undo")
        assert home.titles("ann") == [one for one in before if one != "Heist 1030"] and "Heist 1030" in home.titles(
            "kid"
        )
        home.suggest()
        after = home.titles("ann")
        assert len(after) == 10 and "Heist 1030" not in after, "another one takes its place"
        # TMDb gives the title a new number; the dismissal knows it by its IMDb id, too.
        home.home.rows("UPDATE discovery_pool SET tmdb_id = 77777 WHERE title = 'Heist 1030' RETURNING 1")
        home.home.rows("UPDATE dismissals SET work_id = (SELECT min(work_id) FROM works) RETURNING 1")
        home.suggest()
        assert "Heist 1030" not in home.titles("ann")
        home.home.rows("UPDATE discovery_pool SET tmdb_id = 1030 WHERE tmdb_id = 77777 RETURNING 1")
        assert "may be suggested to ann again" in dismiss(home, monkeypatch, "ann", "imdb:tt0001030", "--undo")
        home.suggest()
        assert home.titles("ann") == before


def test_what_the_library_gets_leaves_all_lists_and_the_pool(discovered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with discovered() as home:
        assert "Heist 1030" in command(home, monkeypatch, "discover", "ann")
        home.state.add_title(outside(3, "heist", copies=2))
        home.home.must("sync_movies")
        found = run_check(home.home, "discovery_candidates", "suit_their_users")
        assert not found.passed and (found.description or "").startswith("3 suggestions")
        assert "Heist 1030" not in command(home, monkeypatch, "discover", "ann")
        home.state.add_fault(FaultRule("tmdb", status=503))
        home.clock.moment += 15 * DAY
        lists = home.home.snapshot()["discovery_lists"]
        result = home.run()
        assert not result.success and "503" in failures(result)["discovery_pool"]
        assert home.home.snapshot()["discovery_lists"] == lists, "TMDb is down, but what is here is known"
        assert "Heist 1030" not in command(home, monkeypatch, "discover", "ann")
        home.state.clear_faults()
        home.discover()
        assert "Heist 1030" not in {*home.titles("ann"), *home.titles("kid")}
        assert run_check(home.home, "discovery_candidates", "suit_their_users").passed


# Trouble


def test_titles_that_nobody_is_suggested_any_more_are_deleted_with_all_that_is_made_of_them(discovered: Any) -> None:
    with discovered(discovery_minimum_votes=100_000) as home:
        home.clock.moment += 61 * DAY
        home.home.rows("UPDATE discovery_pool SET wanted_at = :then WHERE title LIKE 'Space%' RETURNING 1", then=NOW)
        home.home.rows("UPDATE tmdb_metadata SET recommended_tmdb_ids = '{}' RETURNING 1")
        home.home.rows("UPDATE taste_profiles SET summary = '{}' RETURNING 1")
        home.home.rows("DELETE FROM taste_weights RETURNING 1")
        home.home.rows("DELETE FROM discovery_lists RETURNING 1")
        metadata = home.discover()
        assert metadata["pruned"] > 100 and metadata["dagster/row_count"] == 0
        assert all(home.titles(user) == [] for user in PEOPLE)
        assert home.home.rows("SELECT 1 FROM discovery_vectors") == []
        assert home.home.rows("SELECT 1 FROM fetches WHERE source = 'tmdb_discovery'") == []
