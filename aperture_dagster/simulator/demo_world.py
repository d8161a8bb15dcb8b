"""The packaged demo world: some 400 well-known films, 60 series, and a household of users with different tastes.

Some 200 more films and 60 series are known to the metadata services alone, so that there is something to discover.

Ids and genres of the films follow MovieLens ml-latest-small (F. Maxwell Harper and Joseph A. Konstan, 2015, "The
MovieLens Datasets", ACM TiiS 5, 4: 19), their other facts public TMDb tables. The overviews, the users and every play
are invented, and so are a few titles for cases that famous ones do not have: not yet released, only in cinemas, for
adults. Series and invented films have ids from the stand-in's own range, never real ones.

The world is the same every day, except that the plays and the releases of a few invented titles move with the date, so
that the last ones are recent.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import Any

import numpy as np

from aperture_dagster.simulator.world import (
    DEFAULT_LIBRARIES,
    CastMember,
    MediaType,
    Play,
    Release,
    World,
    WorldLibrary,
    WorldTitle,
    WorldUser,
    box_sets_of,
)

ANIME = WorldLibrary("Anime", "movies", ("/media/anime",))
"""The household's second library of films."""

_SEED = 20
_RECENT_DAYS = 28
_RECOMMENDED_PER_TITLE = 20
_COUNTRIES_OF_CINEMAS = ("US", "DE", "GB", "FR")
_EPISODES_AT_MOST = 70
_SECONDS_A_DAY = 86_400
# Minimum age by official rating, as on the media server. A title without a rating is for adults.
_RATING_AGES = {"G": 0, "TV-G": 0, "TV-Y": 0, "TV-Y7": 7, "PG": 10, "TV-PG": 10, "PG-13": 13, "TV-14": 14}
_ADULT_AGE = 17


@dataclass(frozen=True, slots=True)
class DemoTaste:
    """Taste and activity of a demo user, from ``users.json``. Weights are about 1 to 3."""

    name: str
    about: str
    films: int
    series: int
    joined_days_ago: int
    rates: float
    """Share of finished titles that they rate."""
    likes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Weights by trait: genres, keywords, people, collections, languages, decades, series."""
    dislikes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    admin: bool = False
    disabled: bool = False
    max_parental_rating: int | None = None
    left_days_ago: int = 0
    rewatches: float = 0.06
    """Share of films that they watch again."""


def load_demo_world(*, now: datetime, users: int | None = None) -> World:
    """Load the demo world, with two years of plays up to the day before ``now`` (timezone-aware).

    ``users`` limits the users to the first ones. It does not change their plays.
    """
    if now.tzinfo is None:
        raise ValueError("now must be timezone-aware")
    today = now.astimezone(UTC).date()
    titles = demo_titles(today)
    tastes = demo_tastes()
    midnight = datetime.combine(today, time(), tzinfo=UTC)
    plays = _Household(titles, tastes, _popular_titles(), midnight).plays()
    kept = tastes if users is None else tastes[:users]
    names = {taste.name for taste in kept}
    return World(
        name="demo",
        titles=list(titles),
        users=[
            WorldUser(
                name=taste.name,
                is_administrator=taste.admin,
                is_disabled=taste.disabled,
                max_parental_rating=taste.max_parental_rating,
            )
            for taste in kept
        ],
        plays=[play for play in plays if play.user in names],
        libraries=(*DEFAULT_LIBRARIES, ANIME),
        box_sets=box_sets_of(titles),
    )


@lru_cache(maxsize=2)
def demo_titles(today: date) -> tuple[WorldTitle, ...]:
    """Return all films, then all series, with their recommendations. A few were or will be released around today."""
    movies = [_title("movie", row) for row in _rows("movies.jsonl")]
    movies += [_title("movie", _dated(row, today)) for row in _rows("unowned_movies.jsonl")]
    series = [_title("series", row) for row in _rows("series.jsonl")]
    series += [_title("series", _dated(row, today)) for row in _rows("unowned_series.jsonl")]
    return (*_with_recommendations(movies), *_with_recommendations(series))


@lru_cache(maxsize=1)
def demo_tastes() -> tuple[DemoTaste, ...]:
    """Return the tastes of the demo's users, in order."""
    return tuple(DemoTaste(**row) for row in _users_file()["users"])


