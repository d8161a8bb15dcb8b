"""What a library should hold: which copy of a title, which files, under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.media_server.records import Artwork, MediaSource
from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredLibrary
from aperture_dagster.publishing.disk.entries import EntryForm, build_library
from aperture_dagster.publishing.disk.listed import ListedTitle, ListSpec, Original, OriginalEpisode
from aperture_dagster.publishing.disk.nfo import TitleFacts, read_marker, read_title
from aperture_dagster.publishing.placed import PlacedEntry
from aperture_dagster.texts import texts_of

NOW = datetime(2026, 3, 1, 12, 0, 0, 999, tzinfo=UTC)
LINKS = EntryForm("symlink", with_ids=True)
FILMS = ListSpec("recommendations/a/movie", "Picks", "movie", "a", frozenset({"a"}))
SHOWS = ListSpec("recommendations/a/series", "Shows", "series", "a", frozenset({"a"}))
WATCHED = ListSpec("shows_you_watch/a", "Watched", "series", "a", frozenset({"a"}), most_episodes=50)


def source(path: str, *, width: int = 1920, sidecars: tuple[str, ...] = (), parts: Sequence[str] = ()) -> MediaSource:
    return MediaSource(path, parts=tuple(parts), side_cars=sidecars, width=width)


def copy(item_id: int, *sources: MediaSource) -> Original:
    return Original(item_id, f"id-{item_id}", sources, f"tag-{item_id}")


def film(*copies: Original, rank: int = 1, title: str = "Alien", **changes: Any) -> ListedTitle:
    facts = TitleFacts(title, NOW, "", year=1979, provider_ids={"tmdb": "348"})
    return ListedTitle(**{"work_id": 7, "rank": rank, "facts": facts, "copies": copies, **changes})


def built(*titles: ListedTitle, spec: ListSpec = FILMS, how: EntryForm = LINKS, **more: Any) -> DesiredLibrary:
    return build_library(spec, titles, more.pop("placed", {}), how, moment=NOW, **more)


def only(library: DesiredLibrary) -> DesiredEntry:
    assert library.skipped == ()
    (entry,) = library.entries
    return entry


def files(entry: DesiredEntry) -> dict[str, str | None]:
    """Targets by path, without the NFO files and the poster."""
    return {one.path: one.target for one in entry.files if one.is_original}


def nfo(entry: DesiredEntry, path: str) -> str:
    (content,) = (one.content for one in entry.files if one.path == path)
    assert content is not None
    return content.decode()


def test_a_film_is_an_nfo_a_poster_and_a_link_to_its_best_copy():
    best = copy(2, source("/m/uhd/alien.mkv", width=3840, sidecars=("/m/uhd/alien.de.srt", "/m/uhd/alien.DE.srt")))
    entry = only(built(film(copy(1, source("/m/hd/alien.mkv")), best, rank=3)))
    folder = entry.folder
    assert folder.startswith("Alien (1979) [ap-") and (entry.work_id, entry.item_id, entry.rank) == (7, 2, 3)
    assert [one.kind for one in entry.files] == ["nfo", "poster", "symlink", "symlink", "symlink"]
    assert files(entry) == {
        f"{folder}.mkv": "/m/uhd/alien.mkv",
        f"{folder}.de.srt": "/m/uhd/alien.de.srt",
        f"{folder}.DE.srt": "/m/uhd/alien.DE.srt",
    }
    assert {one.path: one.item_id for one in entry.files if one.item_id} == {f"{folder}.mkv": 2}
    text = nfo(entry, "movie.nfo")
    assert (read_title(text.encode()), read_marker(text.encode())) == ("Alien", entry.entry_id)
    assert "<sorttitle>0003 Alien</sorttitle>" in text and "348" in text
    assert f"<dateadded>{entry.date_added:%Y-%m-%d %H:%M:%S}</dateadded>" in text
    assert entry.title == "Alien (1979)" and entry.date_added < NOW
    assert only(built(film(best, facts=TitleFacts("Alien", NOW, "")))).title == "Alien"


def test_a_placed_entry_keeps_its_folder_and_date():
    first = only(built(film(copy(1, source("/m/alien.mkv")))))
    moment = datetime(2026, 2, 1, tzinfo=UTC)
    placed = {first.entry_id: PlacedEntry(first.entry_id, 7, "Alien, the old name", 9, "placed", moment)}
    entry = only(built(film(copy(1, source("/m/alien.mkv")), title="Alien: Director's Cut"), placed=placed))
    assert (entry.folder, entry.date_added, entry.entry_id) == ("Alien, the old name", moment, first.entry_id)
    assert "2026-02-01" in nfo(entry, "movie.nfo")
    # Otherwise it would be the newest in every row until that date.
    placed = {first.entry_id: replace(placed[first.entry_id], date_added=NOW + timedelta(days=365))}
    entry = only(built(film(copy(1, source("/m/alien.mkv"))), placed=placed))
    assert (entry.folder, entry.date_added) == ("Alien, the old name", first.date_added)


def dates(entry: DesiredEntry) -> list[str]:
    """The dates in the NFO files of an entry's episodes, in their order."""
    texts = [nfo(entry, one.path) for one in entry.files if one.kind == "nfo" and "/" in one.path]
    return [text.partition("<dateadded>")[2].partition("<")[0] for text in texts]


