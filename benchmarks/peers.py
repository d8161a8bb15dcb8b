"""Other recommenders, each as a user could install it, for :mod:`contest`.

Each takes the preferences of the people that it may learn from, a matrix of 0 and 1 of shape (people, films), and
returns scores of the same shape. Films that it cannot tell apart are ranked by votes: otherwise most of a list in a
small home would be arbitrary.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

Matrix = NDArray[np.float32]
Parameters = Mapping[str, Any]


def item_knn(preferences: Matrix, *, neighbours: int, shrink: float) -> Matrix:
    """Score by the cosine between films, with its ``neighbours`` nearest for each (Sarwar et al. 2001).

    ``shrink`` is added to the denominator, so that films that few people know are less alike.
    """
    films = np.flatnonzero(preferences.any(axis=0))
    known = preferences[:, films]
    together = known.T @ known
    norms = np.sqrt(np.diag(together))
    similar = together / (np.outer(norms, norms) + shrink)
    np.fill_diagonal(similar, 0.0)
    if neighbours < len(films):
        least = np.partition(similar, -neighbours, axis=1)[:, -neighbours][:, None]
        similar[similar < least] = 0.0
    scores = np.zeros_like(preferences)
    scores[:, films] = known @ similar.T
    return scores


def ease(preferences: Matrix, *, ridge: float) -> Matrix:
    """Score by EASE (Steck 2019), solved for people instead of films, who are fewer here; the result is the same."""
    films = np.flatnonzero(preferences.any(axis=0))
    known = preferences[:, films].astype(np.float64)
    people = known @ known.T
    inner = np.linalg.inv(people + ridge * np.eye(len(known)))
    # The inverse of (known' known + ridge) is (1 - known' inner known) / ridge, by Woodbury's identity.
    diagonal = (1.0 - np.einsum("uf,uv,vf->f", known, inner, known, optimize=True)) / ridge
    through = (known - people @ inner @ known) / ridge
    scores = np.zeros_like(preferences)
    scores[:, films] = known - through / diagonal
    return scores


def slim(preferences: Matrix, *, penalty: float, l1_share: float, fewest: int = 4, others: int = 150) -> Matrix:
    """Score by SLIM (Ning and Karypis 2011): an elastic net per film that at least ``fewest`` people know.

    The regression of a film sees the ``others`` films that most people know together with it.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNet

    films = np.flatnonzero(preferences.sum(axis=0) >= min(fewest, max(len(preferences) // 5, 1)))
    known = np.asfortranarray(preferences[:, films])
    together = known.T @ known
    np.fill_diagonal(together, 0.0)
    model = ElasticNet(alpha=penalty, l1_ratio=l1_share, positive=True, fit_intercept=False, max_iter=60, tol=1e-3)
    scores = np.zeros_like(preferences)
    with warnings.catch_warnings():
        # The order of films settles long before the last digits do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for place, film in enumerate(films):
            near = np.argsort(-together[place], kind="stable")[:others]
            near = near[together[place, near] > 0]
            if len(near):
                weights = model.fit(known[:, near], known[:, place]).coef_
                scores[:, film] = known[:, near] @ weights
    return scores


def ials(preferences: Matrix, *, factors: int, regularization: float, alpha: float) -> Matrix:
    """Score by implicit ALS (Hu, Koren and Volinsky 2008), of the library ``implicit``."""
    from implicit.cpu.als import AlternatingLeastSquares

    # The library asks for it: its own threads and those of the matrix product would fight.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=15, num_threads=1, random_state=0
        )
        model.fit(csr_matrix(preferences), show_progress=False)
    return np.asarray(model.user_factors @ model.item_factors.T, dtype=np.float32)


def bpr(preferences: Matrix, *, factors: int, rate: float, regularization: float, iterations: int) -> Matrix:
    """Score by Bayesian personalised ranking (Rendle et al. 2009), of the library ``implicit``."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=factors, learning_rate=rate, regularization=regularization, iterations=iterations, num_threads=1,
        random_state=0,
    )  # fmt: skip
    model.fit(csr_matrix(preferences), show_progress=False)
    return np.asarray(model.user_factors @ model.item_factors.T, dtype=np.float32)


def popular_here(preferences: Matrix) -> Matrix:
    """Score by how many of these people know a film."""
    return np.broadcast_to(preferences.sum(axis=0), preferences.shape).astype(np.float32)


@dataclass(frozen=True)
class Peer:
    """A recommender that learns from people, with the parameters to choose from."""

    name: str
    score: Callable[..., Matrix]
    grid: tuple[Parameters, ...] = ({},)


def grid(**values: tuple[Any, ...]) -> tuple[Parameters, ...]:
    """Return all combinations of some parameters."""
    found: tuple[Parameters, ...] = ({},)
    for name, choices in values.items():
        found = tuple({**given, name: choice} for given in found for choice in choices)
    return found


PEERS = (
    Peer("popular here", popular_here),
    Peer("item-kNN", item_knn, grid(neighbours=(20, 100, 500), shrink=(0.0, 5.0, 20.0))),
    Peer("EASE", ease, grid(ridge=(5.0, 20.0, 50.0, 100.0, 200.0, 400.0, 800.0))),
    Peer("SLIM", slim, grid(penalty=(0.0005, 0.002, 0.005), l1_share=(0.02, 0.2))),
    Peer("iALS", ials, grid(factors=(8, 16, 32), regularization=(0.1, 1.0, 10.0), alpha=(1.0, 5.0))),
    Peer("BPR", bpr, grid(factors=(8, 32), rate=(0.02, 0.1), regularization=(0.01, 0.1), iterations=(60, 200))),
)
