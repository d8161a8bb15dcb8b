"""Top Picks from every source: the household's plays, lists from outside, both, and what is kept when they fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from logging import WARNING
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from aperture_dagster import partitions
from aperture_dagster.catalogue.history.log_of_plays import note_log_of_plays
from aperture_dagster.defs import popularity
from aperture_dagster.partitions import days_partitions, range_tags
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, failures, markdown_rows, metadata_of

pytestmark = pytest.mark.e2e

USERS = ("ada", "bob", "cy")
TODAY = datetime.now(UTC).date()
NOON = datetime.combine(TODAY, time(12), UTC)
DAY = timedelta(days=1)
LIST = "friends/ours"


def title(media_type: str, name: str, number: int, **fields: Any) -> WorldTitle:
    """A title whose popularity on TMDb falls with its number."""
    usual: dict[str, Any] = {
        "title": f"{name} {number}", "year": 2000, "release_date": "2000-01-01", "vote_average": 7.0,
        "vote_count": 300, "popularity": 1000.0 - number, "tmdb_id": number,
    }  # fmt: skip
    return WorldTitle(f"{media_type}:{number}", media_type, **usual | fields)


def film(number: int, **fields: Any) -> WorldTitle:
    return title("movie", "Film", number, imdb_id=f"tt{number:07}", **fields)


def watched(number: int, *users: str, days_ago: float = 1) -> list[Play]:
    """A play of a film by each of these users."""
    return [Play(user, f"movie:{number}", NOON - days_ago * DAY) for user in users]


def world(*others: WorldTitle, plays: Sequence[Play] = (), owned: Sequence[int] = range(1, 6)) -> World:
    """Some films and two series in the library, and other titles that only the services know."""
    titles = [
        *(film(number) for number in owned),
        *(title("series", "Show", one, episodes_per_season=(10,)) for one in (1, 2)),
        *others,
    ]
    return World("a household", titles, [WorldUser(user) for user in USERS], list(plays))


class House:
    """A household whose libraries and histories have been read once."""

    def __init__(self, simulator: RunningSimulator, home: Household, clock: SetClock) -> None:
        self.simulator, self.home, self.clock = simulator, home, clock

    def use(self, **changed: Any) -> None:
        """Go on with other settings."""
        given = self.home.settings.model_dump(exclude_unset=True) | changed
        self.home = Household(load_settings(**given), self.home.instance, clock=self.clock)

    def make(self, day: date = TODAY) -> dict[str, Any]:
        """Make the list of a day; return the metadata."""
        result = self.home.must("refresh_top_picks", partition=day.isoformat(), assets=["top_picks"])
        return metadata_of(result, "top_picks")

    def make_range(self, first: date, last: date) -> dg.ExecuteInProcessResult:
        """Make the lists of all days between two in one run."""
        return self.home.definitions.resolve_job_def("refresh_top_picks").execute_in_process(
            instance=self.home.instance,
            tags=range_tags(first.isoformat(), last.isoformat()),
            asset_selection=[dg.AssetKey("top_picks")],
            raise_on_error=False,
        )

    def rows(self) -> list[dict[str, Any]]:
        return self.home.rows(
            "SELECT day, p.media_type, rank, title, viewers, plays, completion, score, relaxed, source "
            "FROM top_picks p JOIN titles t USING (item_id) ORDER BY day, p.media_type, rank"
        )

    def titles(self, day: date = TODAY, media_type: str = "movie") -> list[str]:
        return [row["title"] for row in self.rows() if (row["day"], row["media_type"]) == (day, media_type)]


@pytest.fixture
def house(household: Any) -> Any:
    """``with house(world, **settings) as house``: the stand-ins know all titles; it is noon."""

    @contextmanager
    def living(one: World, *, stand_ins: dict[str, Any] | None = None, **overrides: Any) -> Iterator[House]:
        clock = SetClock(NOON)
        known = {"mdblist_unknown_share": 0.0} | (stand_ins or {})
        overrides = {"timezone": "UTC", "http_attempts": 1} | overrides
        with household(one, {"clock": clock}, stand_ins=SimulatorSettings(**known), **overrides) as (simulator, home):
            read_server(home, histories=True)
            yield House(simulator, home, clock)

    return living


def test_who_does_not_take_part_does_not_count(house: Any) -> None:
    plays = [*watched(1, "ada", "cy"), *watched(2, "ada", "bob")]
    with house(world(plays=plays)) as home:
        home.make()
        assert sorted(home.titles()) == ["Film 1", "Film 2"]
        key = home.home.rows("SELECT partition_key FROM users WHERE name = 'cy'")[0]["partition_key"]
        home.home.instance.delete_dynamic_partition(partitions.USERS, key)
        home.make()
        assert home.titles() == ["Film 2"]


# Sources that fail


def test_a_source_that_fails_keeps_the_last_list_and_costs_the_other_media_type_nothing(house: Any) -> None:
    plays = [Play(user, "series:1", NOON - DAY, season=1, episode=1) for user in USERS]
    with house(world(plays=plays), top_picks_movies={"source": "tmdb:popular"}) as home:
        home.clock.moment -= DAY
        home.make(TODAY - DAY)
        before = home.rows()
        home.clock.moment += DAY
        home.simulator.state.add_fault(FaultRule("tmdb", status=503))
        metadata = home.make()
        assert [row for row in home.rows() if row["media_type"] == "movie"] == [
            row for row in before if row["media_type"] == "movie"
        ]
        assert home.titles(media_type="series") == ["Show 1"]
        assert f"The list of {TODAY - DAY} is kept" in metadata["movie_kept"]
        assert metadata["movie_source"] == "none" and metadata["movie_picks"] == 0
        (run,) = home.home.instance.get_runs(limit=1)
        (warning,) = (one.user_message for one in home.home.instance.all_logs(run.run_id) if one.level == WARNING)
        assert warning.startswith("Films: TMDb") and "503" in warning
        # What the page shows is the list in effect.
        assert len(markdown_rows(metadata["films"])) == 5
        home.simulator.state.clear_faults()
        home.make()
        made = home.rows()
        home.simulator.state.add_fault(FaultRule("tmdb", status=503))
        assert home.make()["rows_written"] == 0
        assert home.rows() == made, "a second run that fails keeps the list of the first"


@pytest.mark.nightly(
    reason="A household of its own for one kind of list.",
    instead="popularity/test_pick_ranking.py",
)
def test_a_hybrid_list_joins_both_outlives_a_failure_and_stays_when_its_day_is_past(house: Any) -> None:
    # Film 5 is first here and fifth of five outside, Film 1 the reverse; Film 2 is second in both.
    both = ("ada", "bob")
    plays = [*watched(5, *USERS, days_ago=4), *watched(2, *both, days_ago=4), *watched(4, "ada", days_ago=20)]
    yesterday = TODAY - DAY
    with house(world(plays=plays), top_picks_movies={"source": "local+tmdb:popular", "per_list": 3}) as home:
        home.clock.moment -= DAY
        home.make(yesterday)
        made = home.rows()
        assert home.titles(yesterday) == ["Film 2", "Film 5", "Film 1"]
        assert {row["source"] for row in made} == {"hybrid"}
        home.simulator.state.add_fault(FaultRule("tmdb", status=503))
        home.make(yesterday)
        assert home.rows() == made
        home.clock.moment += DAY
        home.make()
        assert home.titles() == ["Film 5", "Film 2"], "from plays alone, and not of one person alone"
        home.simulator.state.clear_faults()
        home.use(top_picks_movies={"source": "tmdb:popular", "per_list": 3})
        home.make(yesterday)
        home.make(yesterday - DAY)
        assert [row for row in home.rows() if row["day"] == yesterday] == made
        assert home.titles(yesterday - DAY) == [], "what TMDb listed then is not known"


def test_a_list_with_nothing_of_the_library_keeps_the_last_list_and_never_writes_an_empty_one(house: Any) -> None:
    overrides = {"top_picks_movies": {"source": f"mdblist:{LIST}"}}
    with house(world(film(70, copies=0)), stand_ins={"mdblist_lists": {LIST: ["movie:70"]}}, **overrides) as home:
        metadata = home.make()
        assert home.rows() == []
        assert metadata["movie_kept"] == (
            "None of the 1 titles on MDBList's list are in the library. There is no earlier list to keep."
        )


# Days


@pytest.mark.nightly(
    reason="Each day once more by itself.",
    instead="e2e/test_top_picks.py::test_days_missed_by_an_outage_are_made_up_for_by_the_next_run",
)
def test_a_backfill_is_one_run_with_the_rows_of_single_runs(house: Any) -> None:
    # The server tells only when somebody last watched a film.
    plays = [play for day in range(40) for play in watched(1 + day, USERS[day % 3], USERS[day % 2], days_ago=day)]
    days = [TODAY - number * DAY for number in range(2, -1, -1)]
    with house(world(plays=plays, owned=range(1, 41))) as home:
        result = home.make_range(days[0], days[-1])
        assert result.success, failures(result)
        together = home.rows()
        assert {row["day"] for row in together} == set(days)
        made = home.home.instance.get_materialized_partitions(dg.AssetKey("top_picks"))
        assert made == {day.isoformat() for day in days}
        logged = [entry.user_message for entry in home.home.instance.all_logs(result.run_id)]
        notes = [message for message in logged if message.startswith(("Films: ", "Series: "))]
        assert notes and all(f"({days[-1]})" in one for one in notes), "of the latest day, not of each"
        home.home.rows("DELETE FROM top_picks RETURNING 1")
        for day in days:
            home.make(day)
        assert home.rows() == together


def test_a_day_that_fails_costs_only_that_day(house: Any) -> None:
    days = [TODAY - number * DAY for number in range(4, -1, -1)]
    with house(world(plays=watched(1, *USERS, days_ago=6))) as home:
        with home.home.database.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE top_picks ADD CHECK (day <> '{days[2]}')")
        result = home.make_range(days[0], days[-1])
        assert not result.success
        assert failures(result)["top_picks"].startswith(f"1 of 5 days could not be made, the others were. {days[2]}: ")
        assert {row["day"] for row in home.rows()} == set(days) - {days[2]}
        made = home.home.instance.get_materialized_partitions(dg.AssetKey("top_picks"))
        assert made == {day.isoformat() for day in days if day != days[2]}


def test_days_missed_by_an_outage_are_made_up_for_by_the_next_run(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity, "HISTORY", 5 * DAY)
    with house(world(plays=watched(1, *USERS, days_ago=3))) as home:
        home.clock.moment -= 20 * DAY
        home.make(TODAY - 20 * DAY)
        home.clock.moment += 20 * DAY
        home.home.must("refresh_top_picks", partition=TODAY.isoformat(), assets=["top_picks"])
        # Also those of which nobody had watched anything, but none of long ago.
        missed = {TODAY - number * DAY for number in range(6)}
        made = home.home.instance.get_materialized_partitions(dg.AssetKey("top_picks"))
        assert made == {day.isoformat() for day in (*missed, TODAY - 20 * DAY)}
        assert {row["day"] for row in home.rows()} == {TODAY - number * DAY for number in range(3)}
        # A run for a past day makes that day only, and the next one has nothing to make up for.
        home.home.rows("DELETE FROM top_picks RETURNING 1")
        home.make(TODAY - 2 * DAY)
        home.make()
        assert {row["day"] for row in home.rows()} == {TODAY - 2 * DAY, TODAY}


def test_days_begin_at_midnight_where_the_operator_lives_also_when_clocks_change(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "HISTORY", 500 * DAY)
    zone = ZoneInfo("America/New_York")
    # The last day on which clocks changed, and the two beside it.
    changed = next(
        day
        for day in (TODAY - number * DAY for number in range(2, 400))
        if datetime.combine(day, time(), zone).utcoffset() != datetime.combine(day + DAY, time(), zone).utcoffset()
    )
    midnights = [datetime.combine(changed + number * DAY, time(), zone) for number in (0, 1, 2)]
    plays = [
        Play("ada", f"movie:{number}", moment)
        for number, moment in enumerate(
            (midnights[0] - timedelta(minutes=1), midnights[1] - timedelta(minutes=1), midnights[1] + DAY / 48), start=1
        )
    ]
    rules = {"window_days": 5, "minimum_viewers": 1}
    with house(world(plays=plays), timezone="America/New_York", top_picks_movies=rules) as home:
        result = home.make_range(changed, changed + 2 * DAY)
        assert result.success, failures(result)
        found = {day: set(home.titles(day)) for day in (changed, changed + DAY, changed + 2 * DAY)}
    assert found == {
        changed: {"Film 1"},
        changed + DAY: {"Film 1", "Film 2"},
        changed + 2 * DAY: {"Film 1", "Film 2", "Film 3"},
    }


def test_days_long_before_the_installation_are_not_missing(tmp_path: Any, make_settings: Any) -> None:
    settings = make_settings(timezone="Asia/Tokyo")
    noted = datetime(2025, 6, 1, 20, tzinfo=UTC)
    note_log_of_plays(settings.home_path, datetime(2019, 1, 1, tzinfo=UTC), now=noted)
    note_log_of_plays(settings.home_path, datetime(2018, 1, 1, tzinfo=UTC), now=noted + 90 * DAY)
    assert days_partitions(settings).get_partition_keys()[0] == "2025-05-03"
