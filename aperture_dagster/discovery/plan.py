"""The plan of discovery: which lists to read, and which titles the pool holds, for all users together.

Lists and details are shared: what several users want is requested once, and the users take turns, the best of each
first. Nothing here is random, so a second run on a day wants what the first did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aperture_dagster.catalogue.identity import MediaType
from aperture_dagster.enrichment.listed import DiscoverFilters, SuggestedPage, SuggestedTitle
from aperture_dagster.model import MEDIA_TYPES

ENGLISH = "en"
# Where few people vote, fewer votes say as much.
OTHER_LANGUAGES_SHARE = 0.2
LANGUAGES = 3
# Pages of a list; more of them while fewer titles of its media type than `ENOUGH` are known for everybody together.
DEPTH = 5
ENOUGH = 600
# TMDb refuses pages beyond this one.
LAST_PAGE = 500
# How much lists count against the recommended list of the title that a user likes most: lists that somebody's taste led
# to, the same title's list of similar ones (which share keywords and genres), and lists of what is well known.
BY_TRAIT, SIMILAR, WELL_KNOWN = 0.5, 0.25, 0.05
# Titles per user and media type that are wanted for them, and titles of the pool.
WANTED, POOL_SIZE = 600, 3_000
# Days that count as new for a query by release.
RECENT_DAYS = 365
# Ranks of lists are blurred by this many places, so that being on two lists beats being first on one.
BLUR = 10

One = TypeVar("One")
Key = tuple[MediaType, int]
"""Media type and TMDb id of a title."""


@dataclass(frozen=True, slots=True)
class Query:
    """Titles on TMDb that pass ``filters``. How much they count does not belong to the identity of the list."""

    media_type: MediaType
    filters: DiscoverFilters
    weight: float = field(default=BY_TRAIT, compare=False)

    def request(self, page: int) -> str:
        """Name the request for a page, the same for all users."""
        return f"{self.media_type}/discover?{self.filters.key}/{page}"


@dataclass(frozen=True, slots=True)
class KnownList:
    """A list that needs no request: TMDb's recommended or similar titles of a liked one, or what Trakt recommends."""

    media_type: MediaType
    weight: float
    titles: Sequence[SuggestedTitle]


@dataclass(slots=True)
class UserPlan:
    """What suggests titles to one user.

    ``hidden`` are TMDb ids of what the library has, and of what they watched, rated, dismissed or requested.
    """

    lists: Sequence[KnownList] = ()
    queries: Sequence[Query] = ()
    hidden: Mapping[MediaType, Collection[int]] = field(default_factory=dict)
    languages: Collection[str] = (ENGLISH,)


def queries_for(
    media_type: MediaType, traits: Mapping[str, Sequence[int]], languages: Sequence[str], *, minimum_votes: int
) -> list[Query]:
    """Return the lists to read for a user, the most promising first, kinds in turns.

    Args:
        media_type: of the lists.
        traits: TMDb's ids of what sets their taste apart, the most distinctive first, by kind: ``genres``, ``keywords``
            and, for films, ``people``.
        languages: original languages that the user watches, the most usual first.
        minimum_votes: see :func:`least_votes`.
    """

    def query(language: str | None, weight: float = BY_TRAIT, **filters: Any) -> Query:
        votes = least_votes(language, minimum_votes)
        return Query(media_type, DiscoverFilters(language=language, minimum_votes=votes, **filters), weight)

    main, *others = languages or [ENGLISH]
    genres, keywords, people = (traits.get(kind, ()) for kind in ("genres", "keywords", "people"))
    by_genre = [query(main, genre_ids=(genre,)) for genre in genres]
    by_genre[1:1] = [query(main, genre_ids=tuple(genres[:2]))] if len(genres) > 1 else []
    recent = [query(main, genre_ids=(genre,), within_days=RECENT_DAYS) for genre in genres[:1]]
    elsewhere = [query(other, genre_ids=tuple(genres[:1])) for other in others[: LANGUAGES - 1] if genres]
    return list(
        take_turns(
            [
                by_genre,
                [query(main, keyword_ids=(keyword,)) for keyword in keywords],
                [query(None, person_ids=(person,)) for person in people] if media_type == "movie" else [],
                [*recent, *elsewhere],
                [query(main, WELL_KNOWN)],
            ]
        )
    )