def affinity(taste: DemoTaste, title: WorldTitle) -> float:
    """Return how well a title matches a user's taste: the weights of what they like, minus what they dislike.

    Many matching keywords together count less than twice the best one, or titles with long keyword lists would win.
    """
    traits = _traits(title)
    liked = sum(_pull(weights, traits.get(kind, ())) for kind, weights in taste.likes.items())
    disliked = sum(_pull(weights, traits.get(kind, ())) for kind, weights in taste.dislikes.items())
    return liked - disliked


def may_watch(taste: DemoTaste, title: WorldTitle) -> bool:
    """Return whether the server owns the title and the user's parental limit allows it."""
    if title.copies == 0:
        return False
    if taste.max_parental_rating is None:
        return True
    return _RATING_AGES.get(title.official_rating or "", _ADULT_AGE) <= taste.max_parental_rating


def _pull(weights: Mapping[str, float], traits: Iterable[str]) -> float:
    found = sorted((weights[trait] for trait in set(traits) if trait in weights), reverse=True)
    return sum(weight / 2**rank for rank, weight in enumerate(found))


def _traits(title: WorldTitle) -> dict[str, tuple[str, ...]]:
    return {
        "genres": title.genres,
        "keywords": title.keywords,
        "people": (*title.directors, *title.creators, *(member.name for member in title.cast)),
        "collections": (title.collection[1],) if title.collection else (),
        "languages": (title.language,) if title.language else (),
        "decades": (f"{title.year // 10 * 10}",) if title.year else (),
        "series": (title.title,) if title.media_type == "series" else (),
    }


def _read(name: str) -> str:
    return resources.files("aperture_dagster.simulator").joinpath("demo", name).read_text(encoding="utf-8")


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read(name).splitlines() if line]


@lru_cache(maxsize=1)
def _users_file() -> dict[str, Any]:
    return json.loads(_read("users.json"))


def _popular_titles() -> dict[MediaType, list[str]]:
    popular = _users_file()["talked_about"]
    return {"movie": popular["movies"], "series": popular["series"]}


def _dated(row: dict[str, Any], today: date) -> dict[str, Any]:
    """Return a row of a title that nobody owns, with the dates of what is released some days from today."""
    row = row | {"copies": 0}
    if "released_in_days" in row:
        day = today + timedelta(days=row["released_in_days"])
        row |= {"release_date": day.isoformat(), "year": day.year}
        if row.get("only_in_cinemas"):
            row["releases"] = [[country, 3, day.isoformat()] for country in _COUNTRIES_OF_CINEMAS]
            row["releases"][0].append(row["official_rating"])
    return row


