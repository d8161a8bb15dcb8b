"""Histories and films of a folder in MovieLens format."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.movielens import CrowdError, read_films, read_ids, read_ratings

FILM = '{"movieId": 1, "title": "Heat", "year": 1995, "genres": ["Crime"], "director": "M. Mann", "vote_count": 9.0}'
RATINGS = "userId,movieId,rating,timestamp\n7,1,4.5,60\n7,2,0.5,61\n8,3,3.0,62\n9,4,5.0,5\n"
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n2,0000012,\n3,,\n4,0114709,\n"
ALL = np.arange(100)


def folder(place: Path, **files: str) -> Path:
    for name, content in files.items():
        (place / name.replace("_", ".")).write_text(content)
    return place


def many(place: Path, people: int) -> Path:
    """A folder of people who rated one film each; every tenth also rated ninety others."""
    rows = [
        f"{person},{film},4.0,1\n" for person in range(1, people + 1) for film in range(91 if person % 10 == 0 else 1)
    ]
    return folder(place, ratings_csv="userId,movieId,rating,timestamp\n" + "".join(rows))


def people_of(place: Path, limit: int) -> set[int]:
    return set(read_ratings(place, ALL, most_people=limit).histories["user_id"])


def test_ratings_are_complete_plays_on_the_products_scale(tmp_path: Path):
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress((RATINGS + "7,1,3.0,70\n").encode()))
    found = read_ratings(tmp_path, np.array([1, 4]))
    assert found.people == 3 and found.histories.to_dict("records") == [
        {"user_id": user, "work_id": film, "plays": 1.0, "completion": 1.0, "rating": rating,
         "last_played_at": pd.Timestamp(second, unit="s", tz="UTC")}
        for user, film, rating, second in ((7, 1, 9.0, 60), (9, 4, 10.0, 5))
    ], "the second rating of a film does not count"  # fmt: skip
    folder(tmp_path, ratings_csv="userId,movieId,rating\n7,1,4.5\n")
    assert "last_played_at" not in read_ratings(tmp_path, ALL).histories


def test_those_who_were_active_last_are_chosen_however_much_they_rated(tmp_path: Path):
    rows = [f"{person},{film},3.0,{1_000 * person + film}\n" for person in range(1, 101) for film in (1, 2, 4)]
    place = folder(tmp_path, ratings_csv="userId,movieId,rating,timestamp\n" + "1,4,3.0,999999\n" + "".join(rows))
    assert people_of(place, 10) == {1, *range(92, 101)}


def test_no_more_people_are_chosen_than_ratings_fit_into_memory(tmp_path: Path):
    rows = [f"{person},{film},3.0,{1_000 * person}\n" for person in range(1, 31) for film in range(1, 6)]
    place = folder(tmp_path, ratings_csv="userId,movieId,rating,timestamp\n" + "".join(rows))
    found = read_ratings(place, ALL, most_people=20, most_ratings=52, with_dates=False)
    assert found.users.tolist() == list(range(21, 31)) and len(found.stars) == 50 and found.people == 30
    assert "last_played_at" not in found.histories
    assert found.histories_of(2, 4)["user_id"].unique().tolist() == [23, 24]


def test_an_archive_is_read_as_its_folder_is_and_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = folder(tmp_path, ratings_csv=RATINGS, links_csv=LINKS)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("ratings.csv", "links.csv"):
            archive.write(place / name, f"ml/{name}")
    before = sorted(tmp_path.iterdir())
    packed = read_ratings(tmp_path / "set.zip", ALL).histories
    assert packed.equals(read_ratings(place, ALL).histories) and read_ids(tmp_path / "set.zip").equals(read_ids(place))
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr("aperture_dagster.taste.movielens.LARGEST_PART", 50)
    with pytest.raises(CrowdError, match=r"set\.zip has a ratings\.csv of"):
        read_ratings(tmp_path / "set.zip", ALL)
    (tmp_path / "set.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:-30])
    with pytest.raises(CrowdError, match=r"set\.zip cannot be read"):
        read_ratings(tmp_path / "set.zip", ALL)


def test_who_is_chosen_depends_neither_on_the_parts_nor_on_the_order_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = many(tmp_path, 400)
    whole = people_of(place, 50)
    monkeypatch.setattr("aperture_dagster.taste.movielens.CHUNK", 40)
    sample = read_ratings(place, ALL, most_people=50)
    assert set(sample.histories["user_id"]) == whole and sample.people == 400
    counts = sample.histories.groupby("user_id").size()
    assert {(int(str(person)) % 10 == 0, size) for person, size in counts.items()} == {(True, 91), (False, 1)}, (
        "with all they rated"
    )
    head, *rows = (place / "ratings.csv").read_text().splitlines(keepends=True)
    (place / "ratings.csv").write_text(head + "".join(reversed(rows)))
    assert people_of(place, 50) == whole
    assert people_of(place, 60) > whole and people_of(place, 9_999) == set(range(1, 401))


def test_films_are_known_by_the_ids_of_either_file(tmp_path: Path):
    assert read_ids(folder(tmp_path, links_csv=LINKS)).to_dict("index") == {
        1: {"tmdb_id": 862, "imdb_id": 114709},
        2: {"tmdb_id": 0, "imdb_id": 12},
        4: {"tmdb_id": 0, "imdb_id": 114709},
    }, "a film without any id cannot be found in a library"
    (tmp_path / "links.csv").unlink()
    folder(tmp_path, movies_jsonl='{"movieId": 1, "tmdbId": 862.0, "imdbId": "tt0114709"}\n')
    assert read_ids(tmp_path).to_dict("index") == {1: {"tmdb_id": 862, "imdb_id": 114709}}


def test_films_have_the_columns_of_the_ranking(tmp_path: Path):
    films = read_films(folder(tmp_path, movies_jsonl=FILM + '\n\n{"movieId": 2, "title": "1984"}\n' + FILM))
    assert films["work_id"].tolist() == [1, 2] and set(films["media_type"]) == {"movie"}
    heat, other = films.to_dict("records")
    assert heat["directors"] == ["M. Mann"] and heat["genres"] == ["Crime"] and heat["vote_count"] == 9.0
    assert other["title"] == "1984" and other["directors"] == [] and pd.isna(other["year"])
    assert {"year", "vote_count"} <= {
        *read_films(folder(tmp_path, movies_jsonl='{"movieId": 1, "title": "A"}')).columns
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no ratings.csv"),
        ({"ratings_csv": "user,film\n1,2\n"}, "ratings.csv cannot be read"),
        ({"ratings_csv": RATINGS + "7,x,4.0,1\n"}, "ratings.csv cannot be read"),
        ({"ratings_csv": RATINGS + "7,1,400,1\n"}, "ratings must be from 0.5 to 5"),
        ({"ratings_csv": "userId,movieId,rating\n7,999,4.0\n"}, "no rating of a film that is known"),
    ],
)
def test_unusable_ratings_are_an_error_that_names_the_file(tmp_path: Path, files: dict[str, str], message: str):
    with pytest.raises(CrowdError, match=message):
        read_ratings(folder(tmp_path, **files), ALL)
