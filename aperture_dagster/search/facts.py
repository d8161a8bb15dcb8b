"""What can be filtered: genres, where a title is from, when it came out, its length, and from which age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.catalogue.parental import age_of
from aperture_dagster.search.lexicon import NAMES_OF_GENRES, NATIONS
from aperture_dagster.search.titles import TitleRow
from aperture_dagster.search.words import words_of

CHILDREN_FROM = 8
"""A rating for more than this age is not for children."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Of every title; NaN is unknown."""

    genres: dict[str, Mask]
    nations: dict[str, Mask]
    knows_nation: Mask
    is_series: Mask
    years: NDArray[np.float32]
    minutes: NDArray[np.float32]
    ages: NDArray[np.float32]
    quality: NDArray[np.float32]
    """From 0 to 1: how good the world finds it, and how well it is known."""


def facts_of(titles: Sequence[TitleRow]) -> Facts:
    """Return the facts of titles."""
    size = len(titles)
    genres = {name: np.zeros(size, dtype=bool) for name in NAMES_OF_GENRES}
    nations = {name: np.zeros(size, dtype=bool) for name in NATIONS}
    by_genre: dict[str, list[str]] = {}
    for name, own in NAMES_OF_GENRES.items():
        for text in own:
            by_genre.setdefault(text, []).append(name)
    by_place: dict[str, list[str]] = {}
    for name, (languages, *countries) in NATIONS.items():
        # English is spoken in too many countries to say where a title is from.
        for place in [*(code for code in languages.split() if code != "en"), *countries]:
            by_place.setdefault(place, []).append(name)
    plain = {genre: " ".join(words_of(genre)) for genre in {genre for title in titles for genre in title.genres}}
    knows_nation = np.zeros(size, dtype=bool)
    for row, title in enumerate(titles):
        for genre in title.genres:
            for name in by_genre.get(plain[genre], ()):
                genres[name][row] = True
        knows_nation[row] = bool(title.language or title.countries)
        for place in (title.language or "", *title.countries):
            for name in by_place.get(place, ()):
                nations[name][row] = True
    return Facts(
        genres=genres,
        nations=nations,
        knows_nation=knows_nation,
        is_series=np.array([title.media_type == "series" for title in titles], dtype=bool),
        years=_numbers([title.year for title in titles]),
        minutes=_numbers([title.minutes or None for title in titles]),
        ages=_numbers([age_of(title.rated) for title in titles]),
        quality=_quality(titles),
    )


def _numbers(values: Sequence[float | None]) -> NDArray[np.float32]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)


def _quality(titles: Sequence[TitleRow]) -> NDArray[np.float32]:
    """Return the mean of fame and of the rating, which counts less the fewer votes it is from."""
    votes = np.nan_to_num(_numbers([title.vote_count for title in titles])).clip(min=0)
    rating = _numbers([title.vote_average or None for title in titles])
    known = np.isfinite(rating) & (votes > 0)
    usual = float(np.average(rating[known], weights=votes[known])) if known.any() else 6.5
    prior = max(float(np.median(votes[known])), 10.0) if known.any() else 10.0
    shrunk = (votes * np.where(known, rating, usual) + prior * usual) / (votes + prior)
    fame = np.log1p(votes) / max(float(np.log1p(votes.max(initial=0))), 1.0)
    return (0.5 * fame + 0.5 * np.clip((shrunk - 4) / 5, 0, 1)).astype(np.float32)
