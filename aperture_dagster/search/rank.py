"""Rank all titles by how well they fit a question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.search.facts import CHILDREN_FROM, Facts
from aperture_dagster.search.index import Index
from aperture_dagster.search.question import Question

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much; tuned on thirty questions, see docs/find.md."""

    words: float = 0.5
    """BM25, as a share of what a text with all words about once would have."""
    meaning: float = 0.7
    """The cosine of vectors."""
    like: float = 0.6
    """The cosine to the title that others should be like."""
    kinship: float = 0.25
    """The share of genres that are the same as that title's."""
    quality: float = 0.42
    genre: float = 0.25
    required: float = 0.5
    """A filter; what is known not to pass it loses as much."""
    age: float = 0.2


WEIGHTS = Weights()
LEAST_FIT = 0.2
"""Titles that have less of what is asked for are not shown, however good they are."""
LEAST_LEFT = 5
"""With fewer titles that pass all filters, those that do not are shown below them."""


def rank(index: Index, question: Question, weights: Weights = WEIGHTS) -> Floats:
    """Return the score of each title; minus infinity for those that do not fit."""
    facts = index.facts
    scores = weights.quality * facts.quality
    fits = np.zeros(len(scores), dtype=np.float32)
    wanted = {word: weight for word, weight in question.words.items() if weight > 0}
    if question.words:
        most = sum(weight * index.texts.rarity_of(word) for word, weight in wanted.items())
        if most:
            fits += weights.words * index.texts.bm25(question.words) / most
        fits += weights.meaning * index.texts.similarity(index.texts.vector(question.words))
    if question.like is not None:
        fits += weights.like * index.texts.similarity(index.texts.vector_of(question.like))
        fits += weights.kinship * _kinship(facts, question.like)
    if question.words and not question.has_filters:
        scores[fits < LEAST_FIT] = -np.inf
    elif not (question.has_filters or question.genres or question.prefers_old or question.prefers_new):
        return np.full(len(scores), -np.inf, dtype=np.float32)
    scores = scores + fits
    if question.prefers_old or question.prefers_new:
        scores += weights.age * _age(facts, question)
    for name, value in question.genres.items():
        scores += weights.genre * value * facts.genres[name]
    passes = np.ones(len(scores), dtype=bool)
    for passed, is_known in filters(facts, question):
        scores += weights.required * np.where(is_known, np.where(passed, 1.0, -1.0), 0.0)
        passes &= passed
    if question.like is not None:
        scores[question.like] = -np.inf
        passes[question.like] = False
    if passes.sum() >= LEAST_LEFT:
        scores[~passes] = -np.inf
    return scores.astype(np.float32)


def filters(facts: Facts, question: Question) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return for each filter of a question which titles pass it, and of which that is known."""
    everywhere = np.ones(len(facts.years), dtype=bool)
    found = [(facts.genres[name], everywhere) for name in sorted(question.required)]
    found += [(~facts.genres[name], everywhere) for name, value in question.genres.items() if value == -1]
    if question.is_from and question.nations:
        from_there = np.any([facts.nations[name] for name in question.nations], axis=0)
        found.append((from_there, facts.knows_nation))
    for limits, values in ((question.years, facts.years), (question.minutes, facts.minutes)):
        least, most = limits
        if least is not None or most is not None:
            known = np.isfinite(values)
            passed = known & (values >= (-np.inf if least is None else least))
            found.append((passed & (values <= (np.inf if most is None else most)), known))
    if question.media_type is not None:
        found.append((facts.is_series == (question.media_type == "series"), everywhere))
    if question.for_children:
        rated = np.isfinite(facts.ages)
        genre = facts.genres["family"] | facts.genres["animation"]
        found.append((np.where(rated, (facts.ages <= CHILDREN_FROM) & genre, facts.genres["family"]), everywhere))
    for _, rows in question.people:
        is_in = np.zeros(len(facts.years), dtype=bool)
        is_in[list(rows)] = True
        found.append((is_in, everywhere))
    return found


def _kinship(facts: Facts, row: int) -> Floats:
    """Return the share of genres that titles have in common with one."""
    both = np.zeros(len(facts.years), dtype=np.float32)
    either = np.zeros(len(facts.years), dtype=np.float32)
    for own in facts.genres.values():
        both += own & own[row]
        either += own | own[row]
    return (both / np.maximum(either, 1)).astype(np.float32)


def _age(facts: Facts, question: Question) -> Floats:
    """Return from 0 to 1 how old, or how new, titles are; the newest title of the library is new."""
    years = np.nan_to_num(facts.years, nan=float(np.nanmedian(facts.years)) if len(facts.years) else 0.0)
    newest = float(years.max(initial=0))
    age = np.clip((newest - years) / 60, 0, 1)
    return (age if question.prefers_old else 1 - np.clip(age * 3, 0, 1)).astype(np.float32)
