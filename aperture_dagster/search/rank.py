"""Rank all titles by how well they fit a question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.search.facts import CHILDREN_FROM, Facts
from aperture_dagster.search.index import Index
from aperture_dagster.search.question import Question

Floats = NDArray[np.float32]
CLEARLY = 0.5
"""From which value on a mood is that of a genre."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much; tuned on thirty questions, see docs/find.md."""

    words: float = 0.5
    """BM25, as a share of what a text with all words about once would have."""
    meaning: float = 0.7
    """The cosine of vectors."""
    like: float = 1.0
    """The cosine to the title that others should be like."""
    kinship: float = 0.25
    """The share of genres that are the same as that title's."""
    kept: float = 0.3
    """The share of that title's genres which others keep, although they should differ from it in mood."""
    changed: float = 0.5
    """How much of the mood others have in which they should differ from that title."""
    quality: float = 0.42
    genre: float = 0.25
    required: float = 0.5
    """A filter; what is known not to pass it loses as much."""
    age: float = 0.2


WEIGHTS = Weights()
LEAST_FIT = 0.2
"""Titles that have less of what is asked for are not shown, however good they are."""
LEAST_LIKE = 10
"""With fewer titles that are like another one in a different mood, those that only have the mood follow, then all."""
LEAST_LEFT = 5
"""With fewer titles that pass all filters, those that do not are shown below them."""


def rank(index: Index, question: Question, weights: Weights = WEIGHTS) -> Floats:
    """Return the score of each title; minus infinity for those that do not fit."""
    facts = index.facts
    kept = _kept(facts, question)
    scores = weights.quality * facts.quality
    fits = np.zeros(len(scores), dtype=np.float32)
    if question.words:
        asked = {**question.untranslated, **question.words}
        most = sum(weight * index.texts.rarity_of(word) for word, weight in asked.items() if weight > 0)
        if most:
            fits += weights.words * index.texts.bm25(asked) / most
        fits += weights.meaning * index.texts.similarity(index.texts.vector(question.words))
    if question.like is not None:
        fits += weights.like * index.texts.similarity(index.texts.vector_of(question.like))
        fits += weights.kinship * _kinship(facts, question.like) if kept is None else weights.kept * kept
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
        mood = _mood(facts, question)
        if mood is not None:
            scores += weights.changed * mood
            kept = np.ones_like(mood) if kept is None else kept
            # First both, then the mood alone, and no filter at all if too few titles are left.
            for enough in (passes & (mood > 0) & (kept > 0), passes & (mood > 0)):
                if enough.sum() >= LEAST_LIKE:
                    passes = enough
                    break
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


def _moved(question: Question) -> list[str]:
    """Return the genres in which others should differ from the title that they should be like."""
    return [name for name, value in question.genres.items() if value >= CLEARLY]


def _mood(facts: Facts, question: Question) -> Floats | None:
    """Return from 0 to 1 how much of the wanted mood titles have; None if no mood is wanted of what is like a title."""
    moved = _moved(question)
    if not moved:
        return None
    found = np.zeros(len(facts.years), dtype=np.float32)
    for name in moved:
        found = np.maximum(found, question.genres[name] * facts.genres[name])
    return found


def _kept(facts: Facts, question: Question) -> Floats | None:
    """Return the share of a title's genres that others have, without those that the wanted mood changes.

    None if no mood is wanted, or if nothing else is left of the title's genres.
    """
    moved = _moved(question)
    if question.like is None or not moved:
        return None
    own = [name for name, titles in facts.genres.items() if titles[question.like]]
    kept = [name for name in own if name not in moved and question.genres.get(name, 0.0) >= 0]
    # Half of all titles are dramas.
    kept = [name for name in kept if name != "drama"] or kept
    if not kept:
        return None
    return np.stack([facts.genres[name] for name in kept]).mean(axis=0, dtype=np.float32)


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
