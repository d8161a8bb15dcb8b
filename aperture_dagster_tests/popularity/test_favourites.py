"""The household's favourites of a year: what counts as liked, in which year, and in which order."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import TitleId
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.members.hidden import hide
from aperture_dagster.members.watched_together import note_watched
from aperture_dagster.popularity.favourites import read_favourites, shared_favourites
from aperture_dagster.ratings.in_force import OWN, give_rating
from aperture_dagster_tests.shelf import Shelf, film, played

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LAST_YEAR, THIS_YEAR = datetime(2025, 7, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
USERS = ("ann", "ben")


@pytest.fixture(autouse=True)
def household(shelf: Shelf) -> None:
    shelf.users("ann", "ben", "cleo")
    shelf.films(*(film(number) for number in range(1, 6)))


def watch(
    shelf: Shelf,
    user: str,
    item: str,
    when: datetime = THIS_YEAR,
    *,
    done: bool = True,
    times: int = 1,
    share: float = 0.0,
):
    state = played(
        item, is_episode=item.startswith("episode"), played=done, play_count=times if done else 0, position_share=share,
        last_played_at=when,
    )  # fmt: skip
    shelf.history(user, state, now=NOW)


def rate(shelf: Shelf, user: str, number: int, rating: int | None, when: datetime = THIS_YEAR) -> None:
    with shelf.open() as connection:
        give_rating(connection, user, work(shelf, number), rating, source=OWN, rated_at=when)


def work(shelf: Shelf, number: int) -> int:
    return shelf.item(f"film-{number}")["work_id"]


def found(shelf: Shelf, year: int = 2026, users: tuple[str, ...] = USERS, now: datetime = NOW) -> list[str]:
    with shelf.open() as connection:
        titles = read_favourites(connection, users, year, BERLIN, now=now)
    return [
        shelf.value("SELECT server_item_id FROM titles WHERE work_id = :work", work=title.work_id) for title in titles
    ]


def test_what_most_people_liked_is_first_and_then_what_they_rated_best():
    opinions = [{1: 8, 2: 9, 3: None, 4: 10}, {1: 8, 2: 10, 3: None, 5: 10}, {3: None}]
    assert shared_favourites(opinions) == [(3, 3, None), (2, 2, 9.5), (1, 2, 8.0)]


def test_rated_highly_or_watched_to_the_end_is_liked_and_a_lower_rating_outweighs_watching(shelf: Shelf):
    for user in USERS:
        rate(shelf, user, 1, 8)
        rate(shelf, user, 2, 7)
        watch(shelf, user, "film-2")
        watch(shelf, user, "film-3", done=False, share=0.6)
        watch(shelf, user, "film-4")
    assert found(shelf) == ["film-1", "film-4"]
    rate(shelf, "ben", 4, 3)
    assert found(shelf) == ["film-1"]
    rate(shelf, "ben", 4, None)
    assert found(shelf) == ["film-1", "film-4"], "the rating was taken back"
    with shelf.open() as connection:
        hide(connection, "ann", TitleId(ProviderIds(tmdb_id=4), work(shelf, 4), "movie"), "Film 4", now=NOW)
    assert found(shelf) == ["film-1"], "what somebody hid is none of their favourites"
    assert found(shelf, users=("ann",)) == found(shelf, users=("ann", "cleo")) == []


def test_a_year_has_what_was_liked_in_it_by_the_households_clock(shelf: Shelf):
    new_year = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    for user in USERS:
        rate(shelf, user, 1, 9, LAST_YEAR)
        rate(shelf, user, 2, 9, new_year)
        watch(shelf, user, "film-3", LAST_YEAR)
        watch(shelf, user, "film-4", new_year)
    assert found(shelf, 2025) == ["film-1", "film-3"] and found(shelf, 2026) == ["film-2", "film-4"]
    watch(shelf, "ann", "film-1")
    rate(shelf, "ben", 1, 10)
    assert found(shelf, 2026)[0] == "film-1", "liked before, and watched once more"


def test_a_thumb_of_whatever_age_counts_in_the_years_in_which_the_title_was_watched(shelf: Shelf):
    for user in USERS:
        # The sync sees it for the first time, long after it may have been given.
        shelf.history(user, played("film-1", rating=10, last_played_at=LAST_YEAR), now=NOW)
    assert found(shelf, 2026) == [] and found(shelf, 2025) == ["film-1"]


def test_what_was_noted_as_watched_together_was_watched_to_the_end(shelf: Shelf):
    with shelf.open() as connection:
        note_watched(connection, ["ben"], work(shelf, 5), "Film 5", now=THIS_YEAR)
    assert found(shelf) == []
    watch(shelf, "ann", "film-5")
    assert found(shelf) == ["film-5"] and found(shelf, 2025) == []


def test_a_series_is_liked_by_who_watched_its_last_episode_and_all_before_it(shelf: Shelf):
    shelf.series(ServerTitle("series-1", title="Dark", tmdb_id=70, path="/shows/Dark"))
    aired = {1: date(2025, 1, 1), 2: date(2025, 3, 1), 3: date(2026, 3, 1), 4: date(2026, 12, 1)}
    shelf.episodes(
        ServerEpisode("episode-0", "series-1", season=0, number=1, title="Making of", path="/shows/Dark/0"),
        *(
            ServerEpisode(
                f"episode-{number}", "series-1", season=1, number=number, title=str(number), air_date=day,
                path=f"/shows/Dark/{number}",
            )
            for number, day in aired.items()
        ),
    )  # fmt: skip
    for user in USERS:
        watch(shelf, user, "episode-1", LAST_YEAR)
    assert found(shelf, 2025) == [], "two had aired"
    for user in USERS:
        watch(shelf, user, "episode-2", LAST_YEAR)
    assert found(shelf, 2025) == ["series-1"] and found(shelf, 2026) == [], "the third has aired since"
    for user in USERS:
        watch(shelf, user, "episode-1", times=2)
    february = datetime(2026, 2, 10, tzinfo=UTC)
    assert found(shelf, 2026, now=february) == [], "they began it once more, and had finished it the year before"
    watch(shelf, "ann", "episode-3", datetime(2026, 4, 1, tzinfo=UTC))
    assert found(shelf, 2026) == []
    watch(shelf, "ben", "episode-3", datetime(2026, 4, 1, tzinfo=UTC))
    assert found(shelf, 2026) == ["series-1"] == found(shelf, 2025)
    christmas = datetime(2026, 12, 24, tzinfo=UTC)
    assert found(shelf, 2026, now=christmas) == [], "the fourth has aired by then"
    with shelf.open() as connection:
        for user in USERS:
            series = shelf.item("series-1")["work_id"]
            give_rating(connection, user, series, 9, source=OWN, rated_at=datetime(2024, 1, 1, tzinfo=UTC))
    assert found(shelf, 2026, now=christmas) == ["series-1"], "rated highly, and watched in this year"
