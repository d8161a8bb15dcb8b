"""The taste of a user, as signed weights of watched titles; and the vectors of titles, made comparable.

A weight says how much, and in which direction, one watched title says about its user. It is the product of engagement
(share watched, repeats, favourite), opinion (from the rating; it sets the sign) and recency (relative to the user's
*own* last activity, so that a pause of a year does not level all weights).
"""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import (
    LEFT_HALF_LIFE_DAYS,
    Doubles,
    Floats,
    days_before_last,
    left_early,
    number_column,
    tidy_histories,
)

HALF_LIFE_DAYS = 180.0
RECENCY_FLOOR = 0.25
SCALE_MIDDLE = 5.0
TYPICAL_RATING = 6.5
TYPICAL_RATING_STRENGTH = 5.0
"""Number of ratings of ``TYPICAL_RATING`` mixed into a user's mean, because a few ratings say little about it."""
LEFT_OPINION = -0.2
"""Opinion on a film that was left early: a weak dislike, which fades to nothing (see ``LEFT_HALF_LIFE_DAYS``)."""
UNRATED = 0.5
"""Opinion on a watched title without a rating: mildly positive (a rating of 10 is 1.0)."""
WANTS_MORE = 0.6
"""The least weight of a title of which its user wants more: between one that was just watched and a favourite. It is
chosen by hand, since the benchmark's data has no such wishes."""


def taste_weights(histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp) -> pd.DataFrame:
    """Return one signed weight per user and work of histories (see ``tidy_histories``), sorted by both.

    The columns are ``user_id``, ``work_id``, ``weight`` (about -1 to 2), and its factors: ``liking`` (the weight
    without recency), ``engagement`` (0 to 2), ``recency`` (0 to 1) and ``opinion`` (-1 to 1), all without NaN. Rows
    that were not played, rated or marked as favourite, and of which the user does not want more, have weight 0.
    """
    tidy = tidy_histories(histories, as_of=as_of)
    engagement, opinion, recency = _engagement(tidy), _opinion(tidy), _recency(tidy)
    # The wish holds until it is taken back, so it does not age, and it is newer than most ratings.
    wanted = tidy["wants_more"].to_numpy(dtype=bool)
    engagement = np.where(wanted, np.maximum(engagement, 1.0), engagement)
    opinion = np.where(wanted, np.maximum(opinion, WANTS_MORE), opinion)
    recency = np.where(wanted, 1.0, recency)
    # A dislike counts in full, however little was watched: people stop watching what they dislike.
    strength = np.where(opinion < 0, 1.0, np.where(tidy["rating"].notna(), np.maximum(engagement, 0.5), engagement))
    return pd.DataFrame(
        {
            "user_id": tidy["user_id"],
            "work_id": tidy["work_id"],
            "weight": opinion * strength * recency,
            "liking": opinion * strength,
            "engagement": engagement,
            "recency": recency,
            "opinion": opinion,
        }
    )


