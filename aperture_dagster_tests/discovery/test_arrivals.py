"""What somebody waited for and has come: for later, requested, and next seasons; each until they begin it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.discovery.arrivals import read_arrivals
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster_tests.shelf import NOW, Shelf, film, played

BEFORE = NOW - timedelta(days=100)
LATER = "INSERT INTO for_later SELECT :user, work_id, 'Film', :missing, :then FROM titles WHERE title = :title"
REQUESTED = (
    "INSERT INTO seerr_requests SELECT :user, work_id, 'movie', 5, 'Film', 1, 'available', NULL, :then, NULL, NULL "
    "FROM titles WHERE title = :title"
)


def arrivals(shelf: Shelf, user: str = "ann", **later: Any) -> list[tuple[str, str, int | None]]:
    with shelf.open() as connection:
        rows = read_arrivals(connection, user, now=NOW + timedelta(**later))
    names = {row["work_id"]: row["title"] for row in shelf.rows("SELECT work_id, title FROM titles")}
    return [(names[row["work_id"]], row["why"], row["season"]) for row in rows]


def seen_first(shelf: Shelf, moment: Any) -> None:
    for table in ("titles", "episodes"):
        shelf.do(f"UPDATE {table} SET first_seen_at = :moment", moment=moment)


def test_what_was_waited_for_is_told_for_two_weeks_until_it_is_begun(shelf: Shelf):
    shelf.users("ann", "ben")
    shelf.films(*(film(number, title=name) for number, name in enumerate(("Later", "Asked", "There", "Nobody"), 1)))
    shelf.do(LATER, user="ann", title="Later", missing=True, then=BEFORE)
    shelf.do(LATER, user="ann", title="There", missing=False, then=BEFORE)
    shelf.do(REQUESTED, user="ann", title="Asked", then=BEFORE)
    seen_first(shelf, NOW - timedelta(days=1))
    assert sorted(arrivals(shelf)) == [("Asked", "requested", None), ("Later", "later", None)]
    assert arrivals(shelf, "ben") == [] and arrivals(shelf, days=20) == []
    shelf.history("ann", played("film-1", played=False, play_count=0, position_share=0.2))
    assert arrivals(shelf) == [("Asked", "requested", None)]
    shelf.do("UPDATE titles SET removed_at = now()")
    assert arrivals(shelf) == []


@pytest.mark.parametrize(
    ("watched", "older_first", "told"), [(1, True, [2]), (2, True, []), (1, False, []), (0, True, [])]
)
def test_a_next_season_is_told_to_those_who_watched_the_one_before(
    shelf: Shelf, watched: int, older_first: bool, told: list[int]
):
    shelf.users("ann")
    shelf.series(ServerTitle("series-1", title="Dark", tmdb_id=70, path="/shows/Dark"))
    shelf.episodes(
        *(ServerEpisode(f"s{n}", "series-1", season=n, number=1, title="x", path=f"/shows/Dark/{n}") for n in (1, 2, 3))
    )
    seen_first(shelf, NOW - timedelta(days=1))
    if older_first:
        shelf.do("UPDATE episodes SET first_seen_at = :then WHERE season = 1", then=BEFORE)
    if watched:
        shelf.history("ann", played(f"s{watched}", is_episode=True, last_played_at=BEFORE))
    if watched == 2:
        shelf.do("UPDATE episodes SET removed_at = now() WHERE season = 3")
    assert arrivals(shelf) == [("Dark", "season", season) for season in told]
