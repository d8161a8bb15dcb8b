"""Histories of other people from a folder in MovieLens format."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from aperture_dagster.resources.crowd import read_crowd
from aperture_dagster.resources.errors import ServiceNotConfigured
from aperture_dagster_tests.conftest import HISTORIES

RATINGS = "userId,movieId,rating,timestamp\n7,1,4.5,1000000000\n7,2,0.5,1000000001\n8,3,3.0,1000000002\n9,4,5.0,5\n"
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n2,0000012,\n3,8888888,99\n4,0114709,\n"


def folder(place: Path, **files: str) -> Path:
    for name, content in files.items():
        (place / name.replace("_", ".")).write_text(content)
    return place


def test_films_are_known_by_tmdb_id_or_else_by_imdb_id(tmp_path: Path):
    found = read_crowd(folder(tmp_path, ratings_csv=RATINGS, links_csv=LINKS), {862: 11}, {"tt0000012": 12})
    assert found.to_dict("list") == {
        "user_id": ["7", "7"],
        "work_id": [11, 12],
        "plays": [1.0, 1.0],
        "rating": [9.0, 1.0],
        "last_played_at": [pd.Timestamp(second, unit="s", tz="UTC") for second in (1_000_000_000, 1_000_000_001)],
    }
    by_imdb = read_crowd(tmp_path, {}, {"tt0114709": 11})
    assert by_imdb[["user_id", "work_id"]].to_numpy().tolist() == [["7", 11], ["9", 11]]
    assert read_crowd(tmp_path, {}, {}).empty


def test_a_large_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder(tmp_path, ratings_csv=RATINGS, links_csv=LINKS)
    monkeypatch.setattr("aperture_dagster.resources.crowd.CHUNK", 1)
    found = read_crowd(tmp_path, {862: 11, 99: 13}, {})
    assert found[["user_id", "work_id"]].to_numpy().tolist() == [["7", 11], ["8", 13]]


def test_compressed_files_are_read_and_lists_of_films_too(tmp_path: Path):
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(RATINGS.encode()))
    folder(tmp_path, movies_jsonl='{"movieId": 1, "tmdbId": 862.0, "imdbId": "tt0114709"}\n')
    assert read_crowd(tmp_path, {862: 11}, {})["work_id"].tolist() == [11]
    assert read_crowd(tmp_path, {}, {"tt0114709": 12})["work_id"].tolist() == [12]


def test_real_histories_are_a_crowd():
    toy_story, heat = 862, "tt0113277"
    found = read_crowd(HISTORIES, {toy_story: 1}, {heat: 2})
    assert found.groupby("work_id").size().to_dict() == {1: 32, 2: 15}
    assert found["rating"].between(1, 10).all() and found["user_id"].nunique() == 41


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"links_csv": LINKS}, "has no ratings.csv"),
        ({"ratings_csv": RATINGS}, "has no movies.jsonl"),
        ({"ratings_csv": "user,film\n1,2\n", "links_csv": LINKS}, "ratings.csv cannot be read"),
        ({"ratings_csv": RATINGS, "links_csv": "movieId,tmdbId\n1,862\n"}, "the films of .* cannot be read"),
        ({"ratings_csv": RATINGS, "movies_jsonl": "{"}, "the films of .* cannot be read"),
    ],
)
def test_the_error_for_an_unusable_folder_names_the_setting(tmp_path: Path, files: dict[str, str], message: str):
    with pytest.raises(ServiceNotConfigured, match=f"APERTURE_CROWD_FOLDER: .*{message}"):
        read_crowd(folder(tmp_path, **files), {862: 11}, {})