def centre(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Floats:
    """Subtract their mean from the normalised rows, shape (n, d), and normalise again: all have length 1 or 0.

    Embeddings of descriptions share one large common direction. Without it, cosine separates titles far better.
    ``mask``, shape (n,), is True where a vector exists (default: everywhere); rows without one become zero.
    """
    unit, present = unit_rows(vectors, mask)
    count = int(present.sum())
    if count:
        # Subtracting the whole mean of very few titles would leave nothing (n = 1) or exact opposites (n = 2). This
        # takes a sixth of the mean for one title, 95 % for ten.
        share = count**2 / (count**2 + 5.0)
        unit -= (unit.sum(axis=0) / count * share).astype(np.float32)
    return _normalise(unit, present)[0]


def unit_rows(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Return a copy with rows of length 1, and a mask of those that have a vector; ValueError for wrong shapes."""
    unit = np.array(vectors, dtype=np.float32)
    if unit.ndim != 2:
        raise ValueError(f"vectors must be a matrix (n, d), not {unit.shape}")
    present = np.ones(len(unit), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if present.shape != (len(unit),):
        raise ValueError(f"mask {present.shape} does not fit vectors {unit.shape}")
    return _normalise(unit, present)


def _normalise(unit: Floats, present: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Give the rows length 1 in place, those that are not present, not finite or without a direction length 0.

    No second matrix of this size is made.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", unit, unit))
    present = present & np.isfinite(lengths) & (lengths > 1e-6)
    unit[~present] = 0.0
    unit /= np.where(present, lengths, 1.0)[:, None]
    return unit, present


def _engagement(tidy: pd.DataFrame) -> Doubles:
    """Return engagement from share watched, repeats and favourite: 0 to 2; 1 for a film watched once to its end."""
    plays = tidy["plays"].to_numpy(dtype=np.float64)
    played, total = tidy["episodes_played"].to_numpy(), tidy["episodes_total"].to_numpy()
    completion = tidy["completion"].to_numpy(dtype=np.float64)
    series = np.nan_to_num(total) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        of_the_series = np.clip(played / total, 0.0, 1.0)
    # A few episodes of a long series are already a choice: the square root makes 4 of 100 count as .2 instead of .04.
    seen = np.where(series & np.isfinite(of_the_series), np.sqrt(np.nan_to_num(of_the_series)), completion)
    seen = np.where(np.isfinite(seen), seen, np.where(plays > 0, 1.0, 0.0))
    seen = np.where((plays > 0) & (seen == 0.0) & ~series, 1.0, seen)
    # Plays of a series are mostly its episodes, which `seen` has counted; only films count more when watched again.
    again = np.where(series, 0.0, np.log2(np.maximum(plays, 1.0)) * 0.25)
    engagement = seen * (1.0 + np.minimum(again, 0.75))
    favorite = tidy["favorite"].to_numpy(dtype=bool)
    return np.where(favorite, np.maximum(engagement, 1.0) + 0.25, engagement)


def _opinion(tidy: pd.DataFrame) -> Doubles:
    """Return the rating mapped to -1..1 around a neutral point per user; titles without a rating are mildly positive.

    The neutral point is halfway between the scale's middle and the user's own mean: a 6 from somebody who usually gives
    8.5 is a complaint, and a 5 from somebody who gives 3 is praise, but a high mean alone never makes a 9 a dislike.
    """
    value = number_column(tidy, "rating")
    user = pd.factorize(tidy["user_id"])[0]
    count = np.bincount(user, weights=np.isfinite(value))[user]
    total = np.bincount(user, weights=np.nan_to_num(value))[user]
    mean = (total + TYPICAL_RATING_STRENGTH * TYPICAL_RATING) / (count + TYPICAL_RATING_STRENGTH)
    middle = (SCALE_MIDDLE + mean) / 2.0
    above = (value - middle) / (10.0 - middle)
    below = (value - middle) / middle
    opinion = np.where(value >= middle, above, below)
    unrated = np.where(tidy["favorite"].to_numpy(dtype=bool), 0.8, UNRATED)
    unrated = np.where(left_early(tidy), LEFT_OPINION, unrated)
    return np.where(np.isfinite(value), opinion, unrated)


def _recency(tidy: pd.DataFrame) -> Doubles:
    """Return the decay since the user's own last activity; unknown dates get the user's median.

    It is at least the floor, except for films that were left early, which are forgotten, at once if their date is
    unknown.
    """
    days, left = days_before_last(tidy), left_early(tidy)
    recency = np.maximum(np.exp2(-days / HALF_LIFE_DAYS), RECENCY_FLOOR)
    known = pd.Series(np.where(np.isfinite(days) & ~left, recency, np.nan), index=tidy.index)
    usual = np.nan_to_num(np.asarray(known.groupby(tidy["user_id"]).transform("median"), dtype=np.float64), nan=1.0)
    recency = np.where(left, np.exp2(-days / LEFT_HALF_LIFE_DAYS), recency)
    return np.where(np.isfinite(days), recency, np.where(left, 0.0, usual))