def next_requests(
    plans: Sequence[UserPlan],
    known: Mapping[str, SuggestedPage],
    votes: int,
) -> Iterator[tuple[Query, int]]:
    """Yield the pages to read, each once: first pages before later ones, users in turns; ``known`` grows meanwhile."""
    queries = list(dict.fromkeys(take_turns([plan.queries for plan in plans])))
    for page in range(1, LAST_PAGE + 1):
        wanted = MEDIA_TYPES if page <= DEPTH else scarce_types(chosen_titles(plans, known, votes))
        going_on = [query for query in queries if query.media_type in wanted and _goes_on(query, page, known)]
        if not going_on:
            return
        for query in going_on:
            if query.request(page) not in known:
                yield query, page


def count_unread(plans: Sequence[UserPlan], known: Mapping[str, SuggestedPage]) -> int:
    """Count the pages of usual days that are not known yet; of those, lists that end early have fewer."""
    queries = {query for plan in plans for query in plan.queries}
    pages = [query.request(page) for query in queries for page in range(1, DEPTH + 1)]
    return sum(page not in known for page in pages)


def scarce_types(titles: Iterable[Key]) -> set[MediaType]:
    """Return the media types of which there are too few titles."""
    counts = Counter(media_type for media_type, _ in titles)
    return {media_type for media_type in MEDIA_TYPES if counts[media_type] < ENOUGH}


def chosen_titles(
    plans: Sequence[UserPlan],
    known: Mapping[str, SuggestedPage],
    votes: int,
) -> dict[Key, SuggestedTitle]:
    """Choose the titles of the pool, by key: the best of each user in turns, as many as the pool holds."""
    found: dict[Key, SuggestedTitle] = {}
    for key, title in take_turns([wanted_titles(plan, known, votes) for plan in plans]):
        if len(found) >= POOL_SIZE:
            break
        found.setdefault(key, title)
    return found


def wanted_titles(plan: UserPlan, known: Mapping[str, SuggestedPage], votes: int) -> list[tuple[Key, SuggestedTitle]]:
    """Return the titles that lists suggest to a user, best first, each media type up to ``WANTED``.

    Titles that more lists agree on come first, those of stronger seeds and higher ranks before others; ties go to the
    title with more votes. Left out is what the lists themselves show as unsuitable, such as less than ``votes`` in
    English.
    """
    titles: dict[Key, SuggestedTitle] = {}
    scores: defaultdict[Key, float] = defaultdict(float)
    for one in (*plan.lists, *(_as_list(query, known) for query in plan.queries)):
        hidden, placed = plan.hidden.get(one.media_type, ()), set[int]()
        for rank, title in enumerate(one.titles, start=1):
            number = title.tmdb_id
            if number is None or number in placed or number in hidden:
                continue
            placed.add(number)
            if _may_be_suitable(title, plan.languages, votes):
                key = (one.media_type, number)
                if titles.setdefault(key, title).votes is None:
                    titles[key] = title
                scores[key] += one.weight * BLUR / (BLUR + rank)
    best = sorted(titles, key=lambda key: (-round(scores[key], 9), -(titles[key].votes or 0), key))
    by_type = [[(key, titles[key]) for key in best if key[0] == media_type][:WANTED] for media_type in MEDIA_TYPES]
    return list(take_turns(by_type))


def least_votes(language: str | None, minimum: int) -> int:
    """Return the votes that a title in a language needs."""
    return minimum if language in (None, ENGLISH) else round(minimum * OTHER_LANGUAGES_SHARE)


def take_turns(rows: Sequence[Sequence[One]]) -> Iterator[One]:
    """Yield the first of each row, then the second of each, and so on."""
    for place in range(max(map(len, rows), default=0)):
        for row in rows:
            if place < len(row):
                yield row[place]


def _goes_on(query: Query, page: int, known: Mapping[str, SuggestedPage]) -> bool:
    before = known.get(query.request(page - 1))
    return page == 1 or (before is not None and before.has_more)


def _as_list(query: Query, known: Mapping[str, SuggestedPage]) -> KnownList:
    # Pages age one by one, so that an early one may be missing; a page beyond those of usual days needs the one before.
    titles: list[SuggestedTitle] = []
    for number in range(1, LAST_PAGE + 1):
        page = known.get(query.request(number))
        if page is None and number > DEPTH:
            break
        titles += page.entries if page is not None else ()
    return KnownList(query.media_type, query.weight, titles)


def _may_be_suitable(title: SuggestedTitle, languages: Collection[str], votes: int) -> bool:
    """Return whether what a list says about a title speaks against it; the details decide."""
    if title.is_adult or (title.language is not None and title.language not in languages):
        return False
    return title.votes is None or title.votes >= least_votes(title.language, votes)
