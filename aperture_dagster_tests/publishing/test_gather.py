"""What the published lists consist of: which titles, for whom, and what is remembered of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.access import Access
from aperture_dagster.media_server.records import MediaSource, OriginalFiles
from aperture_dagster.publishing.entries import ListSpec
from aperture_dagster.publishing.gather import gather
from aperture_dagster.publishing.publishable import furthest_watched, listed_works
from aperture_dagster.taste.lists import replace_recommendations, replace_top_picks
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.publishing.test_works_in_progress import publish, touched
from aperture_dagster_tests.shelf import NOW, Shelf, film, played

DAY = timedelta(days=1)
ANNS = ListSpec("recommendations/ann/movie", "ann's", "movie", "ann", frozenset({"ann"}))
EVERYBODYS = ListSpec("top_picks/movie", "Top Picks", "movie", None, frozenset({"ann", "bob"}))


class Server:
    """A media server that is asked about files."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dry_run = False

    def original_files(self, item_ids: Sequence[str]) -> dict[str, OriginalFiles]:
        self.asked += item_ids
        return {one: OriginalFiles((MediaSource(one, f"/films/{one}.mkv"),)) for one in item_ids}


@pytest.fixture
def server(shelf: Shelf) -> Server:
    furnish(shelf)
    return Server()


def recommend(shelf: Shelf, user: str, *films: str) -> None:
    rows = [
        {
            "user_id": user, "media_type": "movie", "rank": rank, "score": 1 / rank, "components": {}, "because": [],
            "is_cold": False, "work_id": shelf.item(one)["work_id"], "item_id": shelf.item(one)["item_id"],
        }
        for rank, one in enumerate(films, start=1)
    ]  # fmt: skip
    with shelf.open() as connection:
        replace_recommendations(connection, user, rows, today=NOW.date())


def pick(shelf: Shelf, day: date, *films: str) -> None:
    rows = [
        {
            "day": day, "media_type": "movie", "rank": rank, "viewers": 2, "plays": 3, "completion": 1.0,
            "score": 1 / rank, "relaxed": False, "source": "local", "work_id": shelf.item(one)["work_id"],
            "item_id": shelf.item(one)["item_id"],
        }
        for rank, one in enumerate(films, start=1)
    ]  # fmt: skip
    with shelf.open() as connection:
        replace_top_picks(connection, day, "movie", rows)


def titles(
    shelf: Shelf, server: Any, spec: ListSpec, access: Mapping[str, Access] | None = None, *, days: float = 0
) -> list[str]:
    """The titles of a list, as of some days from now."""
    found = gather([spec], access or {}, shelf.database, server, NOW + days * DAY)
    return [one.facts.title for one in found.titles[spec.list_key]]


def test_files_are_asked_for_once_a_week_and_again_when_a_file_has_moved(shelf: Shelf, server: Server):
    recommend(shelf, "ann", "film-2", "film-3")
    assert titles(shelf, server, ANNS) == ["Film 2", "Film 3"] and server.asked == ["film-2", "film-3"]
    titles(shelf, server, ANNS, days=6)
    assert len(server.asked) == 2
    shelf.films(film(3, path="/elsewhere/3.mkv"), complete=set())
    titles(shelf, server, ANNS, days=6)
    assert server.asked[2:] == ["film-3"]
    titles(shelf, server, ANNS, days=8)
    assert server.asked[3:] == ["film-2"], "it may have new subtitles"
    # A clock that was a month ahead.
    titles(shelf, server, ANNS, days=40)
    before = len(server.asked)
    titles(shelf, server, ANNS, days=9)
    assert len(server.asked) == before + 2


def test_a_dry_run_remembers_nothing(shelf: Shelf, server: Server):
    recommend(shelf, "ann", "film-2")
    server.dry_run = True
    assert titles(shelf, server, ANNS) == ["Film 2"]
    assert shelf.value("SELECT count(*) FROM item_files") == 0


def test_a_shared_list_has_only_what_each_of_its_viewers_may_see(shelf: Shelf, server: Server):
    shelf.films(film(2, tags=("violent",)), film(3, tags=("noisy",)), complete=set())
    pick(shelf, NOW.date(), "film-1", "film-2", "film-3")
    limits = {"ann": Access(blocked_tags=("violent",)), "bob": Access(blocked_tags=("noisy",))}
    assert titles(shelf, server, EVERYBODYS, limits) == ["Film 1"]
    assert titles(shelf, server, EVERYBODYS, {"ann": limits["ann"]}) == ["Film 1", "Film 3"]


def test_what_somebody_is_in_the_middle_of_stays_at_the_end_for_two_weeks(shelf: Shelf, server: Server):
    recommend(shelf, "ann", "film-2", "film-3")
    publish(shelf, ANNS.list_key, "film-1", "film-3")
    shelf.history("ann", touched("film-1", 1, 0.4), touched("film-3", 1, 0.4))
    assert titles(shelf, server, ANNS) == ["Film 2", "Film 3", "Film 1"]
    assert titles(shelf, server, ANNS, days=14) == ["Film 2", "Film 3"]


def test_picks_of_a_day_to_come_are_those_of_a_wrong_clock(shelf: Shelf, server: Server):
    pick(shelf, NOW.date() - DAY, "film-1")
    pick(shelf, NOW.date() + DAY, "film-2")
    with shelf.open() as connection:
        works = listed_works(connection, "top_picks/movie", today=NOW.date())
    assert works == [(1, shelf.item("film-1")["work_id"])]


def test_a_special_says_nothing_of_how_far_somebody_is(shelf: Shelf, server: Server):
    work = shelf.item("show")["work_id"]

    def furthest() -> dict[int, tuple[int, int]]:
        with shelf.open() as connection:
            return furthest_watched(connection, "ann", [work])

    shelf.history("ann", played("show-0-1", is_episode=True))
    assert furthest() == {}
    shelf.history("ann", played("show-1-2", is_episode=True), played("show-copy-1-3", is_episode=True))
    assert furthest() == {work: (1, 3)}
