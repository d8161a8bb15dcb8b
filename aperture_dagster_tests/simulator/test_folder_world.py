"""A folder of films and ratings becomes a world."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aperture_dagster.simulator.folder_world import WorldFileError, is_owned, later_plays, load_folder_world
from aperture_dagster.simulator.opinions import neighbours
from aperture_dagster_tests.conftest import HISTORIES, SHARED_DATA

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


def test_the_last_event_is_today_and_never_in_the_future(folder: Path) -> None:
    for hour in (0, 11, 23):
        now = datetime(2026, 5, 17, hour, 0, 1, tzinfo=UTC)
        last = load_folder_world(folder, now=now).plays[-1].played_at
        assert last <= now
        assert last.date() == now.date()


def test_facts_of_films_are_unchanged_and_nulls_stay_unknown(folder: Path, now: datetime) -> None:
    toys, nameless = load_folder_world(folder, now=now).titles
    assert (toys.tmdb_id, toys.imdb_id, toys.year, toys.genres) == (862, "tt0114709", 1995, ("Children", "Comedy"))
    assert (toys.vote_average, toys.vote_count, toys.runtime_minutes) == (7.971, 19665, 81)
    assert (toys.cast[0].name, toys.directors, toys.companies) == ("Tom Hanks", ("John Lasseter",), ("Pixar",))
    assert (nameless.tmdb_id, nameless.imdb_id, nameless.year, nameless.overview) == (None, None, None, "")


def test_histories_do_not_leak_into_tmdbs_recommendations(folder: Path, now: datetime) -> None:
    assert all(title.recommended_tmdb_ids == () for title in load_folder_world(folder, now=now).titles)


def test_american_dates_are_read_in_the_century_of_the_film(folder: Path, now: datetime) -> None:
    films = [
        {"movieId": number, "title": "A", "year": year, "release_date": day}
        for number, (day, year) in enumerate([("5/7/99", 1999), ("12/25/03", 1903), ("1/2/00", 1999)])
    ]
    (folder / "movies.jsonl").write_text("".join(json.dumps(film) + "\n" for film in films))
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    dates = [title.release_date for title in load_folder_world(folder, now=now).titles]
    assert dates == ["1999-05-07", "1903-12-25", "2000-01-02"]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder of 200 films, of which ten users rated 20 each, one a minute, the even users liking even films."""
    films = [{"movieId": number, "title": f"Film {number}", "tmdbId": 1_000 + number} for number in range(200)]
    rows: list[str] = []
    for user in range(1, 11):
        for place in range(20):
            film = (user * 20 + 3 * place) % 200
            stars = 5.0 if film % 2 == user % 2 else 2.0
            rows.append(f"{user},{film},{stars},{user + 60 * place}")
    (tmp_path / "movies.jsonl").write_text("".join(json.dumps(film) + "\n" for film in films))
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]) + "\n")
    return tmp_path


def test_the_library_owns_a_share_of_the_films_and_nobody_plays_the_others(large: Path, now: datetime) -> None:
    whole = load_folder_world(large, now=now)
    world = load_folder_world(large, now=now, owned=0.7)
    owned = {title.key for title in world.titles if title.copies}
    assert 0.55 < len(owned) / len(world.titles) < 0.85
    assert world.plays == [play for play in whole.plays if play.title_key in owned]
    assert [title.tmdb_id for title in world.titles] == [title.tmdb_id for title in whole.titles]
    assert owned == {
        title.key for title in load_folder_world(large, now=now, owned=0.7, users=3).titles if title.copies
    }
    assert {key for key in owned if is_owned(key, 0.4)} == {
        title.key for title in whole.titles if is_owned(title.key, 0.4)
    }


def test_only_the_early_plays_of_each_user_have_happened(large: Path, now: datetime) -> None:
    whole = load_folder_world(large, now=now)
    world = load_folder_world(large, now=now, played=0.8)
    late = later_plays(large, now=now, played=0.8)
    for user in world.users:
        early = [play for play in world.plays if play.user == user.name]
        later = [play for play in late if play.user == user.name]
        assert (len(early), len(later)) == (16, 4)
        assert max(play.played_at for play in early) < min(play.played_at for play in later)
    assert sorted([*world.plays, *late], key=lambda play: (play.played_at, int(play.user))) == whole.plays


