"""The page about the whole household."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from aperture_dagster.catalogue.people import read_users
from aperture_dagster.popularity.queries import read_overview, weeks_until
from aperture_dagster.settings import Settings
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.publishing.test_gather import recommend
from aperture_dagster_tests.shelf import NOW, Shelf


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
