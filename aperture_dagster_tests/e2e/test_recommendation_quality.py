"""A server measures how good its own lists are, and says so when there is too little to tell."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.discovery import NOW, theme_of, title
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import SetClock, metadata_of, run_check

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


def test_a_server_measures_its_own_lists_against_the_most_voted_titles(household):
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

        for number in range(1, USERS):
            simulator.state.allow_libraries(f"fan {number:02}", [])
        home.must("sync_users")
        blind = metadata_of(home.must(JOB), "recommendation_quality")
        assert blind["films_users"] == 1, "who may see nothing is not judged"
