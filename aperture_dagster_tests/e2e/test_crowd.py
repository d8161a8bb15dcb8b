"""A folder of other people's histories (``APERTURE_CROWD_FOLDER``) changes what is recommended and suggested."""

from __future__ import annotations

from pathlib import Path

import pytest

from aperture_dagster_tests.e2e.discovery import JOB, NOW, Discovering, world
from aperture_dagster_tests.household import Household, SetClock

pytestmark = pytest.mark.e2e

WATCHED_BY_ANN = (3, 6, 9)


def people_who_like(films: tuple[int, ...], *, first: int) -> str:
    """Return the ratings of thirty people, in MovieLens format, who give each film four stars and a half."""
    return "".join(f"{first + n},{film},4.5,{1_500_000_000 + n}\n" for n in range(30) for film in films)


def test_what_a_crowd_watched_along_with_a_users_films_rises_in_both_lists(household, tmp_path: Path):
    clock = SetClock(NOW)
    with household(world(), parts={"clock": clock}, discovery_per_list=200) as (simulator, home):
        here = Discovering(simulator, home, clock)
        here.prepare()
        home.must("generate_recommendations", users=home.everyone(), assets=["recommendations"])
        here.discover()
        before = recommended(home), here.rows("ann")
        # Of both lists the last film, which a crowd watched along with what ann has watched.
        chosen = [rows[-1]["tmdb_id"] for rows in before]
        numbers = {*WATCHED_BY_ANN, *(row["tmdb_id"] for rows in before for row in rows)}
        (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n" + "".join(f"{n + 7},,{n}\n" for n in numbers))
        others = tuple(row["tmdb_id"] for rows in before for row in rows[:2])
        (tmp_path / "ratings.csv").write_text(
            "userId,movieId,rating,timestamp\n"
            + people_who_like(tuple(n + 7 for n in (*WATCHED_BY_ANN, *chosen)), first=1)
            + people_who_like(tuple(n + 7 for n in others), first=100)
        )
        settings = home.settings.model_copy(update={"crowd_folder": tmp_path})
        crowded = Household(settings, home.instance, clock=clock)
        crowded.must("generate_recommendations", users=home.everyone(), assets=["recommendations"])
        crowded.must(JOB, users=home.everyone(), assets=["discovery_candidates"])
        for number, old, new in zip(chosen, before, (recommended(home), here.rows("ann")), strict=True):
            ranks = [next(row["rank"] for row in rows if row["tmdb_id"] == number) for rows in (old, new)]
            assert ranks[1] < ranks[0] == len(old)
            best = max(new, key=lambda row: row["components"]["co_watch"])
            assert (best["tmdb_id"], best["components"]["co_watch"]) == (number, 1.0)


def recommended(home: Household) -> list[dict]:
    """Return ann's recommended films, best first."""
    return home.rows(
        "SELECT r.rank, n.tmdb_id, r.components FROM recommendations r JOIN users u USING (user_id) "
        "JOIN work_names n USING (work_id) WHERE u.name = 'ann' AND r.media_type = 'movie' ORDER BY r.rank"
    )
