"""From histories, vectors and features to one ranked list per user.

``prepare`` computes once what all users share: centring, priors, features, EASE, and the similarity of all users in one
pass over the vectors. ``RankingModel.for_user`` then blends, diversifies and explains, which is cheap.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.config import COLUMNS, COMPONENTS, RankingConfig, RankingInputs
from aperture_dagster.taste.ranking.features import FIELDS, signed_root
from aperture_dagster.taste.ranking.histories import (
    LEFT_HALF_LIFE_DAYS,
    Doubles,
    Floats,
    Rows,
    days_before_last,
    left_early,
    positions,
    rows_where,
    started,
    tidy_histories,
)
from aperture_dagster.taste.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles, library_of
from aperture_dagster.taste.ranking.links import Links, links_of
from aperture_dagster.taste.ranking.signals import (
    HISTORY_LIMIT,
    People,
    empty_list,
    learn_people,
    ranked_list,
    select,
    similar_parts,
    similarities,
    standardise,
    weight_matrix,
    weights_for,
)
from aperture_dagster.taste.ranking.user_weights import FILMS, LatestFilms, added, latest_films

# The parts of a collection, such as the films of a trilogy, in their order, and few of them at the top of a list.


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


# Why a title is on a list: what each liked title adds to its score.
#
# A component that lifts a title above the average candidate does so because of titles in the history. What it adds to
# the score is divided among the liked ones, in proportion to what each contributes to the component. Closeness in
# years, rating and popularity are not due to any title in it, so they are not divided.


TOGETHER = ("co_watch", "recommended_from")
"""Components that come from other people; the others compare the titles themselves."""
SIMILAR = ("description", *FIELDS)
"""Components that add up to similarity."""
REASONS = 3
REASON_SHARE = 0.4
"""Share of the first reason's contribution below which a liked title is not named beside it."""
REASON_MINIMUM = 0.15
"""Share of all that lifts a title which the named ones must contribute together; otherwise it is widely liked."""


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What h liked titles add to the scores of p titles."""

    liked: Rows
    """Rows of the item table, shape (h,)."""
    total: Doubles
    """At least 0, shape (p, h)."""


def contributions(
    library: Library,
    people: People,
    links: Links | None,
    user_id: Hashable,
    picked: Rows,
    lifts: Mapping[str, Doubles],
) -> Contributions:
    """Divide what lifts some titles among the titles that the user liked.

    Args:
        library, people, links: What all users share.
        user_id: The user, of those that ``people`` were learned for.
        picked: Rows of the titles to explain, all of one media type, shape (p,).
        lifts: What each component adds to their scores, compared with an average candidate; each of shape (p,). Those
            in ``SIMILAR`` and ``TOGETHER`` are divided; the others are not due to any title.
    """
    titles = people.titles.get(user_id, NO_TITLES).largest(HISTORY_LIMIT)
    media_type = next((name for name, rows in library.rows.items() if np.isin(picked, rows).all()), "")
    likes = titles.weights > 0
    liked, weights = titles.rows[likes], weights_for(library, titles, media_type)[likes]
    # An unwatched favourite may be recommended, but is no reason for itself.
    itself = np.nonzero(picked[:, None] == liked[None, :])
    total = np.zeros((len(picked), len(liked)))
    for name in (name for name in (*SIMILAR, *TOGETHER) if name in lifts):
        if name == "description":
            near = library.centred[picked].astype(np.float64) @ library.centred[liked].T.astype(np.float64)
            adds = near * near * near * weights
        elif name == "co_watch":
            adds = people.watched_with(picked, liked) * people.likings[people.column[user_id], liked]
        elif name == "recommended_from":
            adds = np.zeros(total.shape) if links is None else links.between(picked, liked) * weights
        else:
            adds = library.features.fields[name].between(picked, liked) * weights
        # In place from here: for somebody who liked 20,000 titles, these are a million numbers.
        np.maximum(adds, 0.0, out=adds)
        adds[itself] = 0.0
        whole = adds.sum(axis=1)
        adds *= np.divide(np.maximum(lifts[name], 0.0), whole, out=np.zeros_like(whole), where=whole > 0)[:, None]
        total += adds
    return Contributions(liked, total)


def reasons(found: Contributions, lifts: Mapping[str, Doubles]) -> list[Rows]:
    """Return for each title the rows of the liked titles that contribute most to its score, the first one first.

    They are at most ``REASONS``, and each contributes at least ``REASON_SHARE`` of what the first one does. There are
    none where together they contribute less than ``REASON_MINIMUM`` of all that lifts the title above the average
    candidate (``lifts``: what each component of the score adds, shape (p,)). Two titles in a row do not name the same
    ones: the second names some of them, or the next one as well.
    """
    whole = sum((np.maximum(lift, 0.0) for lift in lifts.values()), np.zeros(len(found.total)))
    named: list[Rows] = []
    for line, lift in zip(np.round(found.total, 6), whole, strict=True):
        order = np.arange(len(line))
        if len(line) > REASONS:
            # Also those that add as much as the last one.
            order = np.flatnonzero(line >= np.partition(line, -REASONS)[-REASONS])
        order = order[np.lexsort((found.liked[order], -line[order]))[:REASONS]]
        adds = line[order]
        if not adds.sum() > REASON_MINIMUM * lift:
            named.append(found.liked[:0])
            continue
        rows = found.liked[order[adds > 0]]
        strong = int((adds >= REASON_SHARE * adds[0]).sum())
        ways = (rows[:strong], rows[:1], rows[1:strong], rows[: strong + 1])
        last = named[-1] if named else found.liked[:0]
        named.append(next((way for way in ways if len(way) and not np.array_equal(way, last)), ways[0]))
    return named


RECENT_HALF_LIFE_YEARS = 2.0
"""Age, compared with the newest candidate, at which a title is half as new."""
LEFT_LOSS = 2.0
"""What a film loses of its score just after it was left early; half of that is left when it may be listed again."""


@dataclass(frozen=True, slots=True, eq=False)
class RankingModel:
    """Data shared by all users of a run."""

    config: RankingConfig | Mapping[str, RankingConfig]
    """For all media types, or by media type."""
    library: Library
    people: People
    started: dict[Hashable, Rows]
    left: dict[Hashable, UserTitles]
    """Films that were left early, with what each loses of its own score."""
    excluded: Mapping[Hashable, NDArray[np.bool_]]
    unnamed: Mapping[Hashable, NDArray[np.bool_]]
    fatigue: Mapping[Hashable, NDArray[np.float64]]
    resting: Mapping[Hashable, Collection[int]]
    latest: Mapping[Hashable, LatestFilms]
    similarity: dict[str, Floats]
    """Σ w · sim³ per media type, shape (rows of the type, users)."""
    links: Links | None
    """"Recommended from this title" lists."""
    linked: Floats | None
    """Scores from these lists, shape (n, users)."""

    def with_links(self, links: Links) -> "RankingModel":
        """Return the model with other "recommended from this title" lists; all else is shared."""
        weights = weight_matrix(self.people.titles, self.people.users, len(self.library.work_ids))
        return replace(self, links=links, linked=links.spread(weights))

    def for_user(self, user_id: Hashable) -> pd.DataFrame:
        """Return the list of one user, ranked within each media type, with ``COLUMNS``.

        The components are what each adds to the score, compared with an average candidate. ``because`` has up to three
        work_ids of liked titles that contribute most to it; it is empty where none contributes enough, and for a cold
        user.

        Raises:
            ValueError: the model was not prepared for this user.
        """
        if user_id not in self.people.column:
            raise ValueError(f"the ranking was not prepared for user {user_id!r}")
        parts = [self._ranked(user_id, media_type) for media_type in self.library.rows]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else empty_list(COLUMNS)

    def rows_for(self, user_id: Hashable) -> Rows:
        """Return the rows of the titles on the list of one user, as :meth:`for_user` ranks them, without reasons."""
        return np.concatenate([NO_ROWS, *(self._select(user_id, media_type)[0] for media_type in self.library.rows)])

    def contributions(self, user_id: Hashable, works: Rows) -> Contributions:
        """Return what each title that a user liked adds to the scores of works of one media type."""
        picked = positions(works, self.library.index)
        media_type = next(name for name, rows in self.library.rows.items() if np.isin(picked, rows).all())
        candidates = self._candidates(user_id, media_type)
        place = np.searchsorted(candidates, picked)
        parts = self._parts(user_id, self.people.titles.get(user_id, NO_TITLES), media_type, candidates)
        lifts = {name: values[place] for name, values in parts.items()}
        return contributions(self.library, self.people, self.links, user_id, picked, lifts)

    def _config(self, media_type: str) -> RankingConfig:
        return self.config if isinstance(self.config, RankingConfig) else self.config[media_type]

    def _candidates(self, user_id: Hashable, media_type: str) -> Rows:
        allowed = np.zeros(len(self.library.work_ids), dtype=bool)
        allowed[self.library.rows[media_type]] = True
        if user_id in self.excluded:
            allowed &= ~np.asarray(self.excluded[user_id], dtype=bool)
        allowed[self.started.get(user_id, NO_ROWS)] = False
        return np.flatnonzero(allowed)

    def _known(self, titles: UserTitles, media_type: str) -> float:
        """Return how many titles are known for a list of this type: those of other types count less."""
        of_type = int(np.isin(titles.rows, self.library.rows[media_type]).sum())
        return of_type + self._config(media_type).other_known * (len(titles.rows) - of_type)

    def _parts(self, user_id: Hashable, titles: UserTitles, media_type: str, candidates: Rows) -> dict[str, Doubles]:
        """Return what each part adds to the score of the candidates (rows of one media type, ascending)."""
        factors, parts = self._config(media_type).factors, self._blend(user_id, titles, media_type, candidates)
        if "recency" in factors:
            parts["recency"] = _newness(self.library.released[candidates])
        return {name: part * factors.get(_component(name), 1.0) for name, part in parts.items()}

    def _blend(self, user_id: Hashable, titles: UserTitles, media_type: str, candidates: Rows) -> dict[str, Doubles]:
        """Return the parts, each with its weight for this user."""
        config, column, priors = self._config(media_type), self.people.column[user_id], self.library.priors
        others = self.people.co_watchers(user_id, self.library.rows[media_type])
        linked = np.zeros(0) if self.linked is None else self.linked[candidates, column]
        has_lists = bool(linked.any())
        shares = blend_shares(config, self._known(titles, media_type), others, has_lists=has_lists)
        votes, trend = (standardise(values[candidates]) for values in (priors.votes, priors.trend))
        found = {
            "rating": shares["rating"] * standardise(priors.rating[candidates]),
            "popularity": shares["votes"] * votes + shares["trend"] * trend,
        }
        if not len(titles.rows):
            return found
        place = np.searchsorted(self.library.rows[media_type], candidates)
        described = self.similarity[media_type][place, column]
        near = similar_parts(self.library, titles, described, candidates, media_type, config.mix)
        found |= {name: values * shares["era" if name == "era" else "similarity"] for name, values in near.items()}
        # A title that nobody has watched yet, such as a new one, is neither better nor worse for it. A household knows
        # too few titles to be compared among themselves.
        watched, known = signed_root(self.people.co_watch[column, candidates]), self.people.known[candidates]
        watched = np.where(known, standardise(watched, None if self.people.crowd is None else known), 0.0)
        found["co_watch"] = shares["co_watch"] * watched
        if self.linked is not None:
            found["recommended_from"] = shares["recommended_from"] * standardise(signed_root(linked))
        if self._weighs_by_facts(user_id, media_type, has_lists=has_lists):
            for name, gain in added(self.library, titles, self.latest[user_id], found, candidates).items():
                found[name] = found.get(name, 0.0) + gain * config.earned.get(_component(name), 1.0)
        return found

    def _weighs_by_facts(self, user_id: Hashable, media_type: str, *, has_lists: bool) -> bool:
        """Return whether the weights of a user's list follow facts of the user.

        They do for films, where neither TMDb's recommended lists nor a crowd say what belongs together.
        """
        config = self._config(media_type)
        has_lists &= config.earned.get("recommended_from", 1.0) > 0
        is_alone = not has_lists and self.people.crowd is None
        return config.by_facts and media_type == FILMS and user_id in self.latest and is_alone

    def whole_lists(self, user_id: Hashable) -> dict[str, tuple[Rows, Doubles]]:
        """Return by media type the works of all candidates of one user, best first, with the score of each.

        The titles on the list come first, as :meth:`for_user` ranks them, then all others by score.
        """
        found: dict[str, tuple[Rows, Doubles]] = {}
        for media_type in self.library.rows:
            candidates, score, _ = self.scored(user_id, media_type)
            if not len(candidates):
                continue
            listed = np.searchsorted(candidates, self._select(user_id, media_type)[0])
            by_score = np.lexsort((self.library.work_ids[candidates], -score))
            order = np.concatenate([listed, by_score[~np.isin(by_score, listed)]])
            found[media_type] = self.library.work_ids[candidates[order]], score[order]
        return found

    def scored(self, user_id: Hashable, media_type: str) -> tuple[Rows, Doubles, dict[str, Doubles]]:
        """Return the rows of the candidates, ascending, with the score of each and what each part adds to it."""
        titles, candidates = self.people.titles.get(user_id, NO_TITLES), self._candidates(user_id, media_type)
        if not len(candidates):
            return NO_ROWS, np.zeros(0), {}
        parts = self._parts(user_id, titles, media_type, candidates)
        score = sum(parts.values(), np.zeros(len(candidates)))
        if user_id in self.fatigue:
            score = score - self.fatigue[user_id][candidates]
        if user_id in self.left:
            lost = np.zeros(len(self.library.work_ids))
            lost[self.left[user_id].rows] = self.left[user_id].weights
            score = score - lost[candidates]
        # The last digits of long sums depend on how threads share the work; the lists must not.
        return candidates, np.round(score, 5), parts

    def _select(self, user_id: Hashable, media_type: str) -> tuple[Rows, Doubles, dict[str, Doubles]]:
        """Return the rows of a list, best first, with the score of each and what each part adds to it."""
        config = self._config(media_type)
        candidates, score, parts = self.scored(user_id, media_type)
        if not len(candidates) or config.limit < 1:
            return NO_ROWS, np.zeros(0), {}
        tired = np.intersect1d(positions(np.array([*self.resting.get(user_id, ())]), self.library.index), candidates)
        limit = config.limit + len(tired)
        chosen = select(self.library, candidates, score, limit=limit, diversity=config.diversity)
        picked = in_order(candidates[chosen], candidates, self.library.collections, self.library.released)
        picked = rested(picked, tired, self.library.collections)[: config.limit]
        chosen = np.searchsorted(candidates, picked)
        return picked, score[chosen], {name: values[chosen] for name, values in parts.items()}

    def _ranked(self, user_id: Hashable, media_type: str) -> pd.DataFrame:
        config, titles = self._config(media_type), self.people.titles.get(user_id, NO_TITLES)
        picked, score, lifts = self._select(user_id, media_type)
        if not len(picked):
            return empty_list(COLUMNS)
        frame = ranked_list(self.library, picked, media_type, score, _components(lifts))
        is_cold = self._known(titles, media_type) < config.cold_below
        named = [NO_ROWS] * len(picked)
        if not is_cold:
            found = contributions(self.library, self.people, self.links, user_id, picked, lifts)
            if user_id in self.unnamed:
                found.total[:, self.unnamed[user_id][found.liked]] = 0.0
            named = reasons(found, lifts)
        frame["because"] = [self.library.work_ids[rows].tolist() for rows in named]
        frame["cold"] = is_cold
        return frame


def prepare(
    inputs: RankingInputs,
    config: RankingConfig | Mapping[str, RankingConfig] | None = None,
    *,
    library: Library | None = None,
    links: Links | None = None,
) -> RankingModel:
    """Compute what all users share.

    ``config`` is for all media types, or by media type. ``library`` is that of the same items and vectors, and
    ``links`` those of the edges, if they exist already.

    Raises:
        ValueError: when vectors or masks do not fit the items, a work_id occurs twice, or columns are missing.
    """
    config = config or RankingConfig()
    library = library or library_of(inputs.items, inputs.vectors, inputs.vector_mask)
    index, n = library.index, len(library.work_ids)
    for user, mask in inputs.excluded.items():
        if np.shape(mask) != (n,):
            raise ValueError(f"the exclusions of {user!r} have shape {np.shape(mask)}, not ({n},)")

    people = learn_people(inputs.histories, library, as_of=inputs.as_of, users=inputs.users, crowd=inputs.crowd)
    if links is None and inputs.edges is not None:
        links = links_of(inputs.edges, index, n)
    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    tidy = tidy.assign(row=positions(tidy["work_id"], index))
    is_here = tidy["row"].to_numpy() >= 0
    seen = rows_where(tidy, started(tidy) & is_here)
    started_by_user = seen.groupby("user_id")
    lost = tidy.assign(lost=LEFT_LOSS * np.exp2(-days_before_last(tidy) / LEFT_HALF_LIFE_DAYS))
    left_by_user = rows_where(lost, left_early(tidy) & lost["lost"].notna() & is_here).groupby("user_id")
    model = RankingModel(
        config=config,
        library=library,
        people=people,
        started={user: group["row"].to_numpy(dtype=np.int64) for user, group in started_by_user},
        left={
            user: UserTitles(group["row"].to_numpy(dtype=np.int64), group["lost"].to_numpy(dtype=np.float64))
            for user, group in left_by_user
        },
        excluded=inputs.excluded,
        unnamed=inputs.unnamed,
        fatigue=inputs.fatigue,
        resting=inputs.resting,
        latest=latest_films(seen, library, people.titles),
        similarity=similarities(library, people),
        links=None,
        linked=None,
    )
    return model if links is None else model.with_links(links)


def blend_shares(
    config: RankingConfig, known: float, co_watchers: float, *, has_lists: bool = False
) -> dict[str, float]:
    """Return the weight of each component for a user with ``known`` titles among ``co_watchers`` people.

    ``has_lists`` says whether TMDb's lists of what the user knows lead to any title.

    All curves are x / (x + half), and were fitted on histories cut to 1 to 860 titles and households of 1 to 200 people
    (users 1-200 of the benchmark's data). What other people watched together, and TMDb's lists, say better than
    year, rating and popularity what is worth watching, so these fade as those gain weight. A list for somebody of whom
    nothing is known is that of the most votes.
    """
    base = config.weights
    earned = {name: config.earned.get(name, 1.0) for name in COMPONENTS}
    taste = known / (known + config.half_known)
    linked = taste * earned["recommended_from"] if has_lists else 0.0
    others = max(co_watchers - 1, 0.0)
    crowd = others / (others + config.half_household) * known / (known + config.half_known_co_watch)
    crowd *= earned["co_watch"]
    general = (1.0 - config.fade * crowd) * (1.0 - config.fade_linked * linked)
    liking = general * known / (known + config.half_known_rating)
    return {
        "similarity": taste * earned["similarity"],
        "era": general * earned["era"] * known / (known + config.half_known_era),
        "co_watch": base.co_watch * crowd,
        "recommended_from": base.recommended_from * linked,
        "rating": base.rating * liking * earned["rating"],
        "votes": base.votes * general * earned["popularity"],
        "trend": base.trend * liking * earned["popularity"],
    }


def _newness(released: Doubles) -> Doubles:
    """Return how new titles are compared with the newest one, standardised; one without a date is average."""
    age = np.nanmax(released, initial=-np.inf) - released
    return standardise(np.exp2(-age / RECENT_HALF_LIFE_YEARS), np.isfinite(released))


def _component(part: str) -> str:
    """Return the component that a part of the score is shown as."""
    return "similarity" if part in SIMILAR else part


def _components(parts: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """Add up the parts that a list shows as one component."""
    none = np.zeros(len(next(iter(parts.values()))))
    found = {name: parts.get(name, none) for name in COMPONENTS}
    similarity = sum((parts.get(name, none) for name in SIMILAR), none)
    return found | {"similarity": similarity, "era": found["era"] + parts.get("recency", none)}
