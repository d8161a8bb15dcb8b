"""What the published lists consist of: which titles, for whom, and what is remembered of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import permutations
from typing import Any

import pytest

from aperture_dagster.catalogue.versions import record_published_copies
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.media_server.records import MediaSource, OriginalFiles
from aperture_dagster.popularity.stored_picks import replace_top_picks
from aperture_dagster.publishing.disk.gather import gather
from aperture_dagster.publishing.disk.listed import ListSpec
from aperture_dagster.publishing.disk.queries import furthest_watched, listed_works, works_in_progress
from aperture_dagster.publishing.disk.versions import best_source
from aperture_dagster.publishing.manifest import note_shown
from aperture_dagster.taste.lists import replace_recommendations
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.shelf import NOW, Shelf, film, list_rows, pick_rows, played

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
    with shelf.open() as connection:
        replace_recommendations(connection, user, list_rows(user, map(shelf.item, films)), today=NOW.date())


def pick(shelf: Shelf, day: date, *films: str) -> None:
    with shelf.open() as connection:
        replace_top_picks(connection, day, "movie", pick_rows(day, map(shelf.item, films)))


def publish(shelf: Shelf, list_key: str, *server_ids: str) -> None:
    shelf.do(
        "INSERT INTO published_libraries (list_key, media_type, name, folder, missing, changed, root, root_on_server, "
        "created_at) "
        "VALUES (:key, 'movie', :key, :key, 0, 0, '/', '/', now())",
        key=list_key,
    )
    for rank, one in enumerate(server_ids, start=1):
        shelf.do(
            "INSERT INTO published_entries "
            "(list_key, entry_id, work_id, folder, rank, state, date_added, files, because) "
            "VALUES (:key, :entry, :work, :entry, :rank, 'placed', now(), '{}', '{}')",
            key=list_key, entry=one, work=shelf.item(one)["work_id"], rank=rank,
        )  # fmt: skip


def touched(server_id: str, days_ago: float, position: float = 0.0, **facts: Any) -> Any:
    return played(
        server_id, played=not position, position_share=position, last_played_at=NOW - timedelta(days=days_ago), **facts
    )


def titles(
    shelf: Shelf, server: Any, spec: ListSpec, access: Mapping[str, Visibility] | None = None, *, days: float = 0
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


def test_a_dry_run_remembers_nothing(shelf: Shelf, server: Server):
    recommend(shelf, "ann", "film-2")
    server.dry_run = True
    assert titles(shelf, server, ANNS) == ["Film 2"]
    assert shelf.value("SELECT count(*) FROM item_files") == 0


def test_a_shared_list_has_only_what_each_of_its_viewers_may_see(shelf: Shelf, server: Server):
    shelf.films(film(2, tags=("violent",)), film(3, tags=("noisy",)), complete=set())
    pick(shelf, NOW.date(), "film-1", "film-2", "film-3")
    limits = {"ann": Visibility(blocked_tags=("violent",)), "bob": Visibility(blocked_tags=("noisy",))}
    assert titles(shelf, server, EVERYBODYS, limits) == ["Film 1"]
    assert titles(shelf, server, EVERYBODYS, {"ann": limits["ann"]}) == ["Film 1", "Film 3"]


def show_copies(shelf: Shelf, list_key: str, **originals: str) -> None:
    """Record that a published library shows copies: their ids on the server, and the originals."""
    with shelf.open() as connection:
        record_published_copies(
            connection, {copy: shelf.item(original)["item_id"] for copy, original in originals.items()}
        )
        note_shown(connection, dict.fromkeys(originals, list_key))


def test_what_somebody_is_in_the_middle_of_leaves_their_recommendations_unless_it_is_being_played(
    shelf: Shelf, server: Server
):
    recommend(shelf, "ann", "film-2", "film-3", "film-4")
    pick(shelf, NOW.date(), "film-3")
    shelf.history("ann", touched("film-3", 1, 0.4), touched("film-1", 1, 0.4))
    shelf.history("bob", touched("film-2", 1, 0.4))
    assert titles(shelf, server, ANNS) == ["Film 2", "Film 4"]
    assert titles(shelf, server, EVERYBODYS) == ["Film 3"], "everybody sees these, seen or not"
    publish(shelf, ANNS.list_key, "film-3", "film-1")
    show_copies(shelf, ANNS.list_key, copy3="film-3", copy1="film-1")

    def while_playing(*items: str) -> list[str]:
        playing = {("ann", one) for one in items}
        found = gather([ANNS], {}, shelf.database, server, NOW, playing=playing)  # pyright: ignore[reportArgumentType]
        return [one.facts.title for one in found.titles[ANNS.list_key]]

    shelf.history("ann", touched("film-2", 1, 0.4), touched("film-4", 1, 0.4))
    found = gather([ANNS], {}, shelf.database, server, NOW)  # pyright: ignore[reportArgumentType]
    assert found.titles[ANNS.list_key] == [] and found.hidden == {ANNS.list_key}, "empty on purpose"
    shelf.history("ann", *(touched(one, 0, 0)._replace(played=False) for one in ("film-2", "film-4")))
    assert while_playing("film-3", "film-1") == ["Film 2", "Film 4"], "the originals are being played"
    assert while_playing("copy3") == ["Film 2", "Film 3", "Film 4"]
    assert while_playing("copy1") == ["Film 2", "Film 4", "Film 1"], "it has left the list"


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


# What a user is in the middle of


def in_progress(shelf: Shelf, *server_ids: str) -> bool:
    """Whether Ann is in the middle of exactly these."""
    works = [row["work_id"] for row in shelf.rows("SELECT work_id FROM works")]
    with shelf.open() as connection:
        found = works_in_progress(connection, "ann", works)
    return found == {shelf.item(one)["work_id"] for one in server_ids}


def test_what_has_a_position_is_in_progress_until_it_is_finished_in_any_copy(shelf: Shelf):
    furnish(shelf)
    shelf.history("bob", touched("film-0", 1, 0.5))
    shelf.history("ann", touched("film-1", 2, 0.5), touched("film-3", 13, 0.1), touched("film-2", 1))
    assert in_progress(shelf, "film-1", "film-3")
    # It has another copy in the library, which was finished since.
    shelf.history("ann", touched("film-100", 1))
    assert in_progress(shelf, "film-3")
    shelf.history("ann", touched("show-1-2", 1, is_episode=True))
    assert in_progress(shelf, "film-3"), "of a series, the next episode is to be recommended or not"
    shelf.history("ann", touched("show-1-3", 1, 0.5, is_episode=True))
    assert in_progress(shelf, "film-3", "show")


# Which version is published: the best one that consists of files


def source(
    name: str, width: int | None = 1920, height: int | None = 1080, *, bitrate: int | None = None, size: int = 1
) -> MediaSource:
    return MediaSource(f"/m/{name}.mkv", size=size, width=width, height=height, bitrate=bitrate)


@pytest.mark.parametrize(
    ("best", "others"),
    [
        (source("4k", 3840, 1600), [source("hd", bitrate=10**8), source("unknown", None, None)]),
        # A wide picture is no worse than one with black bars, nor is an old narrow one.
        (source("wide", 1920, 800, bitrate=9), [source("bars", bitrate=8), source("narrow", 1440, 1080, bitrate=7)]),
        (source("narrow", 1440, 1080, bitrate=9), [source("wide", 1920, 800, bitrate=8)]),
        (source("large", size=9), [source("small", size=8)]),
        (source("a"), [source("b"), source("c")]),
    ],
)
def test_resolution_counts_first_then_bitrate_then_size(best: MediaSource, others: list[MediaSource]):
    for order in permutations([best, *others]):
        assert best_source(order) == best


@pytest.mark.parametrize("kind", ["Dvd", "BluRay", "HdDvd", "bluray"])
def test_disc_folders_are_never_published(kind: str):
    disc = MediaSource("/m/Film", kind, size=10**11, width=3840, height=2160, bitrate=10**9)
    assert best_source([disc]) is None
    assert best_source([disc, source("sd", 720, 576)]) == source("sd", 720, 576)


def test_an_image_of_a_disc_and_a_file_on_windows_are_files():
    for path in ("/m/Film.iso", "D:\\m\\Film.iso", "\\\\nas\\m\\Film.iso"):
        image = MediaSource(path, "Iso")
        assert best_source([image]) == image


def test_versions_without_a_file_of_their_own_are_left_out():
    assert best_source([]) is None
    assert best_source([MediaSource(None), MediaSource("http://host/film.mkv"), MediaSource("")]) is None
    assert best_source([MediaSource("/m/a-part1.mkv", parts=("http://host/a-part2.mkv",))]) is None
