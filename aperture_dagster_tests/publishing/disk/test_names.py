"""No title, whatever is in it, leaves its folder or is misread by a media server."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aperture_dagster.publishing.disk.forms import (
    Form,
    Product,
    choose_form,
    form_warning,
    merges_versions,
    shares_history,
)
from aperture_dagster.publishing.disk.names import (
    LONGEST_BELOW_ROOT,
    entry_folder,
    entry_id,
    episode_name,
    list_folder,
    season_folder,
    sidecar_name,
    video_name,
)
from aperture_dagster_tests.publishing import server_rules

ID = entry_id("top-picks-movies", 1)
PATTERNS = [
    "[tmdbid-1]", "{imdb-tt1234567}", "(tvdbid=5)", "tt1234567", "TT12345678", "[dontfetchmeta]", "sample",
    "The Sample", ".sample.mkv", "-trailer", "trailers", "extras", "Subs", "metadata", "S01E02", "s1 e2",
    "1x02", "E05", "-E07", "cd1", "part 2", "[pt a]", "3D", "Tab", "sbs", "2049", "1984", "(1999)", "[2001]",
    "2020-01-31", "CON.", "nul.txt", "COM1 .", "..", "/", "\\", ":", ": ", "\n", "\0", "\u202e", "\ufeff",
    "\ud800", "\ue000", "é", "e\u0301", "👩‍👩‍👧", "가", "24", "Season 2", ".trickplay", "[", ")", " ", ".", "-",
]  # fmt: skip
titles = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(PATTERNS) | st.text(max_size=8), max_size=20).map("".join),
    st.lists(st.sampled_from(PATTERNS), max_size=12).map(" ".join),
)
years = st.none() | st.integers(1800, 2100)
work_ids = st.integers(1, 2**40)


def assert_is_a_safe_name(name: str) -> None:
    assert len(name.encode()) <= 240
    assert not re.search(r'[\x00-\x1f\x7f<>:"/\\|?*]', name)
    assert name == unicodedata.normalize("NFC", name) == name.strip(" .")
    assert not name.startswith(".")
    # What Windows takes for a device, whatever follows the dot.
    assert not re.match(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]|conin\$|conout\$) *(\.|$)", name, re.I)


def assert_opaque(path: str) -> None:
    assert server_rules.ids(path) == []
    assert not server_rules.is_locked(path)
    assert not server_rules.is_ignored(path)
    assert not server_rules.is_extra(path)
    assert not server_rules.is_3d(path)


@given(titles, years, work_ids)
@example("Blade Runner 2049", None, 1)
@example("2001 - A Space Odyssey 1968", 1850, 1)
@example("x" * 50 + " sample and more", 2012, 1)
def test_a_film_with_any_title_is_read_as_itself(title: str, year: int | None, work: int):
    entry = entry_id("picks-movies-alice", work)
    folder = entry_folder(title, year, entry)
    name = video_name(folder, ".mkv")
    assert len(folder.encode()) <= 200 and folder.endswith(f"[{entry}]")
    for one in (folder, name):
        assert_is_a_safe_name(one)
    assert_opaque(f"/{list_folder('picks-movies-alice')}/{folder}/{name}")
    stem = name.removesuffix(".mkv")
    assert server_rules.film_year(stem) == (year if year and 1900 <= year <= 2099 else None)
    assert server_rules.are_versions_of_one_film(folder, stem)
    assert server_rules.stack(name) is None
    assert server_rules.episodes(name) == []


@given(titles, years, work_ids, st.integers(0, 60), st.integers(1, 2000), st.none() | st.integers(1, 30))
def test_an_episode_with_any_title_has_the_numbers_it_was_given(
    title: str, year: int | None, work: int, season: int, number: int, more: int | None
):
    entry = entry_id("picks-series-alice", work)
    end = number + more if more else None
    folder, season_path = entry_folder(title, year, entry), season_folder(season)
    name = episode_name(title, season, number, end, entry, "mkv")
    assert_is_a_safe_name(name)
    assert_opaque(f"/{list_folder('picks-series-alice')}/{folder}/{season_path}/{name}")
    assert server_rules.series_year(folder) == year
    assert server_rules.season(season_path, folder) == season
    assert server_rules.episodes(name) == [(season, number, end)]
    assert server_rules.stack(name) is None


@given(
    st.lists(st.tuples(titles, years), min_size=2, max_size=2), st.lists(work_ids, min_size=2, max_size=2, unique=True)
)
def test_two_entries_never_share_a_folder_even_where_case_does_not_count(
    named: list[tuple[str, int | None]], works: list[int]
):
    (one, two), entries = named, [entry_id("key", work) for work in works]
    assert len({entry.casefold() for entry in entries}) == 2
    folders = {entry_folder(*facts, entry).casefold() for facts, entry in zip((one, two), entries, strict=True)}
    assert len(folders) == 2
    assert len({entry_folder(*one, entry).casefold() for entry in entries}) == 2


@given(st.text(max_size=30), work_ids)
def test_no_id_can_be_read_as_a_number_or_a_word(key: str, work: int):
    # `[ap-cd123456]` would be part 123456, `[ap-19990000]` a film of 1999.
    entry = entry_id(key, work)
    assert re.fullmatch(r"ap-[b-df-hj-np-tv-z]{10}", entry)
    assert not re.search(r"[aeiou0-9]|cd|dvd|pt|tt", entry[3:])


def test_names_stay_the_same_over_releases_since_servers_identify_items_by_path():
    assert ID == "ap-rbwrnxbzqm"
    assert list_folder("picks-movies-42") == "picks-movies-hpkgmvpx"
    assert entry_folder("Mission: Impossible", 1996, ID) == f"Mission - Impossible (1996) [{ID}]"
    assert entry_folder("Face/Off", 1997, ID) == f"Face-Off (1997) [{ID}]"
    assert entry_folder("Doctor Who (2005)", 2005, ID) == f"Doctor Who (2005) [{ID}]"
    assert entry_folder("Amélie", None, ID) == f"Amélie [{ID}]"
    assert video_name("A [id]", "MKV") == "A [id].mkv"
    assert [season_folder(one) for one in (0, 1, 12)] == ["Season 00", "Season 01", "Season 12"]
    assert episode_name("Lost", 1, 2, None, ID, ".mkv") == f"Lost S01E02 [{ID}].mkv"
    assert episode_name("Lost", 1, 2, 3, ID, ".mkv") == f"Lost S01E02-E03 [{ID}].mkv"


def test_a_long_title_is_cut_between_two_characters():
    for title in ("👩‍👩‍👧‍👦" * 40, "e\u0323\u0302\u0316" * 60, "한" * 99, "👍🏽" * 40):
        cut = entry_folder(title, 2000, ID).removesuffix(f" (2000) [{ID}]")
        whole = unicodedata.normalize("NFC", title)
        character = unicodedata.normalize("NFC", title[: 7 if "👩" in title else {"e": 4, "한": 1, "👍": 2}[title[0]]])
        assert whole.startswith(cut) and cut == character * (len(cut) // len(character)) != ""


def test_a_long_title_has_at_most_120_bytes_and_56_characters():
    for title, expected in (
        ("한" * 39 + "abcdef", "한" * 39 + "abc"),
        ("x" * 80, "x" * 56),
        # A skin tone belongs to the character before it.
        ("x" * 55 + "\U0001f44d\U0001f3fd" + "y", "x" * 55),
        ("x" * 54 + "\U0001f44d\U0001f3fd" + "y", "x" * 54 + "\U0001f44d\U0001f3fd"),
    ):
        assert entry_folder(title, 2000, ID) == f"{expected} (2000) [{ID}]"


@given(st.text(min_size=1, max_size=40), st.sampled_from(["", "3f2c91a4-0000-4000-8000-000000000000", "42", "alice"]))
def test_the_folder_of_a_list_is_never_skipped_or_misread(key: str, user: str):
    folder = list_folder(f"{key}-{user}")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", folder) and len(folder) <= 30
    assert_opaque(f"/srv/aperture/{folder}/A (2000) [{ID}]/A (2000) [{ID}].mkv")
    assert folder != list_folder(f"{key}-{user}-2")


def test_the_longest_paths_are_known():
    film = entry_folder("x" * 300, 2000, ID)
    assert len(f"{'x' * 30}/{film}/{video_name(film, 'm2ts', 1)}") <= LONGEST_BELOW_ROOT
    episode = episode_name("x" * 300, 12, 100, 101, ID, "m2ts")
    assert len(f"{'x' * 30}/{film}/{season_folder(12)}/{episode}") <= LONGEST_BELOW_ROOT


def test_the_parts_of_a_film_are_one_stack():
    folder = entry_folder("Dogville, Part 2", 2003, ID)
    parts = [server_rules.stack(video_name(folder, "avi", part)) for part in (1, 2)]
    assert parts == [(folder, "1"), (folder, "2")]


@pytest.mark.parametrize(
    ("original", "sidecar", "expected"),
    [
        ("/m/Film.mkv", "/m/Film.en.forced.srt", "V [id].en.forced.srt"),
        ("D:\\m\\Film.mkv", "D:\\m\\film.EN.srt", "V [id].EN.srt"),
        ("/m/Film.2010.mkv", "/m/Film.2010.srt", "V [id].srt"),
        ("/m/Film.mkv", "/m/Subs/2_English.srt", "V [id].2_English.srt"),
        ("/m/Film.mkv", "/m/Film - Commentary.ac3", "V [id].Commentary.ac3"),
        ("/m/Film.mkv", "/m/Film.idx", "V [id].idx"),
        ("/m/Film.mkv", f"/m/{'x' * 300}.de.srt", "V [id].de.srt"),
        ("/m/Film.mkv", f"/m/{'x' * 300}.srt", "V [id].srt"),
    ],
)
def test_a_sidecar_keeps_its_language_and_flags(original: str, sidecar: str, expected: str):
    assert sidecar_name("V [id].mkv", original, sidecar) == expected


@given(titles)
def test_a_sidecar_of_any_name_is_a_safe_name_beside_its_video(title: str):
    name = sidecar_name(f"{'x' * 190} [{ID}].mkv", "/m/Film.mkv", f"/m/Film.{title}.en.srt")
    assert name.startswith(f"{'x' * 190} [{ID}].") and name.endswith(".srt")
    assert len(name.encode()) <= 240 and not re.search(r'[\x00-\x1f\x7f<>:"/\\|?*]', name)


@pytest.mark.parametrize("extension", ["", ".", "m/v", ".mkv\n", "../x", "m k v"])
def test_what_is_no_extension_is_refused(extension: str):
    with pytest.raises(ValueError, match="extension"):
        video_name("A [id]", extension)


# Forms of published titles


def test_links_are_used_on_jellyfin_and_strm_files_on_emby_unless_the_operator_decides():
    assert choose_form("auto", "jellyfin") == choose_form("rows", "jellyfin") == "symlink"
    assert choose_form("auto", "emby") == "strm"
    assert choose_form("symlink", "emby") == "symlink" and choose_form("strm", "jellyfin") == "strm"


@pytest.mark.parametrize(
    ("form", "product", "version", "warning"),
    [
        ("strm", "jellyfin", (10, 11, 7), "titles do not play: from version 10.11.7 on"),
        ("strm", "jellyfin", (10, 11, 6), "titles will not play after an update"),
        ("strm", "emby", (4, 9, 0), None),
        ("symlink", "jellyfin", (12, 0), None),
    ],
)
def test_strm_files_on_jellyfin_are_warned_of(
    form: Form, product: Product, version: tuple[int, ...], warning: str | None
):
    found = form_warning(form, product, version)
    assert (found is None) if warning is None else (found is not None and warning in found)


def test_provider_ids_are_written_where_servers_share_history_by_them():
    assert shares_history("jellyfin", (10, 10, 7)) and shares_history("emby", (4, 9))
    assert not shares_history("jellyfin", (10, 11, 0)) and not shares_history("jellyfin", (12, 0))


def test_a_plugin_that_would_merge_copies_by_their_ids_is_recognised():
    assert merges_versions(["Trakt", "Merge Versions"]) and not merges_versions(["Trakt"])
