"""The table of a crowd: what it knows of a library, and its file, which is refused if anything is wrong with it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.settings import Settings
from aperture_dagster.taste import crowd_table
from aperture_dagster.taste.crowd import crowd_version, table_in_use
from aperture_dagster.taste.crowd_table import ARRAYS, CrowdHeader, CrowdTable, build_table, read_table, write_table
from aperture_dagster.taste.movielens import CrowdError
from aperture_dagster_tests.conftest import HISTORIES

TOY_STORY, HEAT = 862, 949
HEADER = CrowdHeader("ml", 3_000, 200_000, "research only")


def table(titles: int = 4, **changed: Any) -> CrowdTable:
    """Each film has the next one as its neighbour, and the last one none."""
    usual = {
        "tmdb_ids": np.arange(1, titles + 1),
        "imdb_ids": np.zeros(titles),
        "counts": np.minimum(1, np.arange(titles)[::-1]),
        "neighbours": np.arange(1, titles),
        "strengths": np.linspace(0.5, 0.1, titles - 1),
    }
    return CrowdTable(HEADER, {name: np.asarray((usual | changed)[name], kind) for name, kind in ARRAYS.items()})


def written(place: Path) -> Path:
    write_table(place / "table.npz", table())
    return place / "table.npz"


def with_header(path: Path, **changed: Any) -> None:
    """Replace values of a file's header; None removes one."""
    with np.load(path) as given:
        parts = dict(given)
    header = json.loads(bytes(parts["header"])) | changed
    known = {name: value for name, value in header.items() if value is not None}
    parts["header"] = np.frombuffer(json.dumps(known).encode(), dtype=np.uint8)
    np.savez(path, **parts)


def library(*films: dict) -> pd.DataFrame:
    usual = {"media_type": "movie", "tmdb_id": np.nan, "imdb_id": None}
    return pd.DataFrame([usual | {"work_id": number} | film for number, film in enumerate(films, start=1)])


def test_a_table_knows_the_films_of_a_library_by_either_id_and_no_series():
    made = build_table(HISTORIES)
    films = library({"tmdb_id": TOY_STORY}, {"imdb_id": "tt0113277"}, {"tmdb_id": HEAT, "media_type": "series"}, {})
    crowd = made.on(films)
    assert set(crowd.sources) | set(crowd.targets) <= {1, 2}
    everything = library(*({"tmdb_id": one} for one in made.arrays["tmdb_ids"].tolist()))
    pairs = made.on(everything)
    assert len(pairs.sources) > 0.99 * len(made.arrays["strengths"]) and pairs.people == 138
    assert not len(made.on(library({}, {"imdb_id": "nonsense"})).sources)


def test_only_so_many_people_are_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crowd_table, "PEOPLE", 40)
    header = build_table(HISTORIES).header
    assert (header.people, header.people_read) == (40, 138)


def test_people_without_anything_in_common_are_no_crowd(tmp_path: Path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,1\n2,2,4,1\n")
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,1,1\n2,2,2\n")
    with pytest.raises(CrowdError, match="two people liked"):
        build_table(tmp_path)


def test_a_table_comes_back_as_it_was_written_for_its_owner_alone(tmp_path: Path):
    path = written(tmp_path / "crowd")
    assert path.stat().st_mode & 0o77 == 0 and path.parent.stat().st_mode & 0o77 == 0
    found = read_table(path)
    assert found.header == HEADER
    for name, values in table().arrays.items():
        assert (found.arrays[name] == values).all() and found.arrays[name].dtype == values.dtype, name


def test_the_version_changes_with_the_table(tmp_path: Path):
    settings = Settings(home=tmp_path)
    path = table_in_use(settings)
    assert crowd_version(settings) == ""
    write_table(path, table())
    first = crowd_version(settings)
    write_table(path, table(5))
    assert len({"", first, crowd_version(settings)}) == 3


def garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(b"strengths.npy") + 30
    content[place : place + 20] = bytes(20)
    path.write_bytes(bytes(content))


class Code:
    """Something that runs when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Code, "ran", True)


def of_objects(path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([Code()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("strengths.npy", content.getvalue())


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "garbled": garbled,
    "of another version": lambda path: with_header(path, version="other"),
    "not an archive": lambda path: path.write_text("userId,movieId\n"),
    "missing": Path.unlink,
    "without people": lambda path: with_header(path, people=None),
    "of objects": of_objects,
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_no_such_file_is_refused(tmp_path: Path, broken: Callable[[Path], object]):
    path = written(tmp_path)
    broken(path)
    with pytest.raises(CrowdError, match=r"table\.npz .*(no usable table|cannot be read|does not exist)"):
        read_table(path)
    assert not Code.ran, "code of the file was run"


def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr(crowd_table, "LARGEST", 500)
    with pytest.raises(CrowdError, match="larger than"):
        read_table(path)