def test_two_episodes_of_a_series_have_the_date_of_its_rank_and_the_others_never_change():
    listed = {1: [episode(number, 1, number) for number in range(1, 6)]}
    first, second = (show(listed, work_id=work, rank=rank) for rank, work in enumerate((7, 8), start=1))
    entries = built(first, second, spec=SHOWS).entries
    placed = {
        one.entry_id: PlacedEntry(one.entry_id, one.work_id, one.folder, one.rank, "placed", one.date_added)
        for one in entries
    }
    for entry in entries:
        own = f"{entry.date_added:%Y-%m-%d %H:%M:%S}"
        assert dates(entry)[:2] == [own, own] and all(date < own for date in dates(entry)[2:])
    assert entries[0].date_added > entries[1].date_added
    overtaken = built(replace(second, rank=1), replace(first, rank=2), spec=SHOWS, placed=placed).entries
    assert overtaken[0].date_added > overtaken[1].date_added
    before, after = ({one.work_id: dates(one) for one in some} for some in (entries, overtaken))
    assert all(before[work][2:] == after[work][2:] for work in before)
    assert sum(before[work] != after[work] for work in before) == 1, "it is enough that one of them moves"
    watched = only(built(first, spec=WATCHED))
    assert len(set(dates(watched))) == 1, "what is next changes with every episode"


def test_entries_of_two_lists_are_two_entries():
    title = film(copy(1, source("/m/alien.mkv")))
    other = replace(FILMS, list_key="recommendations/b/movie")
    assert only(built(title)).entry_id != only(built(title, spec=other)).entry_id


def test_the_parts_of_a_film_are_in_their_order():
    parts = source("/m/a.mkv", parts=["/m/b.mkv", "/m/c.avi"])
    entry = only(built(film(copy(1, parts))))
    found = files(entry)
    assert list(found.values()) == ["/m/a.mkv", "/m/b.mkv", "/m/c.avi"]
    assert [path.removeprefix(entry.folder) for path in found] == ["-part1.mkv", "-part2.mkv", "-part3.avi"]


@pytest.mark.parametrize(
    ("copies", "why"),
    [
        ((), "the server names no file of it"),
        ((copy(1),), "the server names no file of it"),
        ((copy(1, MediaSource("/m/alien", "BluRay")),), "a disc folder or a network address"),
        ((copy(1, source("http://elsewhere/alien.mkv")),), "a disc folder or a network address"),
        ((copy(1, source("/m/alien")),), "/m/alien has no extension"),
    ],
)
def test_a_title_without_a_usable_file_is_left_out_with_the_reason(copies: tuple[Original, ...], why: str):
    good = film(copy(9, source("/m/good.mkv")), title="Good", work_id=8, rank=2)
    library = built(film(*copies), good, skipped=["Before: why"])
    assert [one.title for one in library.entries] == ["Good (1979)"]
    assert (
        library.skipped[0] == "Before: why" and library.skipped[1].startswith("Alien: ") and why in library.skipped[1]
    )
    assert (library.list_key, library.name, library.user_id, library.viewers, library.media_type) == (
        FILMS.list_key, "Picks", "a", frozenset({"a"}), "movie",
    )  # fmt: skip


