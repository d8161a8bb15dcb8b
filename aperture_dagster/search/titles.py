"""What the search knows of a title and of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TitleRow(NamedTuple):
    """A title of the library, or one of the pool (not ``is_owned``), and what it can be found by."""

    work_id: int
    media_type: str
    title: str
    year: int | None
    names: Sequence[str]
    """What else it is called, such as its original title."""
    cast: Sequence[str]
    makers: Sequence[str]
    """Directors, and creators of series."""
    genres: Sequence[str]
    keywords: Sequence[str]
    tagline: str | None
    overview: str | None
    countries: Sequence[str]
    language: str | None
    minutes: int | None
    rated: str | None
    vote_average: float | None
    vote_count: int | None
    is_owned: bool


class EpisodeRow(NamedTuple):
    """An episode of the library with its series."""

    item_id: int
    work_id: int
    title: str
