"""What the pages show of lists, tastes and plays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from aperture_dagster.catalogue.history.plays import plays_by_week
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.maintenance import forget_past_picks
from aperture_dagster.maintenance.status import picks_watched
from aperture_dagster.popularity.household import read_overview, weeks_until
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import first_recommendations, liked_genres, replace_recommendations, replace_taste
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.publishing.disk.test_gather import recommend
from aperture_dagster_tests.shelf import NOW, Shelf, film, list_rows, played


def test_the_share_of_a_genre_is_that_of_the_weight_of_what_is_liked(shelf: Shelf):
    shelf.users("ann", "bob")
    genres = {1: ("War", "Drama"), 2: ("Drama",), 3: ("Horror",), 4: ()}
    shelf.films(*(film(number, genres=own) for number, own in genres.items()))
    works = {number: shelf.item(f"film-{number}")["work_id"] for number in genres}
    weights = {1: 1.5, 2: 0.5, 3: -2.0, 4: 2.0}
    rows = [
        {"user_id": "ann", "work_id": works[number], "media_type": "movie", "weight": weight}
        for number, weight in weights.items()
    ]
    with shelf.open() as connection:
        replace_taste(connection, "ann", [], rows)
        shares = liked_genres(connection, ["ann", "bob"])
    assert shares == {"ann": {"Drama": 0.5, "War": 0.375}, "bob": {}}, "what is disliked is no share of what is liked"
    assert list(shares["ann"]) == ["Drama", "War"]


def test_the_first_titles_of_a_list_come_with_reasons_and_the_copy_whose_poster_is_shown(shelf: Shelf):
    shelf.users("ann", "bob")
    shelf.films(*(film(number) for number in range(1, 6)))
    items = [shelf.item(f"film-{number}") for number in range(1, 6)]
    for user, order in (("ann", items), ("bob", items[::-1])):
        rows = list_rows(user, order, because=[items[2]["work_id"]])
        with shelf.open() as connection:
            replace_recommendations(connection, user, rows, today=NOW.date())
    with shelf.open() as connection:
        shown = first_recommendations(connection, ["ann", "bob"], 2)
        assert first_recommendations(connection, ["ann"], 1)[0]["user_id"] == "ann"
    assert [(row["user_id"], row["rank"], row["title"], row["server_item_id"]) for row in shown] == [
        ("ann", 1, "Film 1", "film-1"), ("ann", 2, "Film 2", "film-2"),
        ("bob", 1, "Film 5", "film-5"), ("bob", 2, "Film 4", "film-4"),
    ]  # fmt: skip
    assert all(row["because"] == ["Film 3"] for row in shown)


def test_plays_are_counted_by_the_weeks_of_the_operators_time_zone(shelf: Shelf):
    shelf.users("ann")
    shelf.films(film(1), film(2), film(3))
    sunday_night = datetime(2026, 5, 10, 23, 30, tzinfo=UTC)
    for number, moment in (
        (1, sunday_night),
        (2, datetime(2026, 5, 13, tzinfo=UTC)),
        (3, datetime(2026, 4, 20, tzinfo=UTC)),
    ):
        shelf.history("ann", played(f"film-{number}", last_played_at=moment))
    with shelf.open() as connection:
        since = date(2026, 4, 27)
        assert plays_by_week(connection, since=since, timezone="UTC") == {date(2026, 5, 4): 1, date(2026, 5, 11): 1}
        assert plays_by_week(connection, since=since, timezone="Europe/Berlin") == {date(2026, 5, 11): 2}


def test_a_title_counts_as_a_watched_pick_if_it_was_on_the_list_when_it_was_finished(shelf: Shelf):
    shelf.users("bob", "Ann")
    shelf.films(*(film(number) for number in range(1, 9)))
    now = datetime.now(UTC)

    def put(*numbers: int, on: datetime) -> None:
        rows = list_rows("Ann", (shelf.item(f"film-{number}") for number in numbers))
        with shelf.open() as connection:
            replace_recommendations(connection, "Ann", rows, today=on.date())

    def watch(number: int, at: datetime, **facts: Any) -> None:
        shelf.history("Ann", played(f"film-{number}", last_played_at=at, **facts), now=now)

    put(1, 2, 3, 4, 5, 8, on=now - timedelta(days=20))
    watch(1, now - timedelta(days=2))
    watch(2, now - timedelta(days=15))
    watch(3, now - timedelta(days=25))
    watch(4, now - timedelta(hours=1), played=False, play_count=0, position_share=0.5)
    watch(6, now - timedelta(hours=2))
    # Begun while it was a pick, which ended that, and finished the day after.
    watch(8, now - timedelta(days=12), played=False, play_count=0, position_share=0.5)
    watch(8, now - timedelta(days=11))
    # What is watched leaves the list.
    put(4, 5, 7, on=now)
    shelf.do("UPDATE past_picks SET left_at = left_at - interval '1 hour'")
    shelf.do("UPDATE past_picks SET left_at = :then WHERE work_id = :work", then=now - timedelta(days=12),
             work=shelf.item("film-8")["work_id"])  # fmt: skip
    watch(7, now - timedelta(days=1, hours=1))
    watch(5, now - timedelta(minutes=1))
    put(4, on=now)
    shelf.do("UPDATE past_picks SET left_at = :early WHERE listed_since < :today AND left_at > :now",
             early=now - timedelta(minutes=5), today=now.date(), now=now)  # fmt: skip
    with shelf.open() as connection:
        found = picks_watched(connection, now=now, timezone="UTC")
    assert [(one.user, one.days, one.titles, one.picks, one.rate) for one in found] == [
        ("Ann", 7, 4, ("Film 1",), 0.25), ("Ann", 30, 6, ("Film 1", "Film 2", "Film 8"), 0.5),
        ("bob", 7, 0, (), None), ("bob", 30, 0, (), None),
    ]  # fmt: skip
    with shelf.open() as connection:
        assert forget_past_picks(connection, before=now - timedelta(minutes=30)).rows == 4
    assert shelf.value("SELECT count(*) FROM past_picks") == 2


def test_everybody_is_shown_with_their_own_first_title(shelf: Shelf, make_settings: Callable[..., Settings]):
    furnish(shelf)
    recommend(shelf, "ann", "film-3", "film-1")
    recommend(shelf, "bob", "film-1", "film-2", "film-4")
    with shelf.open() as connection:
        keys = [user.partition_key for user in read_users(connection)]
    page = read_overview(make_settings(), shelf.database, keys, NOW)
    assert [(row["user"], row["film"]) for row in page.watch_first] == [
        ("ann", "Film 3 (2000)"),
        ("bob", "Film 1 (2000)"),
    ]
    assert sorted(title for title, _ in page.posters) == ["Film 1", "Film 3"]


def test_weeks_begin_on_mondays_and_end_with_the_present_one():
    assert weeks_until(date(2026, 5, 24), 3) == [date(2026, 5, 4), date(2026, 5, 11), date(2026, 5, 18)]
    assert weeks_until(date(2026, 5, 18), 1) == [date(2026, 5, 18)]
