"""Histories and films of a folder: what can be used is read, and what cannot is counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from aperture_dagster.resources.movielens import FolderError, read_films, read_histories

FILM = '{"movieId": 1, "title": "Heat", "year": 1995, "genres": ["Crime"], "director": "M. Mann", "vote_count": 9.0}'
HEAD = "userId,movieId,rating,timestamp\n"


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_films_have_the_columns_of_the_ranking(tmp_path: Path):
    films, skipped = read_films(write(tmp_path, movies_jsonl=FILM + '\n\n{"movieId": 2, "title": "Alien"}\n'))
    assert skipped == 0, "an empty line is none"
    assert films["work_id"].tolist() == [1, 2] and set(films["media_type"]) == {"movie"}
    heat, alien = films.to_dict("records")
    assert heat["directors"] == ["M. Mann"] and heat["genres"] == ["Crime"] and heat["vote_count"] == 9.0
    assert alien["directors"] == alien["genres"] == alien["cast"] == [] and pd.isna(alien["year"])


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[1]", '{"title": "No id"}', '{"movieId": "x", "title": "Heat"}', '{"movieId": 2}', FILM,
     '{"movieId": 2, "title": null}', "null"],
)  # fmt: skip
def test_a_line_without_a_film_is_skipped_and_counted(tmp_path: Path, line: str):
    films, skipped = read_films(write(tmp_path, movies_jsonl=f"{FILM}\n{line}\n"))
    assert films["title"].tolist() == ["Heat"] and skipped == 1


def test_facts_of_a_wrong_type_are_unknown(tmp_path: Path):
    line = '{"movieId": 2, "title": "Odd", "year": "soon", "cast": "nobody", "genres": [1, "War"], "vote_count": NaN'
    line += ', "director": 7}'
    (film,) = read_films(write(tmp_path, movies_jsonl=line))[0].to_dict("records")
    assert film["cast"] == film["directors"] == [] and film["genres"] == ["War"]
    assert pd.isna(film["year"]) and pd.isna(film["vote_count"])


def test_ratings_are_complete_plays_on_the_products_scale(tmp_path: Path):
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(f"{HEAD}7,1,4.5,60\n".encode()))
    (row,) = read_histories(tmp_path)[0].to_dict("records")
    assert row == {
        "user_id": 7, "work_id": 1, "plays": 1, "completion": 1.0, "favorite": False, "rating": 9.0,
        "last_played_at": pd.Timestamp(60, unit="s", tz="UTC"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["7,9,4.0,60", "7,1,9,60", "7,1,0,60", "x,1,4.0,60", "7,1,4.0,then", "7,1", "7.5,1,4.0,60", "7,1,4.0,1,1",
     "7,2,4.0,-1", "7,1,3.0,70"],
)  # fmt: skip
def test_a_rating_that_cannot_be_used_is_skipped_and_counted(tmp_path: Path, line: str):
    good = "7,1,4.0,60\n7,2,5.0,61\n"
    if line == "7,1,3.0,70":
        kept, lines = [8.0, 10.0], f"{good}{line}\n"
    else:
        kept, lines = [10.0, 8.0], f"7,2,5.0,61\n{line}\n7,1,4.0,60\n"
    found, skipped = read_histories(write(tmp_path, ratings_csv=HEAD + lines), [1, 2])
    assert found["rating"].tolist() == kept and skipped == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no ratings.csv"),
        ({"ratings_csv": ""}, "cannot be read"),
        ({"ratings_csv": HEAD}, "nothing can be measured"),
        ({"ratings_csv": HEAD + "7,9,4.0,60\n"}, "nothing can be measured"),
        ({"ratings_csv": "userId,movieId\n1,1\n"}, "lacks the column.s. rating, timestamp"),
    ],
)
def test_ratings_of_which_none_can_be_used_are_an_error(tmp_path: Path, files: dict[str, str], message: str):
    with pytest.raises(FolderError, match=message):
        read_histories(write(tmp_path, **files), [1])


def test_films_of_which_none_can_be_used_are_an_error(tmp_path: Path):
    with pytest.raises(FolderError, match="does not exist"):
        read_films(tmp_path / "nowhere")
    with pytest.raises(FolderError, match=r"has no movies\.jsonl"):
        read_films(tmp_path)
    with pytest.raises(FolderError, match="has no film"):
        read_films(write(tmp_path, movies_jsonl="1\n"))
    (tmp_path / "movies.jsonl").unlink()
    (tmp_path / "movies.jsonl.gz").write_bytes(gzip.compress(FILM.encode())[:-12])
    with pytest.raises(FolderError, match="cannot be read"):
        read_films(tmp_path)
