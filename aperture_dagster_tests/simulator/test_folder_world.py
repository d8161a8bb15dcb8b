"""A folder of films and ratings becomes a world."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aperture_dagster.simulator.folder_world import WorldFileError, load_folder_world

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FILMS = [
    {"movieId": 1, "tmdbId": 862, "imdbId": "tt0114709", "title": "Toy Story", "year": 1995, "vote_average": 7.971,
     "genres": ["Children", "Comedy"], "overview": "Toys.", "keywords": ["toy"], "cast": ["Tom Hanks"],
     "director": "John Lasseter", "tagline": None, "companies": ["Pixar"], "language": "en", "vote_count": 19665.0,
     "popularity": 19.3, "runtime": 81.0, "release_date": "1995-11-22"},
    {"movieId": 2, "tmdbId": None, "imdbId": None, "title": "Nameless", "year": None, "genres": []},
]  # fmt: skip
RATINGS = "userId,movieId,rating,timestamp\n2,1,0.5,2000000\n10,2,5.0,900000\n1,1,4.0,1000000\n1,2,3.5,1500000\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "movies.jsonl").write_text("".join(json.dumps(film) + "\n" for film in FILMS))
    (tmp_path / "ratings.csv").write_text(RATINGS)
    return tmp_path


def test_every_rating_becomes_a_complete_play_with_twice_the_rating(folder: Path, now: datetime) -> None:
    world = load_folder_world(folder, now=now)
    assert [(play.user, play.title_key, play.rating, play.completion) for play in world.plays] == [
        ("10", "movie:2", 10.0, 1.0),
        ("1", "movie:1", 8.0, 1.0),
        ("1", "movie:2", 7.0, 1.0),
        ("2", "movie:1", 1.0, 1.0),
    ]


def test_users_are_named_and_ordered_by_number(folder: Path, now: datetime) -> None:
    assert [user.name for user in load_folder_world(folder, now=now).users] == ["1", "2", "10"]
    assert [user.name for user in load_folder_world(folder, now=now, users=2).users] == ["1", "2"]


def test_the_last_event_is_today_and_never_in_the_future(folder: Path) -> None:
    for hour in (0, 11, 23):
        now = datetime(2026, 5, 17, hour, 0, 1, tzinfo=UTC)
        last = load_folder_world(folder, now=now).plays[-1].played_at
        assert last <= now
        assert last.date() == now.date()


def test_the_shift_depends_only_on_the_day_and_the_whole_file(folder: Path, now: datetime) -> None:
    morning, night = now.replace(hour=1), now.replace(hour=23)
    assert load_folder_world(folder, now=morning).plays == load_folder_world(folder, now=night).plays
    some = {play.played_at for play in load_folder_world(folder, now=now, users=1).plays}
    assert some < {play.played_at for play in load_folder_world(folder, now=now).plays}
    tomorrow = load_folder_world(folder, now=now + timedelta(days=1)).plays
    assert tomorrow[0].played_at - load_folder_world(folder, now=now).plays[0].played_at == timedelta(days=1)


def test_facts_of_films_are_unchanged_and_nulls_stay_unknown(folder: Path, now: datetime) -> None:
    toys, nameless = load_folder_world(folder, now=now).titles
    assert (toys.tmdb_id, toys.imdb_id, toys.year, toys.genres) == (862, "tt0114709", 1995, ("Children", "Comedy"))
    assert (toys.vote_average, toys.vote_count, toys.runtime_minutes) == (7.971, 19665, 81)
    assert (toys.cast[0].name, toys.directors, toys.companies) == ("Tom Hanks", ("John Lasseter",), ("Pixar",))
    assert (nameless.tmdb_id, nameless.imdb_id, nameless.year, nameless.overview) == (None, None, None, "")


def test_histories_do_not_leak_into_tmdbs_recommendations(folder: Path, now: datetime) -> None:
    assert all(title.recommended_tmdb_ids == () for title in load_folder_world(folder, now=now).titles)


def test_compressed_files_are_read_like_plain_ones(folder: Path, now: datetime) -> None:
    plain = load_folder_world(folder, now=now)
    for name in ("movies.jsonl", "ratings.csv"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    assert load_folder_world(folder, now=now) == plain


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("movies.jsonl", '{"movieId": 1, "title": "A"}\n{"movieId": 2, "ti', "movies.jsonl, line 2"),
        ("movies.jsonl", '{"movieId": 1}\n', "movies.jsonl, line 1: title is missing"),
        (
            "movies.jsonl",
            '{"movieId": 1, "title": "A"}\n{"movieId": 1, "title": "B"}\n',
            "line 2: movie:1 is a",
        ),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,5\n1,2,high,6\n", "ratings.csv, line 3"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,99,4.0,5\n", "line 2: there is no film 99"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,7.0,5\n", "line 2: 7.0 is no rating"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1\n", "ratings.csv, line 2"),
        ("ratings.csv", "user,film\n", "ratings.csv, line 1"),
    ],
)
def test_the_error_for_a_malformed_line_names_file_and_line(
    folder: Path, now: datetime, name: str, content: str, complaint: str
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(WorldFileError) as raised:
        load_folder_world(folder, now=now)
    assert complaint in str(raised.value)


def test_a_truncated_archive_is_an_error_rather_than_a_smaller_world(folder: Path, now: datetime) -> None:
    packed = gzip.compress((folder / "ratings.csv").read_bytes())
    (folder / "ratings.csv.gz").write_bytes(packed[:-9])
    with pytest.raises(WorldFileError, match=r"ratings\.csv\.gz"):
        load_folder_world(folder, now=now)


def test_the_error_for_a_missing_file_names_it(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(WorldFileError, match=r"movies\.jsonl\.gz"):
        load_folder_world(tmp_path, now=now)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real histories are not at {DATA}")
def test_the_real_folder_loads_completely_and_fast(now: datetime) -> None:
    start = time.process_time()
    world = load_folder_world(DATA, now=now)
    assert time.process_time() - start < 4.0
    assert (len(world.titles), len(world.users), len(world.plays)) == (9_742, 400, 61_199)
