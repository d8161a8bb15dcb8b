"""Parental limits of the media server hold for what is published on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.e2e.publishing import at_night
from aperture_dagster_tests.e2e.test_publishing import BENS, film, shelf

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "emby")])
def test_parental_limits_treat_a_copy_as_its_original(household: Any, tmp_path: Path, server: str):
    ratings = {1: "PG", 2: None, 3: "PG", 4: "R"}
    films = {number: film(number, official_rating=rating) for number, rating in ratings.items()}
    with shelf(household, tmp_path, *films.values(), server=server) as place:
        custom = server != "emby"
        (strict,) = place.state.catalogue.top_items("movie:3")
        strict.edits["CustomRating"] = "R" if custom else None
        place.home.must("sync_movies")
        # TMDb knows a rating of what the server has none of.
        place.home.rows(
            """INSERT INTO enriched_metadata (work_id, media_type, title, official_rating, genres, keywords, "cast",
              directors, creators, companies, networks, countries, streams, sources)
            SELECT work_id, media_type, title, 'R', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'
            FROM titles WHERE title = 'Film 2' RETURNING 1"""
        )
        place.recommend("ben", *(one.title for one in films.values()))
        place.state.change_user("ben", max_parental_rating=12)

        def seen() -> tuple[set[str], set[str]]:
            """The films that Ben may see, and the copies of films."""
            with place.writer() as writer:
                libraries = [place.libraries()[one] for one in ("Movies", BENS)]
                items = [
                    {one.server_item_id: one.name for one in writer.library_items(each, "Movie")} for each in libraries
                ]
                originals, copies = (
                    {each[one] for one in writer.known_items(list(each), place.user_id("ben"))} for each in items
                )
            return originals, copies

        place.publish_now()
        assert seen() == (expected := {"Film 1", "Film 2", *([] if custom else ["Film 3"])}, expected)
        assert place.items(BENS)["Film 2"].official_rating is None
        # A rating changes, and another one is withdrawn.
        place.state.advance(180)
        place.state.add_title(film(1, official_rating="NC-17"))
        place.state.add_title(film(4, official_rating=None))
        place.home.must("sync_movies")
        place.publish_now()
        assert seen() == (expected := (expected | {"Film 4"}) - {"Film 1"}, expected)
        assert place.items(BENS)["Film 4"].official_rating is None
        place.state.reset_counters()
        place.publish_now()
        assert place.changes() == 0
