"""Lists are made from TMDb's lists, from a table of other people's histories, and as the settings say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.settings.lists import RecommendationRules
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.crowd_table import build_table, write_table
from aperture_dagster_tests.e2e.discovery import JOB, NOW, Discovering, title, world
from aperture_dagster_tests.household import Household, SetClock, run_check

pytestmark = pytest.mark.e2e

WATCHED_BY_ANN = (3, 6, 9)
HIDE_THE_FIRST = """
    INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at)
    SELECT r.user_id, r.work_id, r.media_type, 'Hidden', now() FROM recommendations r JOIN users u USING (user_id)
    WHERE u.name = 'ann' AND r.media_type = 'movie' AND r.rank = 1 RETURNING 1"""


def test_lists_follow_tmdbs_lists_the_settings_and_what_a_crowd_watched_along(household, tmp_path: Path):
    clock = SetClock(NOW)
    favourite = title(3, "heist")
    favourite = title(3, "heist", recommended_tmdb_ids=(*favourite.recommended_tmdb_ids, 5))
    with household(world(favourite), parts={"clock": clock}, discovery_per_list=200) as (simulator, home):
        here = Discovering(simulator, home, clock)
        here.prepare()

        def recommend(**changed: Any) -> list[dict]:
            """Recommend with other settings; return ann's films, best first."""
            settings = home.settings.model_copy(update=changed)
            again = Household(settings, home.instance, clock=clock)
            again.must("generate_recommendations", users=home.everyone(), assets=["recommendations"])
            return home.rows(
                "SELECT r.rank, n.tmdb_id, r.components, r.score FROM recommendations r JOIN users u USING (user_id) "
                "JOIN work_names n USING (work_id) WHERE u.name = 'ann' AND r.media_type = 'movie' ORDER BY r.rank"
            )

        usual = recommend()
        from_lists = {row["tmdb_id"]: row["components"]["recommended_from"] for row in usual}
        assert from_lists[5] > 0, "TMDb recommends it from a film that ann watched"
        home.rows(HIDE_THE_FIRST)
        assert {row["tmdb_id"] for row in recommend()} == {row["tmdb_id"] for row in usual[1:]}
        home.rows("DELETE FROM dismissals RETURNING 1")
        by_score = recommend(recommendations_movies=RecommendationRules(per_list=4, diversity=0.0))
        scores = [row["score"] for row in by_score]
        assert len(scores) == 4 < len(usual) and scores == sorted(scores, reverse=True)

        here.discover()
        before = usual, here.rows("ann")
        # Of both lists the last film, which a crowd watched along with what ann has watched.
        chosen = [rows[-1]["tmdb_id"] for rows in before]
        others = tuple(row["tmdb_id"] for rows in before for row in rows[:2])
        write_crowd(tmp_path, (*WATCHED_BY_ANN, *chosen), others)
        table = table_in_use(home.settings)
        write_table(table, build_table(tmp_path))
        after = [recommend()]
        home.must(JOB, users=home.everyone(), assets=["discovery_candidates"])
        after.append(here.rows("ann"))
        for number, old, new in zip(chosen, before, after, strict=True):
            assert leading(new, "co_watch") == number == old[-1]["tmdb_id"]
            scores = [next(row["score"] for row in rows if row["tmdb_id"] == number) for rows in (old, new)]
            assert scores[1] > scores[0]

        rests = (
            "SELECT n.tmdb_id FROM first_places p JOIN users u USING (user_id) JOIN work_names n USING (work_id) "
            "WHERE u.name = 'ann' AND p.media_type = 'movie' AND p.rests_from IS NOT NULL"
        )
        assert home.rows(rests) == []
        last = recommend()[-1]["tmdb_id"]
        clock.moment += timedelta(days=5)
        later = [row["tmdb_id"] for row in recommend()]
        assert [row["tmdb_id"] for row in home.rows(rests)] == [last] == later[-1:], "it comes after the others"

        table.write_bytes(b"no table")
        assert recommend() == usual, "what cannot be read costs only the crowd"
        found = run_check(home, "recommendations", "crowd_is_usable")
        assert not found.passed and "no usable table" in (found.description or "")


def leading(rows: list[dict], component: str) -> int:
    """Return the TMDb id of the only film with the best of a component, which speaks for it."""
    best, second = sorted(rows, key=lambda row: -row["components"][component])[:2]
    assert best["components"][component] > max(second["components"][component], 0.0)
    return best["tmdb_id"]


def write_crowd(folder: Path, *likes: tuple[int, ...]) -> None:
    """Write thirty people for each group of films, by TMDb id, who give all of them four stars and a half."""
    films = sorted({film for group in likes for film in group})
    # The ids of MovieLens are others than those of TMDb.
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n" + "".join(f"{film + 7},,{film}\n" for film in films))
    rows = [
        f"{100 * number + person},{film + 7},4.5,{1_500_000_000 + person}\n"
        for number, group in enumerate(likes, start=1)
        for person in range(30)
        for film in group
    ]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows))
