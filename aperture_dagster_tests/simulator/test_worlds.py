"""The worlds that demo, benchmarks and tests are made of: real facts, sentences of ours, and everything that is odd."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.folder_world import WorldFileError, later_plays, load_folder_world
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb.payloads import APPENDABLE
from aperture_dagster.simulator.tmdb.titles import TitleIndex
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import FIRST_INVENTED_ID, odd_world
from aperture_dagster_tests.conftest import HISTORIES

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo() -> World:
    return load_demo_world(now=NOW)


def phrases(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return {tuple(words[start : start + 6]) for start in range(len(words) - 5)}


def test_facts_of_films_of_the_demo_are_real_and_their_overviews_are_our_own(demo: World):
    with gzip.open(HISTORIES / "movies.jsonl.gz", "rt", encoding="utf-8") as lines:
        real = {row["tmdbId"]: row for row in map(json.loads, lines) if row["tmdbId"]}
    films = [one for one in demo.titles if one.media_type == "movie" and (one.tmdb_id or 0) < FIRST_INVENTED_ID]
    assert len(films) > 500
    for title in films:
        row = real[title.tmdb_id or 0]
        assert (title.imdb_id, title.year, title.release_date) == (row["imdbId"], row["year"], row["release_date"])
        assert [member.name for member in title.cast] == row["cast"]
        theirs = phrases(row["overview"] or "") | phrases(row["tagline"] or "")
        assert not phrases(title.overview) & theirs and not title.tagline, title.title


def test_series_of_the_demo_have_ids_of_no_real_title_and_no_id_is_used_twice(demo: World):
    for media_type in ("movie", "series"):
        ids = [title.tmdb_id for title in demo.titles if title.media_type == media_type]
        assert None not in ids and len(set(ids)) == len(ids)
    series = [title for title in demo.titles if title.media_type == "series"]
    assert all((one.tmdb_id or 0) > FIRST_INVENTED_ID and one.imdb_id is None for one in series)


def test_only_times_of_the_demo_move_from_day_to_day_and_none_is_in_the_future(demo: World):
    later = load_demo_world(now=NOW + timedelta(days=45))
    assert len(later.plays) == len(demo.plays)
    for now, then in zip(later.plays, demo.plays, strict=True):
        assert now.played_at - then.played_at == timedelta(days=45)
        assert (now.user, now.title_key, now.rating) == (then.user, then.title_key, then.rating)
    assert NOW - timedelta(days=3) < demo.plays[-1].played_at <= NOW
    today = NOW.date().isoformat()
    assert [one.title for one in demo.titles if (one.release_date or "") > today] == [
        one.title for one in later.titles if (one.release_date or "") > (NOW + timedelta(days=45)).date().isoformat()
    ]


def test_the_odd_world_has_everything_that_breaks_names_queries_and_pages():
    odd = odd_world(NOW)
    for names in ([title.title for title in odd.titles], [user.name for user in odd.users]):
        assert max(map(len, names)) == 500
        assert all(any(part in name for name in names) for part in ('"', "/", "\\", "%"))
    assert any(not title.title.strip() for title in odd.titles) and any("\n" in title.overview for title in odd.titles)
    assert {"Casey", "casey", "CASEY"} <= {user.name for user in odd.users}
    assert any(title.tmdb_id is None and title.imdb_id is None for title in odd.titles)
    catalogue = SimulatorState(odd).catalogue
    items = [item for kind in ("Movie", "Series", "Season", "Episode") for item in catalogue.items(kind)]
    assert len({item.id for item in items}) == len({item.path for item in items}) == len(items)


# A folder of films and ratings


def test_a_share_of_a_folder_is_owned_and_played_and_what_comes_later_is_the_rest():
    whole = load_folder_world(HISTORIES, now=NOW)
    assert (len(whole.titles), len(whole.users), len(whole.plays)) == (2_363, 138, 8_078)
    assert whole.plays[-1].played_at <= NOW and whole.plays[-1].played_at.date() == NOW.date()
    part = load_folder_world(HISTORIES, now=NOW, owned=0.7, played=0.8)
    owned = {title.key for title in part.titles if title.copies}
    assert 0.65 < len(owned) / len(part.titles) < 0.75 and all(play.title_key in owned for play in part.plays)
    late = later_plays(HISTORIES, now=NOW, played=0.8)
    early = load_folder_world(HISTORIES, now=NOW, played=0.8).plays
    assert len(early) + len(late) == len(whole.plays)
    for user in whole.users[:20]:
        before = [play.played_at for play in early if play.user == user.name]
        assert max(before) <= min(play.played_at for play in late if play.user == user.name)


def test_histories_reach_the_recommendations_of_tmdb_only_from_the_users_that_are_named():
    assert all(title.recommended_tmdb_ids == () for title in load_folder_world(HISTORIES, now=NOW).titles)
    few, more = (load_folder_world(HISTORIES, now=NOW, users=5, neighbours_of=range(1, last)) for last in (60, 90))
    lists = [{title.key: title.recommended_tmdb_ids for title in world.titles} for world in (few, more)]
    assert sum(map(bool, lists[0].values())) > 100 and lists[0] != lists[1]
    assert max(map(len, lists[1].values())) == 40


def test_a_folder_has_the_lists_of_tmdb_that_are_in_its_files_and_no_others(tmp_path: Path):
    folder_of(tmp_path)
    assert served_lists(tmp_path) == {1: ([], []), 2: ([], []), 3: ([], [])}, "though all share a keyword"
    lines = '{"movieId": 1, "ids": [3, 4, 2]}\n\n{"movieId": 4, "ids": [1]}\n'
    (tmp_path / "recommended.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "similar.jsonl").write_text('{"movieId": 2, "ids": [1]}\n')
    # TMDb does not know film 4.
    assert served_lists(tmp_path) == {1: ([3, 2], []), 2: ([], [1]), 3: ([], [])}


def folder_of(folder: Path) -> None:
    """Write four films, numbered as on TMDb; the last has no number there."""
    rows = [
        {"movieId": number, "title": f"Film {number}", "tmdbId": tmdb_id, "keywords": ["space"]}
        for number, tmdb_id in ((1, 1), (2, 2), (3, 3), (4, None))
    ]
    (folder / "movies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,0\n")


def served_lists(folder: Path) -> dict[int, tuple[list[int], list[int]]]:
    """Return what the stand-in for TMDb lists as recommended and similar, by film."""
    index = TitleIndex(load_folder_world(folder, now=NOW).titles, NOW.date())
    return {
        number: (
            [entry["id"] for entry in detail["recommendations"]["results"]],
            [entry["id"] for entry in detail["similar"]["results"]],
        )
        for number, title in index.movies.items()
        for detail in [{name: APPENDABLE["movie"][name](title, index) for name in ("recommendations", "similar")}]
    }


@pytest.mark.parametrize("name", ["recommended.jsonl", "similar.jsonl"])
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not JSON", "line 2: "),
        ("[1, 2]", "line 2: it is no JSON object"),
        ('{"movieId": 2}', "line 2: ids is missing"),
        ('{"movieId": 2, "ids": 3}', "line 2: movieId must be a whole number, and ids a list of whole numbers"),
        ('{"movieId": 2, "ids": ["3"]}', "line 2: movieId must be a whole number, and ids a list of whole numbers"),
        ('{"movieId": 2, "ids": [9]}', "line 2: there is no film 9"),
        ('{"movieId": 9, "ids": [2]}', "line 2: there is no film 9"),
        ('{"movieId": 1, "ids": [3]}', "line 2: film 1 has a list already"),
        ('{"movieId": 2, "ids": [3, 3]}', "line 2: the list of film 2 names a film twice, or the film itself"),
        ('{"movieId": 2, "ids": [2]}', "line 2: the list of film 2 names a film twice, or the film itself"),
    ],
)
def test_the_error_for_a_list_names_file_and_line(tmp_path: Path, name: str, line: str, complaint: str):
    folder_of(tmp_path)
    (tmp_path / name).write_text(f'{{"movieId": 1, "ids": [2]}}\n{line}\n')
    with pytest.raises(WorldFileError, match=re.escape(f"{tmp_path / name}, {complaint}")):
        load_folder_world(tmp_path, now=NOW)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("movies.jsonl", '{"movieId": 1, "title": "A"}\nnot JSON\n', "movies.jsonl, line 2: "),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,6,0\n", "ratings.csv, line 2: 6.0 is no rating"),
        ("ratings.csv", None, "holds neither ratings.csv.gz nor ratings.csv"),
    ],
)
def test_the_error_for_a_folder_that_is_no_world_names_file_and_line(
    tmp_path: Path, name: str, content: str | None, complaint: str
):
    (tmp_path / "movies.jsonl").write_text('{"movieId": 1, "title": "A"}\n')
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(WorldFileError, match=re.escape(complaint)):
        load_folder_world(tmp_path, now=NOW)