def test_strm_files_hold_the_path_of_the_server_and_have_no_sidecars():
    strm = EntryForm("strm", with_ids=True)
    entry = only(built(film(copy(5, source("D:\\films\\alien.mkv", sidecars=("D:\\films\\alien.srt",)))), how=strm))
    (file,) = (one for one in entry.files if one.kind == "strm")
    assert (file.path, file.content, file.target) == (
        f"{entry.folder}.strm",
        b"D:\\films\\alien.mkv\n",
        "D:\\films\\alien.mkv",
    )
    assert file.item_id == 5 and len(entry.files) == 3


def test_ids_dates_and_locks_are_written_as_the_server_needs_them():
    facts = TitleFacts("Alien", NOW, "", year=1979, provider_ids={"tmdb": "348"}, premiere_date=date(1979, 5, 25))
    title = film(copy(1, source("/m/alien.mkv")), facts=facts)
    usual = nfo(only(built(title)), "movie.nfo")
    assert "348" in usual and "1979-05-25" in usual and "<lockdata>true" not in usual
    emby = nfo(only(built(title, how=EntryForm("symlink", False, lock=True, premiered=False))), "movie.nfo")
    assert "348" not in emby and "1979-05-25" not in emby and "<lockdata>true" in emby


@pytest.mark.parametrize(("badges", "rank"), [(True, 3), (False, None)])
def test_the_rank_is_on_the_poster_if_that_is_wanted(badges: bool, rank: int | None):
    entry = only(
        built(film(copy(1, source("/m/a.mkv")), rank=3, poster_path="/p.jpg"), spec=replace(FILMS, badges=badges))
    )
    picture = entry.files[1].picture
    assert picture is not None
    assert (picture.server_item_id, picture.tag, picture.poster_path, picture.title, picture.rank) == (
        "id-1", "tag-1", "/p.jpg", "Alien", rank,
    )  # fmt: skip


# Series


def episode(
    item_id: int, season: int, number: int, *, end: int | None = None, path: str | None = None
) -> OriginalEpisode:
    there = path if path is not None else f"/tv/s{season}e{number}.mkv"
    return OriginalEpisode(
        season,
        number,
        end,
        f"Title {season}.{number}",
        date(2020, season + 1, 1) + timedelta(days=number - 1),
        item_id,
        f"e{item_id}",
        (source(there),),
    )


def show(episodes: Mapping[int, Sequence[OriginalEpisode]], **changes: Any) -> ListedTitle:
    copies = tuple(Original(item_id, f"id-{item_id}") for item_id in episodes)
    return film(*copies, title="Show", episodes=episodes, **changes)


def numbers(entry: DesiredEntry) -> list[str]:
    """The targets of the episodes in their order."""
    return [target or "" for target in files(entry).values()]


def test_a_series_has_each_episode_once_in_a_folder_of_its_season():
    listed = [
        episode(13, 1, 2),
        episode(12, 1, 1),
        episode(11, 0, 1),
        episode(14, 1, 1, path="/tv/second.mkv"),
        episode(15, 2, 1),
    ]
    entry = only(built(show({1: listed}), spec=WATCHED))
    assert numbers(entry) == ["/tv/s0e1.mkv", "/tv/s1e1.mkv", "/tv/s1e2.mkv", "/tv/s2e1.mkv"]
    paths = [one.path for one in entry.files]
    assert paths[:2] == ["tvshow.nfo", "poster.jpg"]
    assert {path.partition("/")[0] for path in files(entry)} == {"Season 00", "Season 01", "Season 02"}
    for path in files(entry):
        text = nfo(entry, path.removesuffix(".mkv") + ".nfo")
        assert entry.entry_id in text
    first = next(path for path, target in files(entry).items() if target == "/tv/s1e2.mkv")
    text = nfo(entry, first.removesuffix(".mkv") + ".nfo")
    assert "<title>Title 1.2</title>" in text and "<season>1</season>" in text and "<episode>2</episode>" in text
    assert "2020-02-02" in text
    assert {one.item_id for one in entry.files if one.is_original} == {11, 12, 13, 15}