def test_what_comes_later_includes_films_that_nobody_owns(large: Path, now: datetime) -> None:
    world = load_folder_world(large, now=now, played=0.8, owned=0.7)
    owned = {title.key for title in world.titles if title.copies}
    late = later_plays(large, now=now, played=0.8)
    assert len(late) == 40 and any(play.title_key not in owned for play in late)
    # The share is of everything that a user has rated, not of what the library owns.
    everything = load_folder_world(large, now=now, played=0.8).plays
    assert world.plays == [play for play in everything if play.title_key in owned]


def test_recommendations_come_from_the_likes_of_the_given_users_alone(large: Path, now: datetime) -> None:
    before = load_folder_world(large, now=now, neighbours_of=range(1, 6))
    with (large / "ratings.csv").open("a") as file:
        file.writelines(f"9,{film},5.0,{5_000 + film}\n" for film in range(0, 200, 7))
    after = load_folder_world(large, now=now, neighbours_of=range(1, 6), users=range(9, 10), owned=0.5, played=0.5)
    lists = {title.tmdb_id: title.recommended_tmdb_ids for title in before.titles}
    assert lists == {title.tmdb_id: title.recommended_tmdb_ids for title in after.titles}
    liked = {number for number, found in lists.items() if found}
    assert len(liked) > 20
    # Everybody likes films with even numbers, or with odd ones.
    assert all(number % 2 == other % 2 for number, found in lists.items() if number for other in found)
    for user in range(1, 6):
        mine = {1_000 + (user * 20 + 3 * place) % 200 for place in range(20)}
        mine = {number for number in mine if number % 2 == user % 2}
        for number in mine:
            assert set(lists[number]) >= mine - {number} or len(lists[number]) == 40


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_beyond_the_whole_is_refused(large: Path, now: datetime, share: float) -> None:
    with pytest.raises(ValueError, match="owned"):
        load_folder_world(large, now=now, owned=share)
    with pytest.raises(ValueError, match="played"):
        later_plays(large, now=now, played=share)


def test_neighbours_are_liked_by_the_same_people_and_by_more_than_one_first() -> None:
    found = neighbours([["a", "b"], ["a", "b", "c"], ["a", "b"], ["d"], ["a", "c"], ["c"], ["c"]])
    assert found["a"] == ("b", "c")
    assert found["c"] == ("a", "b")
    assert "d" not in found
    many = neighbours([[f"{number:03}" for number in range(100)]])
    assert {len(each) for each in many.values()} == {40}
    # One person who likes two obscure titles proves less than many who like two known ones.
    crowd = [["known", "other"]] * 4 + [["known"]] * 5 + [["other"]] * 16 + [["known", "rare"]]
    assert neighbours(crowd)["known"] == ("other", "rare")


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


def test_real_histories_load_completely(now: datetime) -> None:
    world = load_folder_world(HISTORIES, now=now)
    assert (len(world.titles), len(world.users), len(world.plays)) == (2_363, 138, 8_078)


@pytest.mark.nightly(
    reason="The whole data is not in the repository.",
    instead="simulator/test_folder_world.py::test_real_histories_load_completely",
)
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the whole data is not at {SHARED_DATA}")
def test_the_whole_data_loads_completely(now: datetime) -> None:
    world = load_folder_world(SHARED_DATA, now=now)
    assert (len(world.titles), len(world.users), len(world.plays)) == (9_742, 400, 61_199)
    part = load_folder_world(
        SHARED_DATA, now=now, users=range(201, 301), owned=0.7, played=0.8, neighbours_of=range(1, 201)
    )
    assert len(part.users) == 100
    assert sum(title.copies > 0 for title in part.titles) / len(part.titles) == pytest.approx(0.7, abs=0.02)
    assert sum(bool(title.recommended_tmdb_ids) for title in part.titles) > 3_000
