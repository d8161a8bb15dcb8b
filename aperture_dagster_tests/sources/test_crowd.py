"""The crowd of a home: a folder is read once, its table is kept, and a table from elsewhere does the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.resources.crowd import CrowdError
from aperture_dagster.resources.crowd_file import read_file
from aperture_dagster.settings import Settings
from aperture_dagster.sources import crowd as crowds
from aperture_dagster.sources.crowd import (
    build_crowd,
    crowd_on,
    crowd_version,
    keep_table,
    load_crowd,
    table_in_use,
)
from aperture_dagster.storage.files import prepare_home
from aperture_dagster_tests.conftest import HISTORIES

TOY_STORY, HEAT = 862, 949


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of real histories."""
    shutil.copytree(HISTORIES, tmp_path / "histories")
    return tmp_path / "histories"


def settings(home: Path, crowd: Path | None = None) -> Settings:
    return Settings(home=home, crowd_folder=crowd)


def cached(home: Path) -> list[Path]:
    return sorted((home / "crowd").glob("folder-*.npz"))


def library(*films: dict) -> pd.DataFrame:
    usual = {"media_type": "movie", "tmdb_id": np.nan, "imdb_id": None}
    return pd.DataFrame([usual | {"work_id": number} | film for number, film in enumerate(films, start=1)])


def test_a_folder_is_read_once_and_again_when_it_has_changed(tmp_path, folder, monkeypatch):
    home = tmp_path / "home"
    made = load_crowd(settings(home, folder))
    assert made is not None and made.header.people == made.header.people_read == 138
    (kept,) = cached(home)
    assert kept.stat().st_mode & 0o77 == 0 and kept.parent.stat().st_mode & 0o77 == 0, "for the owner alone"
    home.chmod(0o755)
    prepare_home(home)
    assert home.stat().st_mode & 0o77 == 0, "the table is no foreign content, for which a home would stay open"

    def no_reading(*_):
        raise AssertionError("the folder was read again")

    with monkeypatch.context() as patch:
        patch.setattr(crowds, "read_sample", no_reading)
        again = load_crowd(settings(home, folder))
        assert again is not None and again.header == made.header
        assert all(
            (again.arrays[name] == made.arrays[name].astype(again.arrays[name].dtype)).all() for name in again.arrays
        )
    (folder / "movies.jsonl.gz").touch()
    assert load_crowd(settings(home, folder)) is not None
    (newer,) = cached(home)
    assert newer != kept, "the table of the earlier content is gone"


def test_a_kept_table_that_was_damaged_is_made_again(tmp_path, folder):
    home = tmp_path / "home"
    load_crowd(settings(home, folder))
    (kept,) = cached(home)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1_000])
    assert load_crowd(settings(home, folder)) is not None
    assert kept.read_bytes() == whole


def test_a_folder_is_no_crowd_before_it_was_read_if_it_may_not_be_read_now(tmp_path, folder):
    home = tmp_path / "home"
    assert load_crowd(settings(home, folder), fit=False) is None and not cached(home)
    load_crowd(settings(home, folder))
    assert load_crowd(settings(home, folder), fit=False) is not None


def test_whoever_only_looks_learns_why_a_folder_could_not_be_read(tmp_path, folder):
    home = tmp_path / "home"
    good = (folder / "ratings.csv.gz").read_bytes()
    (folder / "ratings.csv.gz").write_bytes(good[:5_000])
    for fit in (True, False, True):
        with pytest.raises(CrowdError, match=r"ratings\.csv\.gz cannot be read"):
            load_crowd(settings(home, folder), fit=fit)
    (folder / "ratings.csv.gz").write_bytes(good)
    assert load_crowd(settings(home, folder), fit=False) is None, "it may be better now"
    load_crowd(settings(home, folder))
    assert load_crowd(settings(home, folder), fit=False) is not None
    assert [path.suffix for path in (home / "crowd").iterdir()] == [".npz"]


def test_a_table_is_used_from_the_setting_or_else_from_the_home(tmp_path, folder):
    home = tmp_path / "home"
    assert load_crowd(settings(home)) is None
    made = build_crowd(folder, licence="for research")
    elsewhere = tmp_path / "crowd.npz"
    keep_table(elsewhere, made)
    assert load_crowd(settings(home, elsewhere)).header.licence == "for research"
    keep_table(table_in_use(settings(home)), made)
    found = load_crowd(settings(home))
    assert found.header == made.header and not cached(home)
    elsewhere.write_bytes(b"nothing")
    with pytest.raises(CrowdError, match="no usable table"):
        load_crowd(settings(home, elsewhere))
    with pytest.raises(CrowdError, match="does not exist"):
        load_crowd(settings(home, tmp_path / "gone"))


def test_the_version_changes_with_the_folder_and_with_the_table(tmp_path, folder):
    home = tmp_path / "home"
    assert crowd_version(settings(home)) == ""
    read = crowd_version(settings(home, folder))
    assert read == crowd_version(settings(home, folder)) != ""
    (folder / "movies.jsonl.gz").touch()
    assert crowd_version(settings(home, folder)) not in (read, "")
    copied = table_in_use(settings(home))
    copied.parent.mkdir(parents=True)
    copied.write_bytes(b"one")
    first = crowd_version(settings(home))
    copied.write_bytes(b"two")
    assert len({"", read, first, crowd_version(settings(home)), crowd_version(settings(home, tmp_path / "gone"))}) == 5


def test_a_table_knows_the_films_of_a_library_by_either_id_and_no_series(folder):
    made = build_crowd(folder)
    films = library({"tmdb_id": TOY_STORY}, {"imdb_id": "tt0113277"}, {"tmdb_id": HEAT, "media_type": "series"}, {})
    crowd = crowd_on(made, films)
    assert set(crowd.sources) | set(crowd.targets) <= {1, 2}
    everything = library(*({"tmdb_id": one} for one in made.arrays["tmdb_ids"].tolist()))
    pairs = crowd_on(made, everything)
    assert len(pairs.sources) > 0.99 * len(made.arrays["strengths"]) and pairs.people == 138
    assert not len(crowd_on(made, library({}, {"imdb_id": "nonsense"})).sources)


def test_only_so_many_people_are_used(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(crowds, "PEOPLE", 40)
    made = build_crowd(folder)
    assert (made.header.people, made.header.people_read) == (40, 138)
    keep_table(tmp_path / "table.npz", made)
    assert read_file(tmp_path / "table.npz").header.people == 40


def test_people_without_anything_in_common_are_no_crowd(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,1\n2,2,4,1\n")
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,1,1\n2,2,2\n")
    with pytest.raises(CrowdError, match="two people liked"):
        build_crowd(tmp_path)
