"""The file of a crowd's table is small, comes back as it was written, and is refused if anything is wrong with it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aperture_dagster.resources.crowd import CrowdError
from aperture_dagster.resources.crowd_file import CrowdFile, CrowdHeader, pack, read_file

HEADER = CrowdHeader("ml", "abc", 3_000, 200_000, "research only")


def arrays(titles: int = 4, **changed: Any) -> dict[str, Any]:
    """Each film has the next one as its neighbour, and the last one none."""
    usual = {
        "tmdb_ids": np.arange(1, titles + 1),
        "imdb_ids": np.zeros(titles),
        "counts": np.minimum(1, np.arange(titles)[::-1]),
        "neighbours": np.arange(1, titles),
        "strengths": np.linspace(0.5, 0.1, titles - 1),
    }
    return usual | changed


def written(place: Path, **changed: Any) -> Path:
    path = place / "table.npz"
    path.write_bytes(pack(CrowdFile(HEADER, arrays(**changed))))
    return path


def with_header(path: Path, **changed: Any) -> None:
    """Replace the header of a file."""
    with np.load(path) as given:
        parts = dict(given)
    header = {
        name: value for name, value in (json.loads(bytes(parts["header"])) | changed).items() if value is not None
    }
    parts["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **parts)


def test_a_file_comes_back_as_it_was_written(tmp_path: Path):
    path = written(tmp_path)
    found = read_file(path)
    assert found.header == HEADER
    for name, values in arrays().items():
        assert found.arrays[name] == pytest.approx(values, rel=1e-3), name


def test_equal_tables_are_equal_files(tmp_path: Path):
    made = [pack(CrowdFile(HEADER, arrays())) for _ in range(2)]
    assert made[0] == made[1] != pack(CrowdFile(replace(HEADER, people=1), arrays()))


def test_the_file_of_a_large_crowd_has_a_few_megabytes():
    random = np.random.default_rng(1)
    size, each = 6_000, 100
    strengths = np.sort(random.exponential(0.02, (size, each)), axis=1)[:, ::-1].ravel()
    # Neighbours without any order are the worst case.
    table = arrays(
        size, counts=np.full(size, each), neighbours=random.integers(0, size, size * each), strengths=strengths
    )
    assert len(pack(CrowdFile(HEADER, table))) < 2.5e6


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(b"strengths.npy") + 30
    content[place : place + 20] = bytes(20)
    path.write_bytes(bytes(content))


def foreign(path: Path) -> None:
    np.savez(path, values=np.arange(9))


def of_another_program(path: Path) -> None:
    with_header(path, format="other")


def not_an_archive(path: Path) -> None:
    path.write_text("userId,movieId\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(9))


def without_people(path: Path) -> None:
    with_header(path, people=None)


def with_something_else(path: Path) -> None:
    with_header(path, surprise=1)


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


BROKEN = [truncated, garbled, foreign, of_another_program, not_an_archive, empty, single_array, without_people,
          with_something_else, of_objects]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
def test_what_is_no_such_file_is_refused(tmp_path: Path, broken):
    path = written(tmp_path)
    broken(path)
    with pytest.raises(CrowdError, match=r"table\.npz .*(no usable table|cannot be read)"):
        read_file(path)
    assert not Code.ran, "code of the file was run"


@pytest.mark.parametrize(
    "changed",
    [
        {"neighbours": [1, 2, 4]},
        {"neighbours": [1, 2]},
        {"counts": [1, 1, 0, 0]},
        {"imdb_ids": [0]},
        {"strengths": [np.nan, 0.1, 0.1]},
        {"strengths": [1e9, 0.1, 0.1]},
    ],
    ids=lambda one: str(one),
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, changed: dict[str, Any]):
    with pytest.raises(CrowdError, match="no usable table"):
        read_file(written(tmp_path, **changed))


def test_a_later_version_is_named(tmp_path: Path):
    path = written(tmp_path)
    with_header(path, version=2)
    with pytest.raises(CrowdError, match="version 2 of the format; this program reads 1"):
        read_file(path)


def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path: Path, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr("aperture_dagster.resources.crowd_file.LARGEST", 500)
    with pytest.raises(CrowdError, match="larger than"):
        read_file(path)


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(CrowdError, match="does not exist"):
        read_file(tmp_path / "none.npz")
