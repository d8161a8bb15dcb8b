"""Small libraries and histories with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

NOW = pd.Timestamp("2026-03-01", tz="UTC")


def history(*rows: dict[str, Any]) -> pd.DataFrame:
    """A history of the given rows; a play is one whole, unrated play of today by ``ann``, unless the row says else."""
    usual = {
        "user_id": "ann",
        "plays": 1,
        "completion": 1.0,
        "favorite": False,
        "rating": np.nan,
        "last_played_at": NOW,
    }
    return pd.DataFrame([usual | row for row in rows])


def days_ago(days: float) -> pd.Timestamp:
    return NOW - pd.Timedelta(days=days)


@pytest.fixture
def library() -> pd.DataFrame:
    """Sixty films of three kinds (space, love, crime; twenty each), all equally known and good."""
    kinds = ["space", "love", "crime"]
    return pd.DataFrame(
        [
            {
                "work_id": 100 + number,
                "media_type": "movie",
                "title": f"{kinds[number % 3]} {number:02d}",
                "year": 2000,
                "genres": [kinds[number % 3]],
                "keywords": [f"about {kinds[number % 3]}"],
                "directors": [f"director of {kinds[number % 3]}"],
                "vote_average": 7.0,
                "vote_count": 500.0,
                "popularity": 10.0,
            }
            for number in range(60)
        ]
    )


@pytest.fixture
def vectors() -> np.ndarray:
    """Vectors of ``library``: one direction a kind, a common one, and a little noise (seeded)."""
    random = np.random.default_rng(7)
    directions = np.eye(3, 12)
    common = np.full(12, 0.5)
    return np.array(
        [directions[number % 3] + common + 0.15 * random.normal(size=12) for number in range(60)], dtype=np.float32
    )


def kind_of(work_id: int) -> str:
    return ["space", "love", "crime"][(work_id - 100) % 3]
