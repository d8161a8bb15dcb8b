"""The taste of each user: the weight of each title, and the genres and keywords that set them apart."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import Traits, read_traits, trait_shares

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.settings import Settings

MOST_LIFTS = 8
# Average titles of the library mixed into what somebody likes, so that a rare keyword seen once does not lead.
USUAL_TITLES = 3.0


@dataclass(frozen=True, slots=True)
class Lift:
    """A genre or keyword that is more frequent among a user's liked titles than in the library."""

    name: str
    lift: float
    titles: int


class Tastes:
    """The tastes of some users, learned from what everybody watched and rated."""

    def __init__(self, connection: Connection, settings: Settings, users: Collection[str], *, as_of: datetime) -> None:
        # pandas and numpy double the time that every `dagster` command takes to start.
        from aperture_dagster.taste.ranking.taste import taste_weights

        weights = taste_weights(read_histories(connection, without=settings.ignored_ratings), as_of=as_of)
        own: pd.DataFrame = weights.loc[weights["user_id"].isin(list(users))]
        self._traits = read_traits(connection, own["work_id"].unique().tolist())
        self._usual = trait_shares(connection)
        self._weights: dict[str, dict[int, float]] = {
            str(user): dict(zip(one["work_id"].tolist(), one["weight"].round(5).tolist(), strict=True))
            for user, one in own.loc[own["work_id"].isin(self._traits)].groupby("user_id", sort=False)
        }

    def of(self, user: User) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return a user's rows of ``taste_profiles`` and of ``taste_weights``."""
        weights = self._weights.get(user.user_id, {})
        profiles = [_profile_row(user, media_type, weights, self._traits, self._usual) for media_type in MEDIA_TYPES]
        rows = [
            {"user_id": user.user_id, "work_id": work, "media_type": self._traits[work].of, "weight": weight}
            for work, weight in weights.items()
        ]
        return profiles, rows


def _profile_row(
    user: User,
    media_type: str,
    weights: Mapping[int, float],
    traits: Mapping[int, Traits],
    usual: Mapping[tuple[str, str], Mapping[str, float]],
) -> dict[str, Any]:
    own = {work: weight for work, weight in weights.items() if traits[work].of == media_type}
    liked = [(weight, traits[work]) for work, weight in own.items() if weight > 0]
    disliked = sum(weight < 0 for weight in own.values())
    genres = lifts([(weight, one.genres) for weight, one in liked], usual.get((media_type, "genres"), {}))
    keywords = lifts(
        [(weight, one.keywords) for weight, one in liked], usual.get((media_type, "keywords"), {}), minimum=2
    )
    return {
        "user_id": user.user_id,
        "media_type": media_type,
        "titles": len(own),
        "liked": len(liked),
        "disliked": disliked,
        "summary": {
            "sentence": summary(len(liked), disliked, genres, keywords),
            "genres": [asdict(genre) for genre in genres],
            "keywords": [asdict(keyword) for keyword in keywords],
        },
    }


def lifts(
    liked: Sequence[tuple[float, Iterable[str]]], usual: Mapping[str, float], *, minimum: int = 1
) -> tuple[Lift, ...]:
    """Return 8 names that are more frequent among liked titles than in the library, most distinctive first.

    Lift is the name's share of the liked weight divided by its share of the library's titles. Names are sorted by share
    times log lift (their part of the Kullback-Leibler divergence): neither by count alone nor by rarity alone.

    Args:
        liked: The weight and the names of each liked title.
        usual: The share of the library's titles that have each name, 0-1.
        minimum: Names of fewer liked titles are left out.
    """
    scale = len(liked) / max(sum(weight for weight, _ in liked), 1e-9)
    seen: dict[str, float] = defaultdict(float)
    titles: Counter[str] = Counter()
    for weight, names in liked:
        for name in set(names):
            seen[name] += weight * scale
            titles[name] += 1
    found: list[tuple[float, Lift]] = []
    for name, count in titles.items():
        share = (seen[name] + USUAL_TITLES * usual[name]) / (len(liked) + USUAL_TITLES)
        lift = share / usual[name]
        if lift > 1.0 and count >= minimum:
            found.append((-share * math.log(lift), Lift(name, round(lift, 3), count)))
    return tuple(lift for _, lift in sorted(found, key=lambda one: (one[0], one[1].name))[:MOST_LIFTS])


def summary(liked: int, disliked: int, genres: Sequence[Lift], keywords: Sequence[Lift]) -> str:
    """Summarize a taste in a sentence."""
    if not liked and not disliked:
        return "Nothing is known yet."
    parts = [f"{liked} liked, {disliked} disliked"]
    if genres:
        parts.append("compared with the library, more " + ", ".join(f"{g.name} ({g.lift:.1f}x)" for g in genres[:4]))
    if keywords:
        parts.append("often " + ", ".join(keyword.name for keyword in keywords[:5]))
    return "; ".join(parts) + "."
