"""Small libraries and histories with known answers, and the benchmark as a module."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aperture_dagster.taste.ranking.config import RankingInputs
from aperture_dagster.taste.ranking.crowd import Crowd, neighbours_of
from aperture_dagster.taste.ranking.features import count_names, weigh_names
from aperture_dagster_tests.conftest import PROJECT, load_script

NOW = pd.Timestamp("2026-03-01", tz="UTC")
SPACE = [100 + 3 * n for n in range(12)]
"""The works of ``library`` whose topic is space, but for the last ones."""


def history(*rows: dict[str, Any]) -> pd.DataFrame:
    """A history of the given rows; unless a row says otherwise, one complete, unrated play by ``ann``, today."""
    usual = {
        "user_id": "ann",
        "plays": 1,
        "completion": 1.0,
        "favorite": False,
        "rating": np.nan,
        "last_played_at": NOW,
    }
    return pd.DataFrame([usual | row for row in rows])


def watched(user: str, works: list[int], **more: Any) -> pd.DataFrame:
    """A history of somebody who watched some works."""
    return history(*({"user_id": user, "work_id": work} | more for work in works))


def inputs(library: pd.DataFrame, vectors: np.ndarray | None, histories: pd.DataFrame, **more: Any) -> RankingInputs:
    return RankingInputs(items=library, histories=histories, as_of=NOW, vectors=vectors, **more)


def crowd_of(histories: pd.DataFrame) -> Crowd:
    """What the people of these histories watched together, with their own work ids."""
    table = neighbours_of(histories, as_of=NOW)
    return table.on(table.titles)


def days_ago(days: float) -> pd.Timestamp:
    return NOW - pd.Timedelta(days=days)


@pytest.fixture
def library() -> pd.DataFrame:
    """Sixty films on three topics (space, love, crime; twenty each), all equally known and good."""
    topics = ["space", "love", "crime"]
    return pd.DataFrame(
        [
            {
                "work_id": 100 + number,
                "media_type": "movie",
                "title": f"{topics[number % 3]} {number:02d}",
                "year": 2000,
                "genres": [topics[number % 3]],
                "directors": [f"director of {topics[number % 3]}"],
                "vote_average": 7.0,
                "vote_count": 500.0,
                "popularity": 10.0,
            }
            for number in range(60)
        ]
    )


@pytest.fixture
def vectors() -> np.ndarray:
    """Vectors of ``library``: one direction per topic, a common one, and a little noise (seeded)."""
    random = np.random.default_rng(7)
    directions = np.eye(3, 12)
    common = np.full(12, 0.5)
    return np.array(
        [directions[number % 3] + common + 0.15 * random.normal(size=12) for number in range(60)], dtype=np.float32
    )


def topic_of(work_id: int) -> str:
    return ["space", "love", "crime"][(work_id - 100) % 3]


@pytest.fixture(scope="session")
def benchmark() -> ModuleType:
    """``benchmarks/recommendation_quality.py``, which has the metrics and the protocol."""
    # Benchmarks import each other by their names.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "benchmarks")
        return load_script("benchmarks/recommendation_quality.py")


@pytest.fixture(scope="session")
def cells(benchmark: ModuleType) -> ModuleType:
    """``benchmarks/cells.py``, as the benchmark has imported it."""
    return sys.modules["cells"]


def tf_idf(lists):
    """Return the rows of some lists of names."""
    return weigh_names(count_names(lists))