def _artwork(key: str) -> tuple[str, ...]:
    """Most titles have a backdrop, many a logo, and some a thumb."""
    number = zlib.crc32(key.encode())
    shares = {"Backdrop": number % 10 < 9, "Logo": number // 10 % 10 < 7, "Thumb": number // 100 % 10 < 4}
    return tuple(kind for kind, has_one in shares.items() if has_one)


def _title(media_type: MediaType, row: dict[str, Any]) -> WorldTitle:
    collection, releases, certifications = (row.get(name) for name in ("collection", "releases", "certifications"))
    return WorldTitle(
        key=f"{media_type}:{row['tmdb_id']}",
        media_type=media_type,
        title=row["title"],
        year=row["year"],
        original_title=row.get("original_title"),
        genres=tuple(row["genres"]),
        overview=row["overview"],
        keywords=tuple(row["keywords"]),
        cast=tuple(CastMember(name) for name in row["cast"]),
        directors=tuple(row.get("directors", ())),
        creators=tuple(row.get("creators", ())),
        companies=tuple(row.get("companies", ())),
        networks=tuple(row.get("networks", ())),
        countries=tuple(row.get("countries", ())),
        language=row.get("language"),
        runtime_minutes=row.get("runtime_minutes"),
        release_date=row.get("release_date"),
        status=row.get("status", "Released"),
        official_rating=row.get("official_rating"),
        vote_average=row.get("vote_average"),
        vote_count=row.get("vote_count"),
        popularity=row.get("popularity"),
        tmdb_id=row["tmdb_id"],
        imdb_id=row.get("imdb_id"),
        tvdb_id=row.get("tvdb_id"),
        collection=(collection[0], collection[1]) if collection else None,
        episodes_per_season=tuple(row.get("episodes_per_season", ())),
        copies=row.get("copies", 1),
        artwork=_artwork(f"{media_type}:{row['tmdb_id']}"),
        library=ANIME.name if media_type == "movie" and _is_anime(row) else None,
        versions=row.get("versions", 1),
        merged=row.get("merged", False),
        specials=row.get("specials", 0),
        missing_episodes=tuple((season, number) for season, number in row.get("missing_episodes", ())),
        double_episodes=tuple((season, number) for season, number in row.get("double_episodes", ())),
        adult=row.get("adult", False),
        certifications=None if certifications is None else tuple((code, value) for code, value in certifications),
        releases=None if releases is None else tuple(Release(*release) for release in releases),
    )


def _is_anime(row: dict[str, Any]) -> bool:
    return row.get("language") == "ja" and "Animation" in row["genres"]


def _with_recommendations(titles: Sequence[WorldTitle]) -> list[WorldTitle]:
    """Add recommendations by TF-IDF cosine similarity, in place of the metadata service's lists."""
    documents = [_terms(title) for title in titles]
    frequency = Counter(term for document in documents for term in document)
    # Terms of only one title do not contribute to any similarity.
    column = {term: index for index, term in enumerate(sorted(term for term, count in frequency.items() if count > 1))}
    matrix = np.zeros((len(titles), len(column)), dtype=np.float32)
    for row, document in enumerate(documents):
        for term, weight in document.items():
            if term in column:
                matrix[row, column[term]] = weight * np.log(len(titles) / frequency[term])
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    similarity = matrix @ matrix.T
    np.fill_diagonal(similarity, -1.0)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :_RECOMMENDED_PER_TITLE]
    return [
        replace(title, recommended_tmdb_ids=tuple(i for i in (titles[int(n)].tmdb_id for n in row) if i is not None))
        for title, row in zip(titles, nearest, strict=True)
    ]


def _terms(title: WorldTitle) -> dict[str, float]:
    kinds: tuple[tuple[str, float, Iterable[str]], ...] = (
        ("keyword", 0.8, title.keywords),
        ("genre", 2.5, title.genres),
        ("person", 1.3, (*title.directors, *title.creators)),
        ("cast", 0.7, (member.name for member in title.cast)),
        ("collection", 2.0, (title.collection[1],) if title.collection else ()),
        ("decade", 0.5, (f"{title.year // 10}",) if title.year else ()),
        ("language", 0.5, (title.language,) if title.language else ()),
    )
    return {f"{kind}:{value}": weight for kind, weight, values in kinds for value in values}


