"""The parts of a collection, such as the films of a trilogy, in their order, and few of them at the top of a list."""

from collections import Counter

import numpy as np

from aperture_dagster.taste.ranking.histories import Doubles, Rows

TOP = 10
"""Length of the part of a list in which at most ``MOST_PARTS`` of a collection are."""
MOST_PARTS = 2


def in_order(listed: Rows, candidates: Rows, collections: Doubles, released: Doubles) -> Rows:
    """Return a list in which an earlier part of a collection comes before a later one.

    The places that parts of a collection have in the list go to its earliest parts among the candidates: whoever has
    not seen the first film is not sent to the third. Of one collection at most ``MOST_PARTS`` are among the first
    ``TOP``; the others follow these.

    Args:
        listed: Rows of the titles on the list, best first.
        candidates: Rows of all titles that may be on it.
        collections: Number of the collection of each title, NaN for none, shape (n,).
        released: When each title came out, on any scale, NaN where unknown (these are last), shape (n,).
    """
    listed = _spread_out(listed, collections)
    own = collections[listed]
    found = listed.copy()
    for collection in np.unique(own[np.isfinite(own)]):
        parts = candidates[collections[candidates] == collection]
        parts = parts[np.lexsort((parts, released[parts]))]
        places = np.flatnonzero(own == collection)
        found[places] = parts[: len(places)]
    return found


def _spread_out(listed: Rows, collections: Doubles) -> Rows:
    """Move all but the first parts of each collection behind the top of the list."""
    counts: Counter[float] = Counter()
    top: list[int] = []
    later: list[int] = []
    for place, collection in enumerate(collections[listed].tolist()):
        if len(top) == TOP:
            return listed[np.array([*top, *later, *range(place, len(listed))], dtype=np.int64)]
        counts[collection] += collection == collection
        (later if counts[collection] > MOST_PARTS else top).append(place)
    return listed[np.array([*top, *later], dtype=np.int64)]


def rested(listed: Rows, tired: Rows, collections: Doubles) -> Rows:
    """Return a list in which some titles follow the first ``2 * TOP`` others, with what is of the same collections.

    Arguments as in :func:`in_order`; ``tired`` are the rows of the titles that rest.
    """
    own = collections[tired]
    rests = np.isin(listed, tired) | np.isin(collections[listed], own[np.isfinite(own)])
    fresh = listed[~rests]
    return np.concatenate([fresh[: 2 * TOP], listed[rests], fresh[2 * TOP :]])
