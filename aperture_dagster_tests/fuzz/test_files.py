"""No file that people bring, and no file of ours that was damaged, does more harm than a sentence."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.catalogue.history.log_of_plays import read_log_of_plays
from aperture_dagster.files.private import LOG_OF_PLAYS
from aperture_dagster.publishing.disk.nfo import TitleFacts, film_nfo, read_marker, read_title, says_rating
from aperture_dagster.taste.crowd_table import ARRAYS, CrowdHeader, CrowdTable, build_table, read_table, write_table
from aperture_dagster.taste.movielens import CrowdError, read_films, read_ids
from aperture_dagster.up.files import read_state
from aperture_dagster_tests.fuzz import ANYTHING, FEW, broken

LINE = {"movieId": 1, "tmdbId": 862, "imdbId": "tt0114709", "title": "Toy Story", "year": 1995, "director": "Somebody"}


@cache
def table() -> bytes:
    """Return the file of a small table."""
    usual = {
        "tmdb_ids": np.arange(1, 5), "imdb_ids": np.zeros(4), "counts": np.asarray([1, 1, 1, 0]),
        "neighbours": np.arange(1, 4), "strengths": np.linspace(0.5, 0.1, 3),
    }  # fmt: skip
    arrays = {name: np.asarray(usual[name], kind) for name, kind in ARRAYS.items()}
    with TemporaryDirectory() as folder:
        write_table(Path(folder, "table.npz"), CrowdTable(CrowdHeader("ml", 3, 3), arrays))
        return Path(folder, "table.npz").read_bytes()


@FEW
@given(data=st.data())
def test_a_damaged_table_of_a_crowd_is_refused_or_whole(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(table())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "table.npz"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        found = read_table(path)
    except CrowdError as error:
        assert str(path) in str(error)
        return
    assert found.arrays["counts"].sum() == len(found.arrays["neighbours"])


@FEW
@given(data=st.data())
def test_damaged_films_of_a_crowd_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    lines = [json.dumps(data.draw(broken(LINE))), json.dumps(LINE | {"movieId": 2})]
    packed = gzip.compress("\n".join(lines).encode("utf-8", "surrogatepass"), mtime=0)
    path = tmp_path / "movies.jsonl.gz"
    path.write_bytes(packed[: data.draw(st.integers(0, len(packed)))] if data.draw(st.booleans()) else packed)
    for read in (read_films, read_ids):
        try:
            assert read(tmp_path) is not None
        except CrowdError as error:
            assert str(tmp_path) in str(error)


CELLS = st.sampled_from(["1", "2", "4.5", "-1", "", "x", "nan", "inf", "9" * 30, "1e400", '"', "\0", "\n", ","])


@FEW
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=4), header=st.booleans())
def test_damaged_ratings_of_a_crowd_are_refused_or_read(tmp_path: Path, rows: list[list[str]], header: bool) -> None:
    head = "userId,movieId,rating,timestamp\n" if header else ""
    (tmp_path / "ratings.csv").write_text(head + "\n".join(map(",".join, rows)), encoding="utf-8")
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n2,0113277,949\n", encoding="utf-8")
    with pytest.raises(CrowdError):
        # A few ratings are never enough for a table.
        build_table(tmp_path)


@FEW
@given(content=st.binary(max_size=80) | ANYTHING.map(lambda one: json.dumps(one).encode()), data=st.data())
def test_damaged_notes_of_ours_are_as_if_there_were_none(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    moments = {"first_play": "2026-01-01T00:00:00+00:00", "noted_at": "2026-01-02T00:00:00+00:00"}
    for one in (content, json.dumps(data.draw(broken(moments))).encode()):
        (tmp_path / LOG_OF_PLAYS).write_bytes(one)
        found = read_log_of_plays(tmp_path)
        assert found is None or found.first_play.tzinfo is not None
        assert isinstance(read_state(tmp_path / LOG_OF_PLAYS), dict)


@FEW
@given(title=st.text(max_size=20), cut=st.floats(0, 1), junk=st.binary(max_size=20), at=st.floats(0, 1))
def test_a_damaged_nfo_file_is_ours_or_nobodys(title: str, cut: float, junk: bytes, at: float) -> None:
    whole = film_nfo(TitleFacts(title=title, date_added=datetime(2026, 1, 1, tzinfo=UTC), marker="ap-hkqzmbwrnf"))
    assert read_marker(whole) == "ap-hkqzmbwrnf"
    cut_off, place = whole[: round(cut * len(whole))], round(at * len(whole))
    for content in (cut_off, junk + whole, whole[:place] + junk + whole[place:], whole.decode().encode("utf-16")):
        # A file that is taken for somebody else's is kept, and one of ours that cannot be read is written again.
        assert isinstance(read_marker(content), str | None) and isinstance(read_title(content), str | None)
        assert says_rating(content) in (True, False)
    assert "ap-hkqzmbwrnf".startswith(read_marker(cut_off) or "")
