"""Which titles the same people like: the behaviour behind a metadata service's recommendations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_AT_MOST = 40
_SHRINKAGE = 5.0


def neighbours(likes: Iterable[Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return the titles that are liked together with each title: at most 40, the nearest first.

    ``likes`` are the keys of the titles that each person likes. Nearness is the cosine of two titles' people, shrunk
    where only few like both. A title that nobody likes together with another is left out.
    """
    people = [sorted(set(keys)) for keys in likes]
    keys = sorted({key for liked in people for key in liked})
    place = {key: index for index, key in enumerate(keys)}
    matrix = np.zeros((len(people), len(keys)), dtype=np.float32)
    for row, liked in enumerate(people):
        matrix[row, [place[key] for key in liked]] = 1.0
    together = matrix.T @ matrix
    norm = np.sqrt(np.diag(together))
    nearness = together / np.outer(norm, norm) * together / (together + _SHRINKAGE)
    np.fill_diagonal(nearness, 0.0)
    found: dict[str, tuple[str, ...]] = {}
    for index, key in enumerate(keys):
        liked_too = np.flatnonzero(nearness[index])
        order = liked_too[np.argsort(-nearness[index, liked_too], kind="stable")][:_AT_MOST]
        if order.size:
            found[key] = tuple(keys[int(other)] for other in order)
    return found