def test_of_two_copies_of_a_series_the_one_with_more_episodes_is_published_and_the_first_of_equals():
    more = {1: [episode(11, 1, 1)], 2: [episode(21, 1, 1, path="/uhd/1.mkv"), episode(22, 1, 2, path="/uhd/2.mkv")]}
    entry = only(built(show(more), spec=SHOWS))
    assert entry.item_id == 2 and numbers(entry) == ["/uhd/1.mkv", "/uhd/2.mkv"]
    equal = {1: [episode(11, 1, 1)], 2: [episode(21, 1, 1, path="/uhd/1.mkv")]}
    assert only(built(show(equal), spec=SHOWS)).item_id == 1


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, ["0.1", "1.1", "1.2", "1.4", "2.1"]),
        ((1, 2), ["1.2", "1.4", "2.1"]),
        ((1, 3), ["1.2", "1.4", "2.1"]),
        ((1, 4), ["1.4", "2.1"]),
        ((2, 1), ["2.1"]),
    ],
)
def test_a_series_begins_with_the_file_that_holds_the_next_episode(start: tuple[int, int] | None, expected: list[str]):
    listed = [episode(1, 0, 1), episode(2, 1, 1), episode(3, 1, 2, end=3), episode(4, 1, 4), episode(5, 2, 1)]
    entry = only(built(show({1: listed}, start=start), spec=WATCHED))
    assert numbers(entry) == [f"/tv/s{one.replace('.', 'e')}.mkv" for one in expected]


def test_only_so_many_episodes_are_published():
    listed = [episode(number, 1, number) for number in range(1, 6)]
    entry = only(built(show({1: listed}, start=(1, 2)), spec=replace(WATCHED, most_episodes=2)))
    assert numbers(entry) == ["/tv/s1e2.mkv", "/tv/s1e3.mkv"]


def seasons(*lengths: int) -> list[OriginalEpisode]:
    return [
        episode(100 * season + number, season, number)
        for season, length in enumerate(lengths, start=1)
        for number in range(1, length + 1)
    ]


@pytest.mark.parametrize(
    ("watched", "expected", "note"),
    [
        (None, ["1.1", "1.2"], "This is season 1. All seasons are in TV Shows."),
        ((1, 1), ["1.1", "1.2"], "This is season 1. All seasons are in TV Shows."),
        ((1, 2), ["2.1", "2.2", "2.3"], "This is season 2. All seasons are in TV Shows."),
        # Nothing comes after the last one.
        ((2, 3), ["1.1", "1.2"], "This is season 1. All seasons are in TV Shows."),
    ],
)
def test_a_recommended_series_holds_the_next_season_and_says_where_the_others_are(
    watched: tuple[int, int] | None, expected: list[str], note: str
):
    listed = [episode(1, 0, 1), *seasons(2, 3)]
    copies = (Original(1, "id-1", library="TV Shows"),)
    title = film(*copies, title="Show", episodes={1: listed}, watched=watched)
    entry = only(built(replace(title, facts=replace(title.facts, overview="About it.")), spec=SHOWS))
    assert numbers(entry) == [f"/tv/s{one.replace('.', 'e')}.mkv" for one in expected]
    assert f"<plot>{note}\n\nAbout it.</plot>" in nfo(entry, "tvshow.nfo")


def test_a_series_of_one_season_says_nothing_of_others():
    entry = only(built(film(Original(1, "id-1", library="TV Shows"), episodes={1: seasons(3)}), spec=SHOWS))
    assert len(numbers(entry)) == 3 and "TV Shows" not in nfo(entry, "tvshow.nfo")


@pytest.mark.parametrize(("watched", "first", "last"), [(None, 1, 26), (25, 1, 26), (26, 27, 52), (60, 53, 60)])
def test_of_a_long_season_a_part_is_published_that_does_not_move_with_each_episode(
    watched: int | None, first: int, last: int
):
    title = film(
        Original(1, "id-1", library="Anime"), episodes={1: seasons(60, 2)}, watched=watched and (1, min(watched, 59))
    )
    entry = only(built(title, spec=SHOWS))
    assert numbers(entry) == [f"/tv/s1e{number}.mkv" for number in range(first, last + 1)]
    assert f"These are episodes {first} to {last} of season 1. All episodes are in Anime." in nfo(entry, "tvshow.nfo")