class _Household:
    """Two years of evenings. Days count backwards from ``midnight``; day 1 is the last whole day."""

    def __init__(
        self,
        titles: Sequence[WorldTitle],
        tastes: Sequence[DemoTaste],
        popular: Mapping[MediaType, Sequence[str]],
        midnight: datetime,
    ) -> None:
        self._titles: dict[MediaType, list[WorldTitle]] = {
            media_type: [title for title in titles if title.media_type == media_type]
            for media_type in ("movie", "series")
        }
        self._tastes = tastes
        self._midnight = midnight
        self._scores = {
            (taste.name, media_type): _standardised(taste, self._titles[media_type])
            for taste in tastes
            for media_type in ("movie", "series")
        }
        self._recent = self._viewers_of_popular(popular)

    def plays(self) -> list[Play]:
        """Return all plays in chronological order."""
        plays: list[Play] = []
        for taste in self._tastes:
            random = _generator(taste.name)
            plays.extend(self._film_plays(taste, random))
            plays.extend(self._series_plays(taste, random))
        return sorted(plays, key=lambda play: (play.played_at, play.user, play.title_key))

    def _viewers_of_popular(self, popular: Mapping[MediaType, Sequence[str]]) -> dict[tuple[str, str], set[str]]:
        """Choose who watched each talked-about title: three to five of the users whom it suits best."""
        recent: dict[tuple[str, str], set[str]] = defaultdict(set)
        random = _generator("talk")
        watchers = [taste for taste in self._tastes if taste.films > 10 and not taste.disabled]
        for media_type, names in popular.items():
            by_name = {title.title: title for title in self._titles[media_type]}
            for name in names:
                title = by_name[name]
                allowed = [taste for taste in watchers if may_watch(taste, title)]
                scores = [self._scores[taste.name, media_type][title.key] + random.normal(0, 0.35) for taste in allowed]
                order = sorted(range(len(allowed)), key=lambda index: -scores[index])
                for index in order[: int(random.integers(3, 6))]:
                    recent[allowed[index].name, media_type].add(title.key)
        return recent

    def _choose(
        self, taste: DemoTaste, media_type: MediaType, count: int, random: np.random.Generator
    ) -> list[WorldTitle]:
        """Draw titles without replacement, mostly by taste and partly by chance."""
        recent = self._recent[taste.name, media_type]
        scores = self._scores[taste.name, media_type]
        allowed = [title for title in self._titles[media_type] if may_watch(taste, title) and title.key not in recent]
        luck = random.gumbel(size=len(allowed))
        order = sorted(range(len(allowed)), key=lambda index: -(1.25 * scores[allowed[index].key] + luck[index]))
        return [allowed[index] for index in order[: max(0, count - len(recent))]]

    def _recent_titles(self, taste: DemoTaste, media_type: MediaType) -> list[WorldTitle]:
        recent = self._recent[taste.name, media_type]
        return [title for title in self._titles[media_type] if title.key in recent]

    def _at(self, day: int, seconds: float) -> datetime:
        return self._midnight - timedelta(days=day) + timedelta(seconds=int(seconds))

    def _film_plays(self, taste: DemoTaste, random: np.random.Generator) -> list[Play]:
        scores = self._scores[taste.name, "movie"]
        chosen = self._choose(taste, "movie", taste.films, random)
        earliest, latest = taste.joined_days_ago, max(taste.left_days_ago, 1)
        days = [int(day) for day in random.integers(latest, earliest, size=len(chosen))]
        when = _in_order_of_parts(chosen, days)
        for title in self._recent_titles(taste, "movie"):
            when[title.key] = int(random.integers(1, _RECENT_DAYS))
            chosen.append(title)
        plays: list[Play] = []
        for title in chosen:
            day, score = when[title.key], scores[title.key]
            rating, favorite = _opinion(taste, title, score, random)
            start = _evening(title.runtime_minutes or 100, random)
            play = Play(taste.name, title.key, self._at(day, start), rating=rating, favorite=favorite)
            # A disliked title is stopped more often.
            if random.random() < (0.03 if score > 0.5 else 0.14):
                plays.append(replace(play, completion=_part(random), rating=None, favorite=False))
                if day > 4 and random.random() < 0.4:
                    plays.append(replace(play, played_at=self._at(day - int(random.integers(1, 4)), start)))
                continue
            plays.append(play)
            if day > 40 and score > 0 and random.random() < taste.rewatches:
                plays.append(replace(play, played_at=self._at(int(random.integers(latest, day - 20)), start)))
        return plays

    def _series_plays(self, taste: DemoTaste, random: np.random.Generator) -> list[Play]:
        recent = self._recent_titles(taste, "series")
        plays: list[Play] = []
        for title in recent:
            plays.extend(self._watch_series(taste, title, int(random.integers(1, 21)), random, still_watching=True))
        for title in self._choose(taste, "series", taste.series, random):
            last_day = int(random.integers(max(taste.left_days_ago, 2), max(taste.joined_days_ago - 60, 3)))
            plays.extend(self._watch_series(taste, title, last_day, random, still_watching=False))
        return plays

    def _watch_series(
        self, taste: DemoTaste, title: WorldTitle, last_day: int, random: np.random.Generator, *, still_watching: bool
    ) -> list[Play]:
        """Watch episode by episode, backwards from the last evening, as far as the time since joining allows."""
        episodes = [
            (season, episode)
            for season, count in enumerate(title.episodes_per_season, start=1)
            for episode in range(1, count + 1)
        ]
        score = self._scores[taste.name, "series"][title.key]
        if still_watching:
            share = 1.0 if random.random() < 0.2 else random.uniform(0.25, 0.95)
        elif score < 0.5 or random.random() < 0.15:
            share = min(1.0, float(random.integers(1, 6)) / len(episodes))
        else:
            share = 1.0 if random.random() < 0.7 else random.uniform(0.3, 0.9)
        wanted = max(2 if still_watching else 1, min(round(share * len(episodes)), _EPISODES_AT_MOST))
        minutes = (title.runtime_minutes or 45) + 3
        evenings: list[tuple[int, int]] = []
        day, left = last_day, wanted
        while left and day <= taste.joined_days_ago:
            size = min(left, int(random.integers(1, 2 + min(3, 100 // minutes))))
            evenings.append((day, size))
            left -= size
            day += int(random.integers(1, 5))
        rating, favorite = _opinion(taste, title, score, random)
        remaining = iter(episodes)
        plays: list[Play] = []
        for day, size in reversed(evenings):
            start = _evening(minutes * (size + 1), random)
            for position, (season, episode) in enumerate(islice(remaining, size)):
                at = self._at(day, start + position * minutes * 60)
                plays.append(Play(taste.name, title.key, at, season=season, episode=episode))
        # The server stores these two on the series, whichever episode they came with.
        plays[-1] = replace(plays[-1], rating=rating, favorite=favorite)
        following = next(remaining, None)
        if following and random.random() < 0.35:
            at = plays[-1].played_at + timedelta(minutes=minutes)
            season, episode = following
            plays.append(Play(taste.name, title.key, at, season=season, episode=episode, completion=_part(random)))
        return plays


def _standardised(taste: DemoTaste, titles: Sequence[WorldTitle]) -> dict[str, float]:
    """Return affinity and general popularity by key, standardised over the titles that the user may watch."""
    votes = np.array([title.vote_count or 0 for title in titles], dtype=float)
    ratings = np.array([title.vote_average or 0.0 for title in titles], dtype=float)
    general = 0.5 * np.log10(1 + votes) + 0.5 * ratings
    own = np.array([affinity(taste, title) for title in titles])
    allowed = np.array([may_watch(taste, title) for title in titles])
    scores = own + general
    spread = float(scores[allowed].std()) or 1.0
    standard = (scores - float(scores[allowed].mean())) / spread
    return {title.key: float(score) for title, score in zip(titles, standard, strict=True)}


def _in_order_of_parts(titles: Sequence[WorldTitle], days: Sequence[int]) -> dict[str, int]:
    """Return days by key, with the parts of a collection in order of release."""
    when = {title.key: day for title, day in zip(titles, days, strict=True)}
    parts: dict[int, list[WorldTitle]] = defaultdict(list)
    for title in titles:
        if title.collection:
            parts[title.collection[0]].append(title)
    for collection in parts.values():
        collection.sort(key=lambda title: title.release_date or "")
        in_order = sorted((when[title.key] for title in collection), reverse=True)
        when.update({title.key: day for title, day in zip(collection, in_order, strict=True)})
    return when


def _opinion(
    taste: DemoTaste, title: WorldTitle, score: float, random: np.random.Generator
) -> tuple[float | None, bool]:
    score_of_ten = 6.4 + 1.2 * score + 0.5 * ((title.vote_average or 7.0) - 7.5) + random.normal(0, 0.9)
    rating = float(min(10, max(1, round(score_of_ten))))
    favorite = rating >= 9 and bool(random.random() < 0.35)
    return (rating if random.random() < taste.rates else None), favorite


def _evening(minutes: float, random: np.random.Generator) -> float:
    """Return when an evening of this length begins, in seconds after midnight, so that it ends by midnight."""
    latest = min(22 * 3600, _SECONDS_A_DAY - (minutes + 5) * 60)
    return float(random.uniform(min(17 * 3600, latest - 1), latest))


def _part(random: np.random.Generator) -> float:
    return round(float(random.uniform(0.08, 0.8)), 2)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([_SEED, zlib.crc32(name.encode())])
