"""The titles that fit a question: those that are named, then those that fit by meaning and by the member's taste."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.search.index import Index
from aperture_dagster.search.rank import WEIGHTS, Weights, rank

MOST = 400
"""Titles that are returned: more than are shown, since the member may not see all of them."""
SURE, SURE_BESIDE_FILTERS = 0.6, 0.9
"""From which score on a name is meant; a question that says more is rarely a name."""
TASTE = 0.15
"""What the member's own taste counts beside how well a title fits, from 0 to 1."""
LIKED = 200


class Match(NamedTuple):
    """A title that fits, and why it does: the person or the episode that was asked for."""

    row: int
    person: str | None = None
    episode: int | None = None
    """Its item."""


def find_matches(
    index: Index, text: str, liked: Mapping[int, float] | None = None, weights: Weights = WEIGHTS
) -> list[Match]:
    """Return the titles that fit a question, the best first.

    Args:
        index: the titles.
        text: the question.
        liked: works that the member likes, and how much.
        weights: what counts how much.
    """
    question = index.understand(text)
    least = SURE_BESIDE_FILTERS if question.has_filters or question.genres else SURE
    found: dict[int, Match] = {}
    if question.like is None:
        found = {match.row: match for match in match_names(index, text, least)}
    scores = rank(index, question, weights)
    candidates = np.argsort(-scores, kind="stable")[:MOST]
    candidates = candidates[np.isfinite(scores[candidates])]
    if len(candidates) and liked:
        scores[candidates] += TASTE * taste(index, candidates, liked)
        candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    people = [(name, rows) for name, rows in question.people]
    for row in candidates.tolist():
        found.setdefault(row, Match(row, next((name for name, rows in people if row in rows), None)))
    return list(found.values())[:MOST]


def match_names(index: Index, text: str, least: float = 0.0) -> list[Match]:
    """Return the titles that are named, whose people are, or one of whose episodes is."""
    found: dict[int, Match] = {}
    for hit in index.names.search(text, MOST):
        kind, targets = hit.name.kind, hit.name.targets
        if hit.score < least:
            continue
        if kind == "episode":
            found.setdefault(targets[0], Match(targets[0], episode=int(index.episodes[targets[1]])))
        else:
            person = hit.name.text if kind == "person" else None
            for row in sorted(targets, key=lambda row: -index.fame[row]):
                found.setdefault(row, Match(row, person))
    return list(found.values())


def taste(index: Index, rows: NDArray[np.int64], liked: Mapping[int, float]) -> NDArray[np.float32]:
    """Return from 0 to 1 how near titles are to what a member likes: Σ weight · cosine³, as on lists."""
    most = sorted(liked.items(), key=lambda item: -item[1])[:LIKED]
    place = index.rows
    known = [(place[work], weight) for work, weight in most if work in place]
    if not known:
        return np.zeros(len(rows), dtype=np.float32)
    own = np.array([row for row, _ in known])
    weights = np.array([weight for _, weight in known], dtype=np.float32)
    vectors = index.texts.vectors[own].astype(np.float32) * index.texts.scales[own, None]
    near = index.texts.vectors[rows].astype(np.float32) * index.texts.scales[rows, None] @ vectors.T
    near[rows[:, None] == own[None, :]] = 0
    found = np.maximum(near, 0) ** 3 @ weights
    return (found / max(float(found.max(initial=0)), 1e-9)).astype(np.float32)
