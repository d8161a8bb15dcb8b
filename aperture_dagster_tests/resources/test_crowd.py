"""A sample of the people in a folder in MovieLens format, and the fingerprint of the folder."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aperture_dagster.resources.crowd import CrowdError, fingerprint, read_sample
from aperture_dagster_tests.conftest import HISTORIES

RATINGS = "userId,movieId,rating,timestamp\n7,1,4.5,1000000000\n7,2,0.5,1000000001\n8,3,3.0,1000000002\n9,4,5.0,5\n"
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n2,0000012,\n3,,\n4,0114709,\n"


def folder(place: Path, **files: str) -> Path:
    for name, content in files.items():
        (place / name.replace("_", ".")).write_text(content)
    return place


def many(place: Path, people: int) -> Path:
    """A folder of people who rated one film each; every tenth also rated ninety others."""
    rows = [
        f"{person},{film},4.0,1\n" for person in range(1, people + 1) for film in range(91 if person % 10 == 0 else 1)
    ]
    links = "".join(f"{film},,{film + 1}\n" for film in range(91))
    return folder(
        place,
        ratings_csv="userId,movieId,rating,timestamp\n" + "".join(rows),
        links_csv="movieId,imdbId,tmdbId\n" + links,
    )


def people_of(place: Path, limit: int) -> set[int]:
    return set(read_sample(place, limit).ratings["user_id"])


def test_films_are_known_by_their_ids_and_ratings_are_on_the_products_scale(tmp_path: Path):
    found = read_sample(folder(tmp_path, ratings_csv=RATINGS, links_csv=LINKS), 100)
    assert found.ratings.to_dict("list") == {
        "user_id": [7, 7, 9],
        "work_id": [1, 2, 4],
        "plays": [1.0] * 3,
        "rating": [9.0, 1.0, 10.0],
    }
    assert found.films.to_dict("index") == {
        1: {"tmdb_id": 862, "imdb_id": 114709},
        2: {"tmdb_id": 0, "imdb_id": 12},
        4: {"tmdb_id": 0, "imdb_id": 114709},
    }, "a film without any id cannot be found in a library"
    assert found.people == 3


def test_a_sample_has_the_wanted_size_and_is_not_of_the_most_active(tmp_path: Path):
    found = read_sample(many(tmp_path, 1_000), 200)
    chosen = set(found.ratings["user_id"])
    assert found.people == 1_000 and len(chosen) == 200
    active = sum(person % 10 == 0 for person in chosen)
    assert 5 < active < 40, "a tenth of all people is active"
    assert {int(one) for one in np.histogram(list(chosen), 5, (0, 1_000))[0] > 10} == {1}, "from everywhere in the file"


def test_who_is_chosen_depends_neither_on_the_parts_nor_on_the_order_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = many(tmp_path, 400)
    whole = people_of(place, 50)
    monkeypatch.setattr("aperture_dagster.resources.crowd.CHUNK", 40)
    sample = read_sample(place, 50)
    assert set(sample.ratings["user_id"]) == whole and sample.people == 400
    counts = sample.ratings.groupby("user_id").size()
    assert {(person % 10 == 0, size) for person, size in counts.items()} == {(True, 91), (False, 1)}, (
        "with all they rated"
    )
    head, *rows = (place / "ratings.csv").read_text().splitlines(keepends=True)
    (place / "ratings.csv").write_text(head + "".join(reversed(rows)))
    assert people_of(place, 50) == whole
    assert people_of(place, 60) > whole and people_of(place, 9_999) == set(range(1, 401))


def test_compressed_files_are_read_and_lists_of_films_too(tmp_path: Path):
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(RATINGS.encode()))
    folder(tmp_path, movies_jsonl='{"movieId": 1, "tmdbId": 862.0, "imdbId": "tt0114709"}\n')
    found = read_sample(tmp_path, 100)
    assert found.ratings["work_id"].tolist() == [1]
    assert found.films.to_dict("index") == {1: {"tmdb_id": 862, "imdb_id": 114709}}


def test_real_histories_are_a_crowd():
    found = read_sample(HISTORIES, 10_000)
    toy_story = found.films.index[found.films["tmdb_id"] == 862][0]
    assert (found.ratings["work_id"] == toy_story).sum() == 32
    assert found.ratings["rating"].between(1, 10).all() and found.people == 138


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"links_csv": LINKS}, "has no ratings.csv"),
        ({"ratings_csv": RATINGS}, "has neither links.csv nor movies.jsonl"),
        ({"ratings_csv": "user,film\n1,2\n", "links_csv": LINKS}, "ratings.csv cannot be read"),
        ({"ratings_csv": RATINGS + "7,x,4.0,1\n", "links_csv": LINKS}, "ratings.csv cannot be read"),
        ({"ratings_csv": RATINGS + "7,1,400,1\n", "links_csv": LINKS}, "ratings must be from 0.5 to 5"),
        ({"ratings_csv": RATINGS + ",1,4.0,1\n", "links_csv": LINKS}, "ratings.csv cannot be read"),
        ({"ratings_csv": "", "links_csv": LINKS}, "ratings.csv cannot be read"),
        (
            {"ratings_csv": "userId,movieId,rating\n7,99,4.0\n", "links_csv": LINKS},
            "no rating of a film with an id",
        ),
        ({"ratings_csv": RATINGS, "links_csv": "movieId,tmdbId\n1,862\n"}, "films of .* cannot be read"),
        ({"ratings_csv": RATINGS, "links_csv": LINKS + "5,tt,x\n"}, "films of .* cannot be read"),
        ({"ratings_csv": RATINGS, "movies_jsonl": "{"}, "films of .* cannot be read"),
    ],
)
def test_an_unusable_folder_is_an_error_that_names_the_file(tmp_path: Path, files: dict[str, str], message: str):
    with pytest.raises(CrowdError, match=message):
        read_sample(folder(tmp_path, **files), 100)


@pytest.mark.parametrize("content", [b"\x1f\x8b garbage", gzip.compress(RATINGS.encode() * 99)[:-30]])
def test_a_damaged_or_truncated_archive_is_an_error(tmp_path: Path, content: bytes):
    folder(tmp_path, links_csv=LINKS)
    (tmp_path / "ratings.csv.gz").write_bytes(content)
    with pytest.raises(CrowdError, match=r"ratings\.csv\.gz cannot be read"):
        read_sample(tmp_path, 100)


def touched(place: Path) -> None:
    os.utime(place / "ratings.csv", (5, 5))


def grown(place: Path) -> None:
    with (place / "ratings.csv").open("a") as file:
        file.write("9,1,1.0,1\n")


def replaced(place: Path) -> None:
    """Other ratings in the middle, with the same size and time."""
    path = place / "ratings.csv"
    before, content = path.stat(), path.read_text()
    middle = len(content) // 2
    path.write_text(content[:middle] + content[middle:].replace("4.0", "1.0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def with_other_films(place: Path) -> None:
    (place / "links.csv").write_text(LINKS)


@pytest.mark.parametrize("change", [touched, grown, replaced, with_other_films], ids=lambda one: one.__name__)
def test_a_changed_folder_has_another_fingerprint(tmp_path: Path, change: Callable[[Path], None]):
    place = many(tmp_path, 3_000)
    before = fingerprint(place)
    assert fingerprint(place) == before
    change(place)
    assert fingerprint(place) != before


def test_a_folder_without_files_has_no_fingerprint(tmp_path: Path):
    with pytest.raises(CrowdError, match=r"has neither links\.csv nor movies\.jsonl"):
        fingerprint(tmp_path)