# Pictures


def artwork(*pictures: Artwork, form: Any = "symlink") -> dict[str, tuple[str | None, bool]]:
    """Of a film with these pictures: the target by the name of the file, and whether it is downloaded."""
    original = Original(1, "id-1", (source("/m/alien.mkv"),), artwork=pictures)
    entry = only(built(film(original), how=replace(LINKS, form=form)))
    return {one.path: (one.target, one.picture is not None) for one in entry.files if one.kind == "artwork"}


def test_pictures_are_links_to_those_of_the_original_or_else_downloaded():
    of_server = "/config/metadata/library/ab/abc/backdrop.webp"
    backdrop, logo = Artwork("Backdrop", "b", of_server), Artwork("Logo", "l")
    thumb = Artwork("Thumb", "t", "https://example.org/thumb.jpg")
    assert artwork(backdrop, logo, thumb) == {
        "backdrop.webp": (of_server, False),
        "logo.png": (None, True),
        "landscape.jpg": (None, True),
    }
    assert artwork(backdrop, form="strm") == {"backdrop.jpg": (None, True)}
    assert artwork() == {}


# Reasons


def because(liked: dict[int, str], shown: tuple[int, ...] = (), **how: Any) -> DesiredEntry:
    """A film that is recommended because of these, and was because of others when it was placed."""
    title = film(copy(1, source("/m/alien.mkv")), because=liked)
    title = replace(title, facts=replace(title.facts, tagline="Nobody hears you.", overview="About it."))
    first = only(built(title))
    placed = {first.entry_id: PlacedEntry(first.entry_id, 7, "Alien", 1, "placed", NOW, because=shown)}
    return only(built(title, placed=placed, how=replace(LINKS, **how)))


def test_a_page_says_why_a_title_is_recommended_in_place_of_its_tagline():
    entry = because({3: "The Thing", 4: "Dark Star", 5: "Solaris"})
    text = nfo(entry, "movie.nfo")
    assert "<tagline>Because you liked The Thing and Dark Star</tagline>" in text and "hears" not in text
    assert "<tagline>Widely liked</tagline>" in nfo(because({}), "movie.nfo")
    assert "<tagline>Because you liked Solaris</tagline>" in nfo(because({5: "Solaris"}), "movie.nfo")
    # Top Picks and Shows You Watch.
    assert "<tagline>" not in nfo(only(built(film(copy(1, source("/m/alien.mkv"))))), "movie.nfo")


def test_a_reason_can_be_above_the_overview_or_left_out_and_is_in_the_language_of_the_library():
    above = nfo(because({3: "Aliens"}, reasons="overview"), "movie.nfo")
    assert "<plot>Because you liked Aliens.\n\nAbout it.</plot>" in above and "Nobody hears you." in above
    none = nfo(because({3: "Aliens"}, reasons="off"), "movie.nfo")
    assert "Aliens" not in none and "<tagline>Nobody hears you.</tagline>" in none
    german = nfo(because({3: "Aliens", 4: "Solaris"}, texts={"movie": texts_of("de-AT")}), "movie.nfo")
    assert "<tagline>Weil dir Aliens und Solaris gefallen haben</tagline>" in german


@pytest.mark.parametrize(
    ("shown", "named"), [((4, 3), (4, 3)), ((3, 5), (3, 5)), ((5,), (5,)), ((3, 9), (3, 4)), ((), (3, 4))]
)
def test_a_reason_stays_as_it_is_shown_while_it_holds(shown: tuple[int, ...], named: tuple[int, ...]):
    entry = because({3: "The Thing", 4: "Dark Star", 5: "Solaris"}, shown)
    assert entry.because == named


def test_a_series_without_a_usable_episode_is_left_out():
    for title in (
        show({}),
        show({1: []}),
        show({1: [episode(1, 1, 1, path="http://x/1.mkv")]}),
        show({1: [episode(1, 1, 1)]}, start=(1, 2)),
    ):
        library = built(title, spec=WATCHED)
        assert library.entries == () and library.skipped == (
            "Show: no episode of it consists of files that can be linked",
        )
