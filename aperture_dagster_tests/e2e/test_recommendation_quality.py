"""What is recommended: nothing that a user may not see on the server, and better than the most voted titles."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aperture_dagster.enrichment.enriched import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, Play, World, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster.taste.earned import write_earned
from aperture_dagster.taste.ranking import earning
from aperture_dagster.taste.vectors import activate_model, register_model
from aperture_dagster_tests.e2e.discovery import NOW, theme_of, title
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, metadata_of, run_check
from aperture_dagster_tests.marks import ANOTHER_CASE

pytestmark = pytest.mark.e2e

JOB = "evaluate_recommendations"
FILMS, USERS, PLAYED = 60, 21, 15


def fans() -> World:
    """Sixty films of three themes, and people who watch one theme, one film a day, each in an order of their own."""
    films = [title(number, theme_of(number)) for number in range(1, FILMS + 1)]
    users = [WorldUser(f"fan {number:02}", is_administrator=number == 0) for number in range(USERS)]
    plays = []
    for number, user in enumerate(users):
        theme = [film for film in films if int(film.key.split(":")[1]) % 3 == number % 3]
        order = [theme[(place * 7 + number) % len(theme)] for place in range(PLAYED)]
        plays += [Play(user.name, film.key, NOW - timedelta(days=PLAYED - day)) for day, film in enumerate(order)]
    return World("fans", films, users, plays)


def similarity_of(home: Household) -> set[float]:
    """Return what similarity adds to the scores on all lists."""
    rows = home.rows("SELECT DISTINCT CAST(components->>'similarity' AS float) AS adds FROM recommendations")
    return {row["adds"] for row in rows}


@pytest.mark.nightly(
    reason="A library that is large enough to measure.",
    instead="taste/test_quality.py",
)
def test_a_server_measures_its_own_lists_against_the_most_voted_titles(household, monkeypatch: pytest.MonkeyPatch):
    with household(fans(), parts={"clock": SetClock(NOW)}) as (simulator, home):
        # Nothing was read yet.
        empty = metadata_of(home.must(JOB), "recommendation_quality")
        assert list(empty) == ["verdict"] and empty["verdict"].startswith("Nothing can be measured yet")
        unclear = run_check(home, "recommendation_quality", "beats_popularity")
        assert unclear.passed and unclear.description == "Too little to tell for films and series."

        read_server(home, histories=True)
        for job in ("enrich_metadata", "generate_embeddings"):
            home.must(job)
        ran = home.must(JOB)
        page = metadata_of(ran, "recommendation_quality")
        assert (page["films_users"], page["films_hits"]) == (USERS, USERS * PLAYED / 5)
        assert page["films_ratio_low"] > 1.5, "five of the twenty films of a theme are left, and most voted mixes them"
        assert page["films_ndcg"] == pytest.approx(page["films_ratio"] * page["films_ndcg_most_voted"])
        assert 'Films: better than "most voted"' in page["verdict"] and "Series" not in page["verdict"]
        assert [row.data["figure"] for row in page["films"].records][:2] == ["NDCG@10", "hit rate@10"]
        assert page["films"].records[0].data["lists"] == round(page["films_ndcg"], 3)
        assert sum(len(str(value)) for value in page.values()) < 5_000, "events are kept"
        told = run_check(home, "recommendation_quality", "beats_popularity")
        assert told.passed and told.description == "Too little to tell for series."
        assert home.rows("SELECT 1 FROM recommendations") == [], "no list was touched"
        assert page["weights"].startswith("Films: every component keeps its weight, since")

        # The week before, similarity had lost its weight: lists are made without it, until it has earned it again.
        with home.database.transaction() as connection:
            write_earned(connection, home.settings, {"movie": {"similarity": 0.0}})
        monkeypatch.setattr(earning, "ENOUGH_TITLES", 30)
        home.must("generate_recommendations", users=home.everyone())
        assert similarity_of(home) == {0.0}
        again = metadata_of(home.must(JOB), "recommendation_quality")
        assert "similarity to what was watched counts in full again, which changes NDCG@50 by +" in again["weights"]
        assert "the number of votes does not count from now on" in again["weights"], "they mix the themes"
        assert similarity_of(home) == {0.0}, "lists wait for their own run"
        home.must("generate_recommendations", users=home.everyone())
        assert len(similarity_of(home)) > FILMS

        for number in range(1, USERS):
            simulator.state.allow_libraries(f"fan {number:02}", [])
        home.must("sync_users")
        blind = metadata_of(home.must(JOB), "recommendation_quality")
        assert blind["films_users"] == 1, "who may see nothing is not judged"


# Tags and folders


@pytest.mark.parametrize("server", [pytest.param("jellyfin", marks=ANOTHER_CASE), "emby"])
def test_titles_hidden_from_a_user_by_tags_or_folders_are_not_recommended(household, server: str):
    titles = [
        WorldTitle("movie:1", "movie", "Gory", 2001, tmdb_id=1, tags=("gore",)),
        WorldTitle("movie:2", "movie", "For Kids", 2002, tmdb_id=2, tags=("Kids",)),
        WorldTitle("movie:3", "movie", "Untagged", 2003, tmdb_id=3, tags=()),
        WorldTitle("movie:4", "movie", "Elsewhere", 2004, tmdb_id=4, tags=("kids",), location="/media/more"),
        WorldTitle("series:1", "series", "Gory Show", 2005, tmdb_id=5, tags=("Gore",), episodes_per_season=(2,)),
        # Two copies each, one of them a cut version.
        WorldTitle("movie:6", "movie", "Cut", 2006, tmdb_id=6, tags=("gore",)),
        WorldTitle("movie:7", "movie", "Cut", 2006, tmdb_id=6, tags=()),
        WorldTitle("movie:8", "movie", "Uncut", 2007, tmdb_id=7, tags=()),
        WorldTitle("movie:9", "movie", "Uncut", 2007, tmdb_id=7, tags=("gore",)),
    ]
    libraries = (WorldLibrary("Movies", "movies", ("/media/movies", "/media/more")), DEFAULT_LIBRARIES[1])
    users = [WorldUser(name) for name in ("all", "mild", "child", "confined")]
    with household(World("access", titles, users, libraries=libraries), server=server) as (simulator, home):
        simulator.state.restrict("mild", blocked_tags=["GORE"])
        simulator.state.restrict("child", allowed_tags=["kids"])
        simulator.state.restrict("confined", excluded_locations=["/media/more"])
        read_server(home, histories=True)
        with home.database.transaction() as connection:
            write_enriched(connection, merge_plan())
            register_model(connection, "model", 3)
            activate_model(connection, "model")
        home.must("generate_recommendations", users=home.everyone())
        offered = {user: set(home.titles_for(user) + home.titles_for(user, "series")) for user in home.everyone()}
        everything = {"Gory", "For Kids", "Untagged", "Elsewhere", "Gory Show", "Cut", "Uncut"}
        assert offered["all"] == everything
        assert offered["mild"] == {"For Kids", "Untagged", "Elsewhere", "Cut", "Uncut"}
        shown = home.rows(
            "SELECT t.tags FROM recommendations r JOIN users u USING (user_id) JOIN titles t USING (item_id) "
            "WHERE u.name = 'mild'"
        )
        assert not any("gore" in row["tags"] for row in shown), "the item of a recommendation is visible to the user"
        assert offered["child"] == {"For Kids", "Elsewhere"}
        # Jellyfin has no excluded folders.
        assert offered["confined"] == (everything - {"Elsewhere"} if server == "emby" else everything)
